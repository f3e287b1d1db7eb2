"""Sections about the model itself: what it keeps of an image, its samples, what its latent units do.

They need only two functions, so that a bundle, or anything else that encodes and decodes, can be shown.
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

_PRIORS = {"normal": "z ~ N(0, I), the prior of training", "mixture": "z ~ the bundle's prior, a mixture of Gaussians"}
_TRAVERSED = 8  # latent units
SIDE = 84  # CSS pixels of a picture in a matrix of ten columns


# μ(x) and log σ²(x), each [N, D], of images [N, C, H, W]; and the mean of p(x|z) as images, of codes [N, D].
Encode = Callable[[Pixels], tuple[Latents, Latents]]
Decode = Callable[[Latents], Pixels]


def reconstruction_section(originals: Pixels, encode: Encode, decode: Decode) -> Section:
    """Originals above their reconstruction from z = μ(x), from three draws of q(z|x), and where draws differ.

    The spread is each pixel's standard deviation over 16 draws, averaged over channels, in grey levels.
    """
    mean, log_variance = encode(originals)
    noise = np.random.default_rng(0).standard_normal((16, *mean.shape), dtype=np.float32)
    draws = np.stack([decode(mean + np.exp(0.5 * log_variance) * epsilon) for epsilon in noise])
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
        "What the model keeps of an image",
        "Held-out images, and what comes back after each was squeezed into its latent code. The draws show what "
        "the model holds possible; they differ where it is unsure.",
        [Matrix(rows), heat_scale("Spread, standard deviation", top, "grey levels")],
    )


def sample_section(decode: Decode, prior: Prior, count: int = 60, seed: int = 0) -> Section:
    """Images decoded from draws of the prior; where that is not N(0, I), draws of N(0, I) beside them."""
    rng = np.random.default_rng(seed)
    priors: list[Prior] = [prior, StandardNormal(prior.latent_dim)] if prior.name != StandardNormal.name else [prior]
    walls = []
    for each in priors:
        z = each.draw(rng.standard_normal((count, each.noise_size), dtype=np.float32))
        walls.append(Wall(pictures(decode(z), "sample {}", SIDE), title=_PRIORS.get(each.name, each.name)))
    return Section(
        "samples",
        "Samples from the model",
        f"Means of p(x|z) for {count} random codes z ~ p(z): no image was put in. The bundle's own prior comes first.",
        walls,
    )


def slerp(start: Latents, end: Latents, steps: int) -> Latents:
    """Codes [steps, D] along the arc from one code to another (spherical linear interpolation).

    sin((1−t)ω)/sin ω · a + sin(tω)/sin ω · b, with ω the angle between them: unlike the straight line, it keeps
    to the distance from 0 at which N(0, I) has its mass. Codes in line with each other go straight.
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
    """The way from each image of `starts` to its partner in `ends`, in ten steps, between the originals."""
    steps = 10
    first, last = encode(starts)[0], encode(ends)[0]
    rows = []
    for pair, (a, b) in enumerate(zip(first, last, strict=True), start=1):
        between = decode(slerp(a, b, steps))
        joined = np.concatenate([starts[pair - 1 : pair], between, ends[pair - 1 : pair]])
        rows.append(Row("", "", pictures(joined, f"pair {pair}, step {{}}", SIDE)))
    return Section(
        "interpolation",
        "From one image to another",
        "The outermost pictures are originals; between them the decoder walks the arc from one code to the other. "
        "A good latent space passes through plausible images all the way.",
        [Matrix(rows, ["original", *[""] * steps, "original"])],
    )


def active_units(mean: Latents) -> list[tuple[int, float]]:
    """Latent units by activity, the most active first: Var_x[μ_d(x)] over images (Burda et al. 2016).

    A unit that the model does not use has the same mean for every image: its activity is 0. One that carries
    all it can has an activity near 1, the variance of the prior.
    """
    activity = mean.var(axis=0)
    return [(int(unit), float(activity[unit])) for unit in np.argsort(-activity, kind="stable")]


def traversal_section(image: Pixels, images: Pixels, encode: Encode, decode: Decode) -> Section:
    """One code of the `image` [C, H, W] varied along the most active units, from −3 to 3, the rest held."""
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
        "What the latent units do",
        f"{counted(active, 'unit')} of {len(ranking)} carry information (variance of μ over images above 0.01). "
        "Each row changes one of them, in standard deviations of the prior, and leaves the rest of one image's "
        "code as it is; the framed picture is nearest to the image itself.",
        [Matrix(rows, names)],
    )


def training_section(history: Sequence[Mapping[str, object]]) -> Section | None:
    """Curves of the training metrics that the history has; None if it has none worth drawing."""
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
        ("Validation bits per dimension", "bits", [("bits_per_dim", "validation", "other")]),
    ]  # fmt: skip
    charts = [line_chart(title, unit, [line(*each) for each in lines], "epoch") for title, unit, lines in wanted]
    drawn: list[Chart] = [chart for chart in charts if chart is not None]
    if not drawn:
        return None
    return Section(
        "training",
        "How it was trained",
        f"{counted(len(history), 'epoch')}. Higher is better for every log-probability; the number in each legend "
        "is the last epoch's.",
        [Charts(drawn)],
    )


def _number(entry: Mapping[str, object], column: str, default: float = float("nan")) -> float:
    value = entry.get(column)
    return float(value) if isinstance(value, (int, float)) else default
