"""What a scenario came to, as a line of a table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from faults.commands import Difference


@dataclass
class Outcome:
    """The counts of one scenario."""

    name: str = ""
    injected: int = 0  # kills or faults
    starts: int = 0  # of the command
    runs: int = 0  # outputs
    equal: int = 0  # … of those, to what an undisturbed run leaves
    exact: int = 0  # … of those, to the byte
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    of_which: Counter[str] = field(default_factory=Counter)
    """Where the kills fell, or which faults there were."""

    def __add__(self, other: "Outcome") -> "Outcome":
        """Both together, under the name of the first."""
        counts = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("injected", "starts", "runs", "equal", "exact")
        }
        return Outcome(
            self.name, **counts, wrong=self.wrong + other.wrong, of_which=_sum(self.of_which, other.of_which)
        )

    def add_run(self, name: str, difference: Difference) -> None:
        """Count an output."""
        self.equal += not difference.wrong
        self.exact += not difference.wrong and difference.is_exact
        self.wrong += [f"{name}: {what}" for what in difference.wrong]

    @property
    def is_clean(self) -> bool:
        return not self.wrong and self.equal == self.runs


def _sum(one: Counter[str], other: Counter[str]) -> Counter[str]:
    return Counter({name: one[name] + other[name] for name in {**one, **other}})  # zeros stay


HEAD = ("scenario", "faults", "starts", "runs", "equal", "exact", "seconds", "of which")


def row(outcome: Outcome) -> tuple[str, ...]:
    """The cells of a line."""
    of_which = ", ".join(f"{name} {count}" for name, count in outcome.of_which.items())
    counts = (outcome.injected, outcome.starts, outcome.runs, outcome.equal, outcome.exact)
    return (outcome.name, *map(str, counts), f"{outcome.seconds:.0f}", of_which)


def table(outcomes: Sequence[Outcome]) -> str:
    """All lines, in columns."""
    rows = [HEAD, *map(row, outcomes)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip() for cells in rows)  # noqa: B905
