"""The filter bank: its filters, its energies against float64, and maps of a known shape for images of any size."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import Tensor

from vae_core.features.filter_bank import GRID, FilterBank, gabor_pairs

# Cycles a pixel, size of the filters, and octave: by how many halvings the image is smaller that they look at.
BANDS = [(0.42, 7, 0), (0.25, 9, 0), (0.30, 9, 1), (0.36, 7, 2)]
ORIENTATIONS = len(gabor_pairs(0.25, 9)) // 2
TONES = 4  # maps of a grey image that are no energies: mean, variance, maximum, minimum


def energies(maps: Tensor) -> list[Tensor]:
    """The maps of mean energies of a grey image (F, h, w), a tensor for each band; at full size maxima follow means."""
    blocks = maps[:-TONES].split(ORIENTATIONS)
    return [blocks[0], blocks[2], blocks[4], blocks[-1]]


def wave(shape: tuple[int, int], frequency: float, orientation: int, phase: float = 0.0) -> Tensor:
    """A plane wave between −1 and 1, whose phase is that of its centre; float64."""
    y, x = (torch.arange(side, dtype=torch.float64) - side // 2 for side in shape)
    angle = orientation * math.pi / ORIENTATIONS
    along = x * math.cos(angle) + y[:, None] * math.sin(angle)
    return torch.cos(2 * math.pi * frequency * along + phase)


@pytest.mark.parametrize(("frequency", "size", "octave"), BANDS)
def test_filters_have_no_mean_and_unit_absolute_sum(frequency: float, size: int, octave: int) -> None:
    filters = gabor_pairs(frequency, size)
    assert filters.shape == (2 * ORIENTATIONS, 1, size, size)
    # Each of up to 81 weights is rounded to float32, and their absolute values sum to one.
    assert filters.double().sum((1, 2, 3)).abs().max() < 1e-7
    assert (filters.double().abs().sum((1, 2, 3)) - 1).abs().max() < 1e-7
    even, odd = filters.squeeze(1).chunk(2)
    torch.testing.assert_close(even.flip((1, 2)), even, rtol=0, atol=1e-7)
    torch.testing.assert_close(odd.flip((1, 2)), -odd, rtol=0, atol=1e-7)


# Six samples of a wave near the highest frequency along an axis tell its phase a little.
@pytest.mark.parametrize(("band", "ratio"), list(zip(BANDS, (1.4, 1.1, 1.1, 1.1), strict=True)))
@pytest.mark.parametrize("orientation", range(ORIENTATIONS))
def test_the_energy_of_a_wave_hardly_depends_on_its_phase(
    band: tuple[float, int, int], ratio: float, orientation: int
) -> None:
    frequency, size, _ = band
    phases = np.linspace(0, 2 * math.pi, 32, endpoint=False)
    waves = torch.stack([wave((size, size), frequency, orientation, phase) for phase in phases])
    even, odd = torch.einsum("khw,phw->kp", gabor_pairs(frequency, size).squeeze(1).double(), waves).chunk(2)
    energy = (even**2 + odd**2).sqrt()
    assert energy.mean(1).argmax() == orientation
    assert energy[orientation].max() < ratio * energy[orientation].min()
    # One filter of the pair alone depends on it: half a period on it has the opposite sign.
    assert even[orientation].min() < -0.5 * even[orientation].max() < 0


@pytest.mark.parametrize("band", range(len(BANDS)))
@pytest.mark.parametrize("orientation", range(ORIENTATIONS))
def test_a_wave_has_most_energy_in_the_filter_of_its_frequency_and_orientation(band: int, orientation: int) -> None:
    frequency, _, octave = BANDS[band]
    image = 127.5 + 100 * wave((96, 96), frequency / 2**octave, orientation, phase=0.3)
    found = energies(FilterBank((1, 96, 96))(image[None, None])[0])
    levels = torch.stack([maps[:, 2:-2, 2:-2].mean((1, 2)) for maps in found])
    assert divmod(int(levels.argmax()), ORIENTATIONS) == (band, orientation)


def log_mean_energy(grey: np.ndarray, band: int, orientation: int) -> np.ndarray:
    """The logs of mean energies of cells of 4×4 pixels in float64, by the definition; grey levels in [0, 1]."""
    frequency, size, octave = BANDS[band]
    binomial = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    for _ in range(octave):
        grey = correlate2d(np.pad(grey, 1, mode="edge"), binomial, mode="valid")[::2, ::2]
    y, x = np.mgrid[:size, :size] - size // 2
    envelope = np.exp(-2 * frequency**2 * (x**2 + y**2))  # standard deviation 1 / (2f)
    angle = math.pi * orientation / ORIENTATIONS
    phase = 2 * math.pi * frequency * (x * math.cos(angle) + y * math.sin(angle))
    squares = np.full(grey.shape, 1e-6)  # the floor, a thousandth
    for carrier in (np.cos(phase), np.sin(phase)):
        kernel = envelope * carrier
        kernel -= envelope * kernel.sum() / envelope.sum()
        kernel /= np.abs(kernel).sum()
        squares += correlate2d(np.pad(grey, size // 2, mode="edge"), kernel, mode="valid") ** 2
    across = 4 >> octave
    rows, columns = grey.shape
    return np.log(np.sqrt(squares).reshape(rows // across, across, columns // across, across).mean((1, 3)))


@pytest.mark.parametrize("band", range(len(BANDS)))
def test_energies_equal_the_definition_in_float64(band: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 64, 40), dtype=np.uint8)
    maps = FilterBank((2, 64, 40))(torch.from_numpy(image[None]))[0]
    assert maps.shape[1:] == (16, 10)
    found = energies(maps[:-2])[band]  # without the second channel's mean and variance
    for orientation in range(ORIENTATIONS):
        expected = log_mean_energy(image.mean(axis=0) / 255, band, orientation)
        np.testing.assert_allclose(found[orientation], expected, rtol=0, atol=2e-5)


def test_tone_and_colour_equal_the_definition_in_float64() -> None:
    image = np.random.default_rng(1).integers(0, 256, (3, 48, 36), dtype=np.uint8)
    maps = FilterBank((3, 48, 36))(torch.from_numpy(image[None]))[0].numpy()
    cells = image.reshape(3, 12, 4, 9, 4).transpose(0, 1, 3, 2, 4).reshape(3, 12, 9, 16) / 255
    grey = cells.mean(axis=0)
    expected = [*cells.mean(-1), *np.log(cells.var(-1) + 1e-5), grey.max(-1), grey.min(-1)]
    first = FilterBank((1, 48, 36)).maps[0] - TONES
    np.testing.assert_allclose(maps[first : first + 8], np.stack(expected), rtol=0, atol=1e-5)
    red, green, blue = cells.mean(axis=-1)
    for opponent in (red - green, green - blue):
        assert np.abs(maps[first + 8 :] - opponent).max(axis=(1, 2)).min() < 1e-5


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (8, 256), (9, 31), (33, 64), (65, 40), (97, 97), (255, 17), (256, 256)])
def test_any_size_and_channel_count(channels: int, size: tuple[int, int]) -> None:
    bank = FilterBank((channels, *size))
    image = torch.randint(0, 256, (2, channels, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps = bank(image)
    assert maps.shape == (2, *bank.maps)
    assert max(bank.maps[1:]) <= GRID
    assert torch.isfinite(maps).all()
    torch.testing.assert_close(bank(image[:1]), maps[:1], rtol=0, atol=1e-5)
    torch.testing.assert_close(bank(image.float()), maps, rtol=0, atol=0)


@pytest.mark.parametrize("ratio", [1, 2])
def test_the_grid_covers_every_size(ratio: int) -> None:
    for height in range(8, 256 // ratio + 1):
        width = ratio * height
        bank = FilterBank((1, height, width))
        for places, pixels in zip(bank.grid, (height, width), strict=True):
            assert (places - 1) * bank.cell < pixels <= places * bank.cell
        assert width < 16 or max(bank.grid) >= GRID / 2
        if height % 9 == 0:
            assert bank.maps[1:] == bank.grid


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 50, 31)])
def test_extreme_images_have_finite_maps(shape: tuple[int, int, int]) -> None:
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    planes = [0 * rows, 0 * rows + 255, 255 * ((rows + columns) % 2), 255 * (columns % 2), 255 * (rows // 2 % 2)]
    images = np.stack([np.broadcast_to(plane, shape) for plane in planes]).astype(np.uint8)
    maps = FilterBank(shape)(torch.from_numpy(images))
    assert torch.isfinite(maps).all()
    # A flat image has no energy of any frequency or colour, whatever its tone.
    grey = FilterBank((1, *shape[1:])).maps[0] - TONES
    for energy in (maps[:2, :grey], maps[:2, -2 * ORIENTATIONS :]) if shape[0] == 3 else (maps[:2, :grey],):
        torch.testing.assert_close(energy[0], energy[1], rtol=0, atol=2e-3)
        assert energy.max() < math.log(1.2e-3)
