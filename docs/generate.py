"""Generate parts of the pages from the code: tables of options, metrics and intervals, and the list of modules.

    python docs/generate.py     # or: make docs

A part is enclosed in `<!-- generated: NAME -->` and `<!-- /generated -->`; tests/test_documents.py checks that it is
up to date.
"""

import ast
import dataclasses
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.program.arguments import meanings

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
PACKAGES = ("vae_core", "export", "jobs")

_BLOCK = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def filled(page: str) -> str:
    """The text of a page with up-to-date generated parts."""
    return _BLOCK.sub(lambda block: f"{block[1]}{_part(*block[2].split())}\n{block[3]}", page)


def _part(name: str, *arguments: str) -> str:
    parts = {
        "options": options,
        "family": family,
        "modules": modules,
        "metrics": metrics,
        "given": given,
        "conditional": conditional,
    }
    return parts[name](*arguments)


def options(job: str) -> str:
    """The options of `vae JOB`: name, default, meaning."""
    kind = getattr(importlib.import_module(f"jobs.{job}.options"), f"{job.title()}Options")
    lines = ["| option | default | |", "|---|---|---|"]
    return "\n".join(lines + [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in _options(kind)])


def family(name: str) -> str:
    """The options of `vae train` for a family of models, those of training aside."""
    from vae_core import models

    lines = ["| option | default | |", "|---|---|---|"]
    found = _options(models.config_type(name))
    return "\n".join(lines + [f"| `{option}` | {default} | {meaning} |" for option, default, meaning in found])


def _options(kind: type) -> Iterator[tuple[str, str, str]]:
    explained = meanings(kind)
    for field in dataclasses.fields(kind):
        nested = _nested(field)
        if nested is not None:
            yield from _options(nested)
        else:
            meaning = " ".join(explained[field.name].split()).replace("|", "\\|")
            yield f"--{field.name.rstrip('_').replace('_', '-')}", _default(field), meaning


def _nested(field: dataclasses.Field[Any]) -> type | None:
    """The configuration in a field, whose options are the command's; for a model, that of the default family."""
    if field.name == "model":
        from vae_core import models

        return models.config_type(models.DEFAULT)
    return field.default_factory if dataclasses.is_dataclass(field.default_factory) else None  # type: ignore[return-value]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    if field.default is None or field.default == ():
        return ""
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    value = field.default
    return f"`{' '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def modules() -> str:
    """Every module and the first sentence of its docstring, by package."""
    lines: list[str] = []
    for package in (init.parent for root in PACKAGES for init in sorted((ROOT / root).rglob("__init__.py"))):
        path = package.relative_to(ROOT)
        lines += ["", f"{'#' * min(4, 1 + len(path.parts))} {path}", "", _sentence(package / "__init__.py"), ""]
        listed = [module for module in sorted(package.glob("*.py")) if module.name != "__init__.py"]
        if listed:
            lines += ["| | |", "|---|---|", *(f"| `{module.name}` | {_sentence(module)} |" for module in listed)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _sentence(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text()))
    assert docstring, f"{module} has no docstring"
    first = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z0-9)`]\.) (?=[A-Z`])", first)[0].replace("|", "\\|")


def metrics() -> str:
    """The metrics of bulk jobs, under the names that Ray gives them: name, kind, meaning."""
    from jobs.bulk.metrics import ALL

    lines = ["| metric | kind | |", "|---|---|---|"]
    return "\n".join(lines + [f"| `ray_{each.name}` | {each.kind} | {each.meaning} |" for each in ALL])


def given() -> str:
    """Intervals of the false positive rate given the calibration set, for nine sets of ten."""
    from scipy.stats import beta

    levels = (0.001, 0.01, 0.05)
    lines = ["| calibration images | " + " | ".join(f"α = {level}" for level in levels) + " |", "|---|---|---|---|"]
    for size in (500, 800, 2000, 6000, 20000):
        cells = []
        for level in levels:
            rank = int(level * (size + 1) * (1 + 1e-12))
            low, high = beta.ppf([0.05, 0.95], rank, size + 1 - rank) if rank else (0.0, 0.0)
            cells.append(f"{low:.4f} to {high:.4f}" if rank else "not possible")
        lines.append(f"| {size:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def conditional() -> str:
    """The p-values that p_value becomes given the calibration set, with 90% confidence."""
    from export.guarantees.envelope import fit_envelope

    levels = (0.001, 0.01, 0.05)
    heads = " | ".join(f"p_value = {level}" for level in levels)
    lines = [f"| calibration images | smallest p_value_conditional | {heads} |", "|---|---|---|---|---|"]
    for size in (500, 800, 2000, 6000, 20000):
        envelope = fit_envelope(size, 0.9)
        ranks = [int(level * (size + 1) * (1 + 1e-12)) for level in levels]
        cells = [f"{envelope.p_values(rank):.4f}" if rank else "not possible" for rank in ranks]
        lines.append(f"| {size:,} | {envelope.p_values(1):.5f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Rewrite all pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()
