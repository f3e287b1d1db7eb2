"""The section about how likely a model finds the images of a test set.

It takes what `metrics.json` holds, so that page and file cannot differ.
"""

from collections.abc import Mapping
from typing import Any

from jobs.report.blocks import Block, Chart, Charts, Figure, Note, Section, Table
from jobs.report.curves import STYLES, bound_chart
from jobs.report.wording import count, counted, number

Metrics = Mapping[str, Any]

_ESTIMATORS = {"importance_sampling": "importance sampling", "monte_carlo": "Monte Carlo from the prior"}
_FEW = 10  # effective samples below which an estimate is not to be trusted


def likelihood_figures(likelihood: Metrics) -> list[Figure]:
    """The key figures."""
    elbo, best = likelihood["elbo"], likelihood["importance_sampling"]
    figures = [
        Figure("ELBO", nats(elbo["mean"]), f"{_error(elbo)} nats per image: a lower bound on log p(x)."),
        Figure(
            "log p(x), at least",
            nats(best["mean"]),
            f"{_error(best)} nats, by {count(likelihood['samples'])} importance samples: a tighter bound.",
        ),
    ]
    if "bits_per_dim" in best:
        bits = best["bits_per_dim"]
        figures.append(Figure("Bits per dimension", number(bits["mean"], 4), f"{_error(bits)}, at most."))
    return figures


def likelihood_section(likelihood: Metrics) -> Section:
    """Every estimate with its errors, and how the bounds rise with the samples."""
    rows = [
        _likelihood_row("ELBO", likelihood["elbo"]),
        _likelihood_row("– its reconstruction, E[log p(x|z)]", likelihood["reconstruction"]),
        _likelihood_row("– its KL from the prior", likelihood["kl"]),
        *(_likelihood_row(f"log p(x), {name}", likelihood[key]) for key, name in _ESTIMATORS.items()),
    ]
    columns = [
        "",
        "Nats per image",
        "Standard error",
        "Of it, noise",
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
                f"{'is' if len(few) == 1 else 'are'} a lower bound that may lie far below log p(x): the samples that "
                "would count most were not drawn, so the noise and the bias told here are too small as well."
            )
        )
    if likelihood["kind"] == "score":
        blocks.append(Note("On grey pixels this model's likelihood is a score that no distribution normalises."))
    return Section(
        "likelihood",
        "How likely the model finds the images",
        f"Estimated for {images}, with {counted(likelihood['samples'], 'fresh sample')} for each and each estimator. "
        "Every estimate of log p(x) is too low in expectation, by less the more samples there are. The standard error "
        "is over images; the part of it that is noise of the estimates would shrink with more samples. Bias and noise "
        "come from the jackknife.",
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
    """A log-probability, to the hundredth."""
    return f"{value:,.2f}".replace("-", "−")


def _error(found: Metrics) -> str:
    return "of a single image," if found["standard_error"] is None else f"± {number(found['standard_error'], 2)}"
