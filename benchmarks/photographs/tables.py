"""The results as Markdown.

A table for each shared set and each setting of more kinds, one for faint defects, one for one model of two textures.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.photographs import front
from benchmarks.photographs.detector import Method
from benchmarks.photographs.measure import Result, aurocs, false_positives, found, paired_difference, speed
from benchmarks.photographs.settings import EMOJI, FAINT, JOINT, MORE, SHARED

Results = Mapping[str, Mapping[str, Sequence[Result]]]
"""By setting and method, the results of its seeds."""

OURS = ("bank", "lite0", "both")
_OTHERS = ("patchcore", "padim", "efficientad", "flow", "handmade")


def render(results: Results, methods: Mapping[str, Method]) -> str:
    """All tables that there are results for."""
    tables = [_shared(name, results[name], methods) for name in (*SHARED, EMOJI) if results.get(name)]
    if faint := {name: results[name] for name in FAINT if results.get(name)}:
        tables += [_by_texture("Faint defects: image AUROC", faint, methods), _differences(faint, methods)]
    if joint := {name: results[name] for name in JOINT if results.get(name)}:
        alone = {name: results.get(name.replace("joint", "faint"), {}) for name in joint}
        tables.append(_joint(joint, alone, methods))
    tables += [_by_kind(name, results[name], methods) for name in MORE if results.get(name)]
    return "\n\n".join([*tables, _fronts(results, methods)])


def _fronts(results: Results, methods: Mapping[str, Method]) -> str:
    """Ours beside the best of the same information, pretrained or not, and the front of AUROC and speed."""
    titles = ["setting", "ours", "AUROC", "images/s", "best other of the same information", "ours less it, 95%", "rank"]
    lines = [
        "### First and on the front",
        "",
        f"| {' | '.join([*titles, 'front'])} |",
        "|---|---|---:|---:|---|---:|---|---|",
    ]
    lines += [f"| {name} {line}" for name, each in results.items() for line in front.render(each, methods, OURS)]
    return "\n".join(lines)


def _shared(name: str, by_method: Mapping[str, Sequence[Result]], methods: Mapping[str, Method]) -> str:
    kinds = list(next(iter(by_method.values()))[0]["odd"])
    has_pixels = any(seeds[0]["pixels"] for seeds in by_method.values())
    titles = [*kinds, "mean", "found", "false", *(["pixels"] if has_pixels else []), "images/s", "seeds"]
    lines = [f"### {name}", "", f"| | {' | '.join(titles)} |", "|---|" + "---:|" * len(titles)]
    for method, seeds in by_method.items():
        values = np.array([aurocs(result) for result in seeds])
        cells = [f"{value:.3f}" for value in values.mean(0)]
        cells += [_spread(values.mean(1), 4), f"{_mean(found, seeds):.1%}", f"{_mean(false_positives, seeds):.1%}"]
        if has_pixels:
            pixels = [np.mean(list(result["pixels"].values())) for result in seeds if result["pixels"]]
            cells.append(_spread(np.array(pixels), 3) if pixels else "")
        cells.append("" if (each := speed(seeds)) is None else f"{each:,.0f}")
        lines.append(f"| {methods[method].title} | {' | '.join([*cells, str(len(seeds))])} |")
    return "\n".join(lines)


def _by_kind(name: str, by_method: Mapping[str, Sequence[Result]], methods: Mapping[str, Method]) -> str:
    """A line for each kind, since there are many."""
    titles = [methods[method].title for method in by_method]
    lines = [f"### {name}", "", f"| AUROC | {' | '.join(titles)} |", "|---|" + "---:|" * len(titles)]
    values = [np.array([aurocs(result) for result in seeds]) for seeds in by_method.values()]
    for number, kind in enumerate(next(iter(by_method.values()))[0]["odd"]):
        lines.append(f"| {kind} | {' | '.join(f'{each[:, number].mean():.3f}' for each in values)} |")
    lines.append(f"| mean | {' | '.join(_spread(each.mean(1), 4) for each in values)} |")
    for title, of_one in (("found", found), ("false", false_positives)):
        lines.append(f"| {title} | {' | '.join(f'{_mean(of_one, seeds):.1%}' for seeds in by_method.values())} |")
    lines.append(f"| seeds | {' | '.join(str(len(seeds)) for seeds in by_method.values())} |")
    return "\n".join(lines)


def _by_texture(title: str, results: Results, methods: Mapping[str, Method]) -> str:
    names = [method for method in methods if any(method in each for each in results.values())]
    textures = [name.partition("-")[2] for name in results]
    lines = [f"### {title}", "", f"| | {' | '.join(textures)} | mean |", "|---|" + "---:|" * (len(textures) + 1)]
    for method in names:
        values = [_mean(_average, each[method]) if method in each else np.nan for each in results.values()]
        cells = ["" if np.isnan(value) else f"{value:.3f}" for value in [*values, np.mean(values)]]
        lines.append(f"| {methods[method].title} | {' | '.join(cells)} |")
    for name, each in results.items():
        first = next(iter(each.values()))
        lines.append(f"\n{name}: contrasts {'; '.join(result['note'] for result in first)}")
    return "\n".join(lines)


def _differences(results: Results, methods: Mapping[str, Method]) -> str:
    """Paired differences over the textures and seeds that both have."""
    lines = ["| image AUROC less that of | " + " | ".join(methods[name].title for name in _OTHERS) + " |"]
    lines.append("|---|" + "---:|" * len(_OTHERS))
    for method in OURS:
        cells = []
        for other in _OTHERS:
            both = [(each[method], each[other]) for each in results.values() if method in each and other in each]
            pairs = [pair for mine, theirs in both for pair in zip(mine, theirs, strict=False)]
            if not pairs:
                cells.append("")
            else:
                value, low, high = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
                cells.append(f"{value:+.4f} ({low:+.4f} to {high:+.4f})")
        if any(cells):
            lines.append(f"| {methods[method].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _joint(joint: Results, alone: Results, methods: Mapping[str, Method]) -> str:
    lines = ["### One model for brick and wood: image AUROC", ""]
    lines += ["| | " + " | ".join(f"{name}, alone | {name}, together" for name in ("brick", "wood")) + " |"]
    lines.append("|---|" + "---:|" * 4)
    for method in methods:
        if all(method in each and method in alone[name] for name, each in joint.items()):
            cells = [f"{_mean(_average, of[name][method]):.3f}" for name in joint for of in (alone, joint)]
            lines.append(f"| {methods[method].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _average(result: Result) -> float:
    return float(aurocs(result).mean())


def _mean(measure: Callable[[Result], float], seeds: Sequence[Result]) -> float:
    return float(np.mean([measure(result) for result in seeds]))


def _spread(values: np.ndarray, digits: int) -> str:
    deviation = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{deviation}"
