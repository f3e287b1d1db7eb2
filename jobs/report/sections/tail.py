"""What the report says of the model behind `p_value_tail`."""

from export.guarantees.tail import Tail
from export.guarantees.tail_interval import LEVEL
from jobs.report.blocks import Note
from jobs.report.wording import counted, number

_EXAMPLE = 1e-5


def tail_note(tail: Tail) -> Note:
    """Which model it is, how well the calibration images determine it, and what it is not."""
    example = min(_EXAMPLE, tail.rate / 10)
    low, high = tail.interval_at(example)
    return Note(
        f"p_value_tail comes from a model: beyond a score of {number(tail.threshold)}, the "
        f"{counted(tail.exceedances, 'highest calibration score')} are continued by a generalised Pareto tail of shape "
        f"{number(tail.shape, 2)} and scale {number(tail.scale, 2)}. p_value_tail_low and p_value_tail_high are its "
        f"{LEVEL:.0%} interval: at {example:.0e}, from {low:.0e} to {high:.0e}. The interval covers the error of "
        "estimating the tail from so few scores, not the error of the model, which can be larger and which no "
        "calibration set shows. It has no guarantee; outliers and discoveries go by p_value alone."
    )
