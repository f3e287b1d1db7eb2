"""Counter-based random numbers: they depend on what they are for, not on who draws them or when.

Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a block cipher turns a
counter (block, purpose and epoch, row) under a key (the seed) into four random 32-bit words. So the noise of one
image is the same on one worker and on a hundred, in any batch, and after a restart.
"""

import enum

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.int64]

_MASK = 0xFFFFFFFF


class Purpose(enum.IntEnum):
    """What the noise is for; different purposes have independent streams."""

    TRAIN = 0
    VALIDATION = 1
    SAMPLE_LATENT = 2
    SAMPLE_PIXEL = 3
    LIKELIHOOD = 4
    FIT = 5
    EVALUATE_POSTERIOR = 6
    EVALUATE_PRIOR = 7
    REFINE_STARTS = 8
    REFINE = 9
    ANNEAL = 10
    ANNEAL_ACCEPT = 11
    CERTIFY = 12
    BINARISE_TRAIN = 13
    BINARISE_VALIDATION = 14
    BINARISE_FIT = 15
    BINARISE_GRAPH = 16
    BINARISE_EVALUATE = 17


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Ten rounds of Philox-4x32 over arrays of counter words (int64 holding values below 2³², any shape)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # The 64-bit products wrap into the sign; masking after the shift brings the upper words back.
        product0, product1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        high0, low0 = (product0 >> 32) & _MASK, product0 & _MASK
        high1, low1 = (product1 >> 32) & _MASK, product1 & _MASK
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3


def uniform(seed: int, purpose: Purpose, rows: npt.ArrayLike, size: int, epoch: int = 0) -> npt.NDArray[np.float64]:
    """Uniform numbers in the open interval (0, 1): [N, size]; row i depends on `rows[i]` alone.

    Args:
        seed: 0 ≤ seed < 2⁶³.
        purpose: which stream.
        rows: [N] integers, 0 ≤ row < 2⁶³.
        size: numbers per row.
        epoch: 0 ≤ epoch < 2²⁴.
    """
    row = np.asarray(rows, dtype=np.int64)[:, None]  # (N, 1)
    block = np.arange((size + 3) // 4, dtype=np.int64)[None, :]  # (1, B)
    stream = np.full_like(block, int(purpose) << 24 | epoch)
    counter = np.broadcast_arrays(block, stream, row & _MASK, row >> 32)
    words = philox((counter[0], counter[1], counter[2], counter[3]), (seed & _MASK, seed >> 32))
    flat = np.stack(words, axis=-1).reshape(len(row), -1)[:, :size]  # (N, size)
    numbers: npt.NDArray[np.float64] = (flat.astype(np.float64) + 0.5) * 2.0**-32
    return numbers


def standard_normal(
    seed: int, purpose: Purpose, rows: npt.ArrayLike, size: int, epoch: int = 0
) -> npt.NDArray[np.float32]:
    """Standard normal numbers, float32 [N, size], by the Box–Muller transform of `uniform`."""
    pairs = uniform(seed, purpose, rows, 2 * ((size + 1) // 2), epoch)
    radius = np.sqrt(-2.0 * np.log(pairs[:, 0::2]))
    angle = (2.0 * np.pi) * pairs[:, 1::2]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(len(pairs), -1)
    return normal[:, :size].astype(np.float32)


def antithetic(seed: int, samples: int, size: int) -> npt.NDArray[np.float32]:
    """A fixed set of normal vectors [samples, size] for quadrature: pairs ±ε with mean square 1 per dimension.

    With these the sampled KL of a diagonal Gaussian equals its closed form, since that is a polynomial of degree
    two in ε. `samples` must be even.
    """
    assert samples % 2 == 0, "antithetic pairs need an even number of samples"
    half = standard_normal(seed, Purpose.LIKELIHOOD, np.arange(samples // 2), size).astype(np.float64)
    half /= np.sqrt(np.mean(half**2, axis=0, keepdims=True))
    return np.stack([half, -half], axis=1).reshape(samples, size).astype(np.float32)
