"""The likelihood section of an evaluation.

It is built from the content of `metrics.json`, so that report and file agree.
"""

from collections.abc import Mapping
from typing import Any

from jobs.report.blocks import Block, Charts, Figure, Note, Section, Table
from jobs.report.curves import STYLES, BoundCurve, bound_chart
from jobs.report.wording import count, counted, number, share

Metrics = Mapping[str, Any]

TITLES = {
    "elbo": "ELBO",
    "importance": "importance sampling from the encoder",
    "monte_carlo": "Monte Carlo from the prior",
    "refined": "refined importance sampling",
    "annealed": "annealed importance sampling",
}
"""The estimators by their names in the metrics."""
_WEIGHTED = tuple(name for name in TITLES if name != "elbo")
_BEST = ("refined", "annealed", "importance", "monte_carlo", "elbo")
_FEW = 10  # with fewer effective samples an estimate is unreliable


_SUBSETS = "Estimators on fewer images have a random subset of them: the curves are over the same images. "


def best_of(likelihood: Metrics) -> str:
    """The estimator to quote: the tightest on many images."""
    return next(name for name in _BEST if likelihood.get(name) is not None)


def budget(found: Metrics) -> str:
    """What an estimate took: "527 decodes for each of 500 images"."""
    return f"{counted(round(found['decodes']), 'decode')} for each of {counted(found['images'], 'image')}"


def in_words(likelihood: Metrics) -> str:
    """All estimates in a sentence for the terminal, each with its budget."""
    bounds = [
        f"{title} {found['mean']:,.2f} ({found['decodes']:,.0f} decodes, {counted(found['images'], 'image')})"
        for name, title in TITLES.items()
        if (found := likelihood.get(name)) is not None
    ]
    return f"bounds on log p(x) in nats per image: {', '.join(bounds)}"


def likelihood_figures(likelihood: Metrics) -> list[Figure]:
    """The key figures."""
    best = best_of(likelihood)
    figures = []
    for name in dict.fromkeys([name for name in ("elbo", best) if likelihood.get(name) is not None]):
        found = likelihood[name]
        figures.append(
            Figure(
                "ELBO" if name == "elbo" else "log p(x) ≥",
                nats(found["mean"]),
                f"{_error(found)} nats per image, by {TITLES[name]}: {budget(found)}.",
            )
        )
    if "bits_per_dim" in (found := likelihood[best]):
        bits = found["bits_per_dim"]
        figures.append(
            Figure(
                "Bits per dimension",
                number(bits["mean"], 4),
                f"{_error(bits)}, an upper bound, by {TITLES[best]}: {budget(found)}.",
            )
        )
    return figures


def likelihood_section(likelihood: Metrics) -> Section:
    """All estimates with their errors and budgets, and the bounds against the number of decodes."""
    rows = []
    if likelihood.get("elbo") is not None:
        rows += [
            _likelihood_row("ELBO", likelihood["elbo"]),
            _likelihood_row("– reconstruction, E[log p(x|z)]", likelihood["reconstruction"]),
            _likelihood_row("– KL from the prior", likelihood["kl"]),
        ]
    present = {name: likelihood[name] for name in _WEIGHTED if likelihood.get(name) is not None}
    rows += [_likelihood_row(f"log p(x), {TITLES[name]}", found) for name, found in present.items()]
    columns = [
        "",
        "Nats per image",
        "Standard error",
        "Monte Carlo error",
        "Bits per dimension",
        "Effective samples",
        "k̂ median, above 0.7",
        "Bias",
        "Images",
        "Decodes per image",
    ]
    images = (
        f"{counted(likelihood['images'], 'image')} of {count(likelihood['of'])}"
        if likelihood["drawn"] != "all"
        else f"all {counted(likelihood['images'], 'image')}"
    )
    blocks: list[Block] = [Table(columns, rows, columns[1:])]
    reference = likelihood.get("reference")
    has_curves = "by_samples" in present.get(reference or "", {})
    if reference is not None and has_curves:
        curves = {
            name: _curve(name, style, found) for (name, found), style in zip(present.items(), STYLES, strict=False)
        }
        # Draws from the prior lie so far below that no difference between the others would show.
        groups = [[curve for name, curve in curves.items() if name != "monte_carlo"]]
        groups.append([curve for name, curve in curves.items() if name == "monte_carlo"])
        blocks.append(Charts([bound_chart(group, TITLES[reference]) for group in groups if group]))
    gains = [
        f"{TITLES[name]} is {number(gain['mean'], 3)} ± {_plain_error(gain)} nats above "
        f"{TITLES[over]} on the same {counted(gain['images'], 'image')}"
        for name, found in present.items()
        for over, gain in found.get("gain_over", {}).items()
    ]
    if gains:
        said = f"{'; '.join(gains)}."
        blocks.append(Note(said[0].upper() + said[1:]))
    few = [TITLES[name] for name, found in present.items() if found["effective_samples"]["median"] < _FEW]
    if few:
        blocks.append(
            Note(
                f"With a median of fewer than {_FEW} effective samples, {' and '.join(few)} "
                f"{'is' if len(few) == 1 else 'are'} a lower bound that may be far below log p(x): the samples with "
                "the largest weights were not drawn, so Monte Carlo error and bias are underestimated too."
            )
        )
    if likelihood["binarise"] == "dynamic":
        blocks.append(
            Note(
                "Likelihoods of black and white images: each pixel is a Bernoulli draw of its grey value, made once "
                "for each image from the seed and the image's row."
            )
        )
    if likelihood["kind"] == "score":
        blocks.append(Note("On grey pixels this model's likelihood is an unnormalised score, not a density."))
    return Section(
        "likelihood",
        "Likelihood of the images",
        f"Estimated on {images}, with fresh samples for each image and estimator. Every estimate of log p(x) is biased "
        f"low; the bias shrinks with more samples. {_SUBSETS if has_curves else ''}The standard error is over images "
        "and includes the Monte Carlo error, which shrinks with more samples. Bias and Monte Carlo error are jackknife "
        "estimates. Where Pareto's k̂ is above 0.7, an image's estimate hangs on samples that were not drawn.",
        blocks,
    )


def certificate_section(certificate: Metrics) -> Section:
    """Both bounds of annealing on images drawn from the model."""
    rows = [
        [name, nats(found["mean"]), _plain_error(found)]
        for name, found in (
            ("Lower bound, forward chains", certificate["forward"]),
            ("Upper bound, reverse chains", certificate["reverse"]),
            ("Gap", certificate["gap"]),
        )
    ]
    columns = ["", "Nats per image", "Standard error"]
    return Section(
        "certificate",
        "Annealing from both sides",
        f"On {counted(certificate['images'], 'image')} drawn from the model, whose latent vectors are exact draws from "
        f"the posterior: {count(certificate['chains'])} chains each way over {count(certificate['temperatures'])} "
        f"distributions, each {certificate['leapfrog_steps']} leapfrog steps, with step sizes of a pilot run for an "
        f"acceptance of {share(certificate['acceptance'])}; {count(round(certificate['decodes']))} decodes per image. "
        "The gap bounds the error of both; for a typical image it is "
        f"{number(certificate['gap']['root_mean_square'], 2)} nats, of either sign.",
        [Table(columns, rows, columns[1:])],
    )


def _curve(name: str, style: str, found: Metrics) -> BoundCurve:
    points = found["by_samples"]
    return BoundCurve(
        TITLES[name], style, [each["decodes"] for each in points], [each["less_reference"] for each in points]
    )


def _likelihood_row(name: str, found: Metrics) -> list[str]:
    effective, bits, k = found.get("effective_samples"), found.get("bits_per_dim"), found.get("pareto_k")
    noise = found.get("monte_carlo_standard_error")
    return [
        name,
        nats(found["mean"]),
        _plain_error(found),
        "" if noise is None else number(noise, 2),
        "" if bits is None else number(bits["mean"], 4),
        "" if effective is None else f"{number(effective['mean'], 3)}, median {number(effective['median'], 3)}",
        "" if k is None else f"{number(k['median'], 2)}, {share(k['share_above_0.7'])}",
        "" if "bias" not in found else number(found["bias"], 2),
        "" if "images" not in found else count(found["images"]),
        "" if "decodes" not in found else count(round(found["decodes"])),
    ]


def nats(value: float) -> str:
    """A log-probability with two decimals."""
    return f"{value:,.2f}".replace("-", "−")


def _plain_error(found: Metrics) -> str:
    return "–" if found["standard_error"] is None else number(found["standard_error"], 2)


def _error(found: Metrics) -> str:
    return "Of a single image," if found["standard_error"] is None else f"± {number(found['standard_error'], 2)}"
