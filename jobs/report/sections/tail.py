"""The remark on the model behind `p_value_tail`."""

from export.guarantees.tail import Tail
from export.guarantees.tail_interval import LEVEL
from jobs.report.blocks import Note
from jobs.report.wording import counted, number

_EXAMPLE = 1e-5


def tail_note(tail: Tail) -> Note:
    """The model, how well the calibration images determine it, and its limits."""
    example = min(_EXAMPLE, tail.rate / 10)
    low, high = tail.interval_at(example)
    return Note(
        f"p_value_tail extrapolates: above a score of {number(tail.threshold)}, a generalised Pareto distribution of "
        f"shape {number(tail.shape, 2)} and scale {number(tail.scale, 2)} is fitted to the "
        f"{counted(tail.exceedances, 'highest calibration score')}. p_value_tail_low and p_value_tail_high are its "
        f"{LEVEL:.0%} interval: {low:.0e} to {high:.0e} at {example:.0e}. The interval covers the estimation error, "
        "not the model error, which can be larger and cannot be measured on the calibration set. p_value_tail has no "
        "guarantee; outliers and discoveries use p_value only."
    )
