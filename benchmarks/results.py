"""Results of the benchmarks: ratios of two things measured side by side, as JSON.

Every figure is a `Ratio`: the median over several rounds in which the two sides alternate, so that both see the same
load on the machine. `save` writes one file per benchmark; `benchmarks.table` prints them all.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path("build/bench")
BENCHMARKS = ("scoring", "user_job", "int8", "training", "sampling", "growth", "startup", "scaling")
_PACKAGES = ("numpy", "onnxruntime-gpu", "pyarrow", "ray", "torch")


class Ratio(NamedTuple):
    """One line of the table: `ours` against `other`; the target says whether higher or lower is better."""

    claim: str  # what is measured, with sizes
    ours: float
    other: float
    unit: str  # of both
    target: str = ""  # ">= 0.90", "<= 1.10", or empty if the ratio is only reported
    note: str = ""  # what `other` is, and its limits

    @property
    def ratio(self) -> float:
        return self.ours / self.other

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if not self.target:
            return None
        sign, bound = self.target.split()
        return self.ratio >= float(bound) if sign == ">=" else self.ratio <= float(bound)


def alternate(rounds: int, sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """The figures of `rounds` rounds, in each of which every side is measured once, in alternating order."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:
            figures[name].append(sides[name]())
            print(f"  {name}: {figures[name][-1]:,.4g}", file=sys.stderr, flush=True)
    return figures


def medians(figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each side."""
    return {name: statistics.median(values) for name, values in figures.items()}


def seconds(command: Sequence[str], **options: Any) -> float:
    """Wall-clock seconds of a command that must succeed; its output is shown if it fails."""
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    took = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return took


def machine() -> dict[str, Any]:
    """The machine: processor, cores, memory, versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def save(name: str, ratios: Sequence[Ratio], **details: Any) -> None:
    """Write `build/bench/NAME.json`: the ratios, the machine, and other measurements; print the ratios."""
    rows = [{**ratio._asdict(), "ratio": ratio.ratio, "is_met": ratio.is_met} for ratio in ratios]
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"benchmark": name, "machine": machine(), "ratios": rows, **details}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    for ratio in ratios:
        print(f"{ratio.claim}: {ratio.ratio:.3f} {ratio.target}", flush=True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    wide = [
        flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if flag in facts["flags"].split()
    ]
    return f"{facts['model name']} ({', '.join(wide)})"
