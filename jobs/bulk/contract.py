"""What a bulk job is made of: units of work, a task that maps them, and the parts it makes of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import pyarrow as pa

from export.runtime.device import Device


class Unit(Protocol):
    """A run of rows that one worker does in one go, some seconds of work. Picklable; equal for equal input."""

    @property
    def number(self) -> int:
        """The unit's place in the plan, from 0: its files are named from it."""
        ...

    @property
    def rows(self) -> int:
        """How many rows of input the unit stands for."""
        ...

    def halves(self) -> "tuple[Unit, Unit]":
        """The unit cut in two, both with its number. Asked only of units of two rows and more."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What the plan says of the unit."""
        ...


class Part(NamedTuple):
    """What some rows came to: every one of them is in exactly one of the tables."""

    results: pa.Table
    errors: pa.Table  # the rows that could not be done, each with its `reason`

    @classmethod
    def join(cls, pieces: Iterable["Part"]) -> "Part":
        """One part of one piece and more, in their order, with the schemas of the first."""
        results, errors = zip(*pieces, strict=True)
        return cls(
            pa.concat_tables(results, promote_options="default").combine_chunks(),
            pa.concat_tables(errors, promote_options="default").combine_chunks(),
        )


U = TypeVar("U", bound=Unit)
U_contra = TypeVar("U_contra", bound=Unit, contravariant=True)


class Task(Protocol[U_contra]):
    """The work itself: a frozen dataclass, pickled to the workers, which then `open` it.

    The results of equal units must be equal, byte for byte: a unit that is done again replaces its own files.
    """

    kind: ClassVar[str]  # "score", "sample", …: in the plan, the progress bar and the messages
    noun: ClassVar[str]  # what a row is, in the plural: "images", "samples"

    @property
    def results(self) -> str:
        """The folder of the output that takes the result parts: "scores", "images", …."""
        ...

    @property
    def parquet_options(self) -> Mapping[str, object]:
        """How the result parts are written, for `pyarrow.parquet.write_table`."""
        ...

    def identity(self) -> dict[str, Any]:
        """What makes this job another job, as JSON: the bundle's hash, the options that change results."""
        ...

    def open(self, device: Device) -> Callable[[U_contra], Iterator[Part]]:
        """In the worker, once: load what the work needs, and return the function that does a unit.

        It yields the unit's part in pieces, in the order of the rows and at least one, which may be empty. Between
        two of them the job can be stopped, so a piece is best no more than a second of work.
        """
        ...

    def failed(self, unit: U_contra, reason: str) -> Part:
        """The part of a unit of one row that could not be done: no results and one error."""
        ...
