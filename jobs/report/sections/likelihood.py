"""The likelihood section of an evaluation.

It is built from the content of `metrics.json`, so that report and file agree.
"""

from collections.abc import Mapping
from typing import Any

from jobs.report.blocks import Block, Chart, Charts, Figure, Note, Section, Table
from jobs.report.curves import STYLES, bound_chart
from jobs.report.wording import count, counted, number

Metrics = Mapping[str, Any]

_ESTIMATORS = {"importance_sampling": "importance sampling", "monte_carlo": "Monte Carlo from the prior"}
_FEW = 10  # with fewer effective samples an estimate is unreliable


def likelihood_figures(likelihood: Metrics) -> list[Figure]:
    """The key figures."""
    elbo, best = likelihood["elbo"], likelihood["importance_sampling"]
    figures = [
        Figure("ELBO", nats(elbo["mean"]), f"{_error(elbo)} nats per image: a lower bound on log p(x)."),
        Figure(
            "log p(x) ≥",
            nats(best["mean"]),
            f"{_error(best)} nats, from {count(likelihood['samples'])} importance samples: a tighter bound.",
        ),
    ]
    if "bits_per_dim" in best:
        bits = best["bits_per_dim"]
        figures.append(Figure("Bits per dimension", number(bits["mean"], 4), f"{_error(bits)}, an upper bound."))
    return figures


def likelihood_section(likelihood: Metrics) -> Section:
    """All estimates with their errors, and the bounds against the number of samples."""
    rows = [
        _likelihood_row("ELBO", likelihood["elbo"]),
        _likelihood_row("– reconstruction, E[log p(x|z)]", likelihood["reconstruction"]),
        _likelihood_row("– KL from the prior", likelihood["kl"]),
        *(_likelihood_row(f"log p(x), {name}", likelihood[key]) for key, name in _ESTIMATORS.items()),
    ]
    columns = [
        "",
        "Nats per image",
        "Standard error",
        "Monte Carlo error",
        "Bits per dimension",
        "Effective samples",
        "Bias",
    ]
    images = (
        f"{counted(likelihood['images'], 'image')} of {count(likelihood['of'])}"
        if likelihood["drawn"] != "all"
        else f"all {counted(likelihood['images'], 'image')}"
    )
    blocks: list[Block] = [
        Table(columns, rows, columns[1:]),
        Charts(
            [
                _bounds(name, style, likelihood[key])
                for (key, name), style in zip(_ESTIMATORS.items(), STYLES, strict=False)
            ]
        ),
    ]
    few = [name for key, name in _ESTIMATORS.items() if likelihood[key]["effective_samples"]["median"] < _FEW]
    if few:
        blocks.append(
            Note(
                f"With a median of fewer than {_FEW} effective samples, {' and '.join(few)} "
                f"{'is' if len(few) == 1 else 'are'} a lower bound that may be far below log p(x): the samples with "
                "the largest weights were not drawn, so Monte Carlo error and bias are underestimated too."
            )
        )
    if likelihood["kind"] == "score":
        blocks.append(Note("On grey pixels this model's likelihood is an unnormalised score, not a density."))
    return Section(
        "likelihood",
        "Likelihood of the images",
        f"Estimated on {images}, with {counted(likelihood['samples'], 'fresh sample')} per image and estimator. Every "
        "estimate of log p(x) is biased low; the bias shrinks with more samples. The standard error is over images and "
        "includes the Monte Carlo error, which shrinks with more samples. Bias and Monte Carlo error are jackknife "
        "estimates.",
        blocks,
    )


def _bounds(name: str, style: str, found: Metrics) -> Chart:
    by_samples = found["by_samples"]
    return bound_chart(name, style, [each["samples"] for each in by_samples], [each["mean"] for each in by_samples])


def _likelihood_row(name: str, found: Metrics) -> list[str]:
    effective, bits = found.get("effective_samples"), found.get("bits_per_dim")
    noise = found.get("monte_carlo_standard_error")
    return [
        name,
        nats(found["mean"]),
        "–" if found["standard_error"] is None else number(found["standard_error"], 2),
        "" if noise is None else number(noise, 2),
        "" if bits is None else number(bits["mean"], 4),
        "" if effective is None else f"{number(effective['mean'], 3)}, median {number(effective['median'], 3)}",
        "" if "bias" not in found else number(found["bias"], 2),
    ]


def nats(value: float) -> str:
    """A log-probability with two decimals."""
    return f"{value:,.2f}".replace("-", "−")


def _error(found: Metrics) -> str:
    return "Of a single image," if found["standard_error"] is None else f"± {number(found['standard_error'], 2)}"
