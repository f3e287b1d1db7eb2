"""What the report says of the model behind `p_value_tail`."""

from export.guarantees.tail import Tail
from jobs.report.blocks import Note
from jobs.report.wording import counted, number

_VERDICTS = {
    "fits": "They fit it",
    "cautious": "They fall off faster than it can, so far out its p-values are larger than they need be",
    "does not fit": "They do not fit it, so take its p-values with care",
}


def tail_note(tail: Tail) -> Note:
    """Which model it is, whether it fits, and what it is not."""
    return Note(
        f"p_value_tail comes from a model: beyond a score of {number(tail.threshold)}, the "
        f"{counted(tail.exceedances, 'highest calibration score')} are continued by a generalised Pareto tail of shape "
        f"{number(tail.shape, 2)} and scale {number(tail.scale, 2)}. {_VERDICTS[tail.verdict]} (Anderson–Darling, "
        f"p = {tail.misfit_p_value:.2g}). It has no guarantee; outliers and discoveries go by p_value alone."
    )
