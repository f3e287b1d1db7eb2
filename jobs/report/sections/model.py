"""Sections about the model: reconstructions, samples, interpolations, latent traversals, training curves.

They need only an encode and a decode function, so that they work for a bundle or any other model.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.report.blocks import Chart, Charts, Matrix, Row, Section, Wall
from jobs.report.charts import Line, line_chart
from jobs.report.pictures import Pixels, heat, heat_scale, pictures
from jobs.report.wording import counted
from vae_core.latents import Prior, StandardNormal

Latents = NDArray[np.float32]

_PRIORS = {
    "normal": "z ~ N(0, I), the prior of training",
    "mixture": "z ~ the bundle's prior, a mixture of Gaussians",
    "classes": "z ~ the bundle's prior, a mixture of Gaussians for each class",
}
_TRAVERSED = 8  # latent units
SIDE = 84  # CSS pixels of a picture in a matrix of ten columns


# Images [N, C, H, W] → μ(x) and log σ²(x), each [N, D]; codes [N, D] → the mean of p(x|z) as images [N, C, H, W].
Encode = Callable[[Pixels], tuple[Latents, Latents]]
Decode = Callable[[Latents], Pixels]
# Images and standard normal numbers [N, D] → draws of q(z|x), [N, D].
Draw = Callable[[Pixels, Latents], Latents]


def reconstruction_section(originals: Pixels, encode: Encode, decode: Decode, draw: Draw | None = None) -> Section:
    """Originals, reconstructions from z = μ(x) and from three draws of q(z|x), and the spread of draws.

    The spread is the standard deviation of each pixel over 16 draws, averaged over channels, in grey levels. Without
    `draw` q(z|x) is a diagonal Gaussian.
    """
    mean, log_variance = encode(originals)

    def drawn(epsilon: Latents) -> Latents:
        if draw is not None:
            return draw(originals, epsilon)
        z: Latents = mean + np.exp(0.5 * log_variance) * epsilon
        return z

    noise = np.random.default_rng(0).standard_normal((16, *mean.shape), dtype=np.float32)
    draws = np.stack([decode(drawn(epsilon)) for epsilon in noise])
    spread = draws.std(axis=0, dtype=np.float32).mean(axis=1)
    top = max(4.0, float(np.ceil(np.quantile(spread, 0.995) / 4) * 4))
    rows = [
        Row("Original", "held out", pictures(originals, "original {}", SIDE)),
        Row("Reconstruction", "z = μ(x)", pictures(decode(mean), "reconstruction {} from the mean", SIDE)),
        *(Row(f"Draw {k}", "z ~ q(z|x)", pictures(draws[k - 1], f"draw {k} of image {{}}", SIDE)) for k in (1, 2, 3)),
        Row("Spread", "over 16 draws", pictures(heat(spread, top), "spread of image {}", SIDE)),
    ]
    return Section(
        "reconstructions",
        "Reconstructions",
        "Held-out images and their reconstructions from the latent code. Draws of q(z|x) show the posterior's "
        "uncertainty: they differ where the model is unsure.",
        [Matrix(rows), heat_scale("Spread, standard deviation", top, "grey levels")],
    )


def sample_section(decode: Decode, prior: Prior, count: int = 60, seed: int = 0) -> Section:
    """Images decoded from draws of the prior; if that is not N(0, I), also from N(0, I) for comparison."""
    rng = np.random.default_rng(seed)
    priors: list[Prior] = [prior, StandardNormal(prior.latent_dim)] if prior.name != StandardNormal.name else [prior]
    walls = []
    for each in priors:
        z = each.draw(rng.standard_normal((count, each.noise_size), dtype=np.float32))
        walls.append(Wall(pictures(decode(z), "sample {}", SIDE), title=_PRIORS.get(each.name, each.name)))
    return Section(
        "samples",
        "Samples from the model",
        f"Means of p(x|z) for {count} codes drawn from the prior, the bundle's own first.",
        walls,
    )


def slerp(start: Latents, end: Latents, steps: int) -> Latents:
    """Codes [steps, D] along the arc from one code to another (spherical linear interpolation).

    sin((1−t)ω)/sin ω · a + sin(tω)/sin ω · b, with ω the angle between them: unlike linear interpolation, it stays at
    the distance from 0 where N(0, I) concentrates. Collinear codes are interpolated linearly.
    """
    t = np.linspace(0, 1, steps, dtype=np.float64)[:, None]
    a, b = start.astype(np.float64), end.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    omega = np.arccos(np.clip(a @ b / lengths, -1, 1)) if lengths > 1e-12 else 0.0
    if np.sin(omega) < 1e-6:
        return np.asarray((1 - t) * a + t * b, dtype=np.float32)
    path = (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)
    return np.asarray(path, dtype=np.float32)


def interpolation_section(starts: Pixels, ends: Pixels, encode: Encode, decode: Decode) -> Section:
    """Interpolations from each image of `starts` to its partner in `ends`, in ten steps between the originals."""
    steps = 10
    first, last = encode(starts)[0], encode(ends)[0]
    rows = []
    for pair, (a, b) in enumerate(zip(first, last, strict=True), start=1):
        between = decode(slerp(a, b, steps))
        joined = np.concatenate([starts[pair - 1 : pair], between, ends[pair - 1 : pair]])
        rows.append(Row("", "", pictures(joined, f"pair {pair}, step {{}}", SIDE)))
    return Section(
        "interpolation",
        "Interpolations",
        "Decoded codes along the arc between the codes of two held-out images (first and last). With a good latent "
        "space, every step is a plausible image.",
        [Matrix(rows, ["original", *[""] * steps, "original"])],
    )


def active_units(mean: Latents) -> list[tuple[int, float]]:
    """Latent units by activity Var_x[μ_d(x)] over images, descending (Burda et al. 2016).

    An unused unit has the same mean for every image: activity 0. A fully used one approaches 1, the prior's variance.
    """
    activity = mean.var(axis=0)
    return [(int(unit), float(activity[unit])) for unit in np.argsort(-activity, kind="stable")]


def traversal_section(image: Pixels, images: Pixels, encode: Encode, decode: Decode) -> Section:
    """The code of `image` [C, H, W] varied along each of the most active units from −3 to 3, the others fixed."""
    ranking = active_units(encode(images)[0])
    active = sum(activity > 0.01 for _, activity in ranking)
    code = encode(image[None])[0][0]
    positions = np.linspace(-3, 3, 11, dtype=np.float32)
    rows = []
    for unit, activity in ranking[: min(_TRAVERSED, max(active, 1))]:
        z = np.repeat(code[None], len(positions), axis=0)
        z[:, unit] = positions
        shown = pictures(decode(z), f"unit {unit}, position {{}} of {len(positions)}", SIDE)
        nearest = int(np.abs(positions - code[unit]).argmin())
        shown[nearest] = shown[nearest]._replace(marked=True)
        rows.append(Row(f"Unit {unit}", f"activity {activity:.2f}", shown))
    names = [f"{value:.2g} σ".replace("-", "−") for value in positions.tolist()]
    return Section(
        "traversals",
        "Latent traversals",
        f"{active} of {counted(len(ranking), 'unit')} {'is' if active == 1 else 'are'} active (variance of μ over "
        "images above 0.01). Each row varies one unit of an image's code, in standard deviations of the prior, and "
        "fixes the others; the framed picture is the closest to the image.",
        [Matrix(rows, names)],
    )


def training_section(history: Sequence[Mapping[str, object]]) -> Section | None:
    """Curves of the training metrics in the history; None if it has none of them."""
    epochs = [_number(entry, "epoch", index) for index, entry in enumerate(history, start=1)]

    def line(column: str, name: str, style: str) -> Line:
        return Line(name, style, epochs, [_number(entry, column) for entry in history])

    bound = "Bound on log p(x)"
    wanted = [
        (bound, "nats", [("elbo", "training ELBO", "first"), ("validation_elbo", "validation ELBO", "other"),
                         ("validation_iwae", "importance-weighted", "third")]),
        ("Reconstruction log p(x|z)", "nats", [("reconstruction", "training", "first"),
                                               ("validation_reconstruction", "validation", "other")]),
        ("KL from the prior", "nats", [("kl", "training", "first"), ("validation_kl", "validation", "other")]),
        ("Active latent units", "", [("active_units", "active", "first")]),
        ("Validation bits per dimension, by the ELBO", "bits", [("bits_per_dim", "validation", "other")]),
    ]  # fmt: skip
    charts = [line_chart(title, unit, [line(*each) for each in lines], "epoch") for title, unit, lines in wanted]
    drawn: list[Chart] = [chart for chart in charts if chart is not None]
    if not drawn:
        return None
    return Section(
        "training",
        "Training",
        f"{counted(len(history), 'epoch')}. Log-probabilities: higher is better. Legends show the last epoch's value.",
        [Charts(drawn)],
    )


def _number(entry: Mapping[str, object], column: str, default: float = float("nan")) -> float:
    value = entry.get(column)
    return float(value) if isinstance(value, (int, float)) else default
