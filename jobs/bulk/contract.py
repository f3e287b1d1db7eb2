"""The interfaces of a bulk job: units of work, the task that maps them, and the parts that it produces."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import pyarrow as pa

from export.runtime.device import Device


class Unit(Protocol):
    """Rows that one worker processes together, in a few seconds. Picklable; equal for equal input."""

    @property
    def number(self) -> int:
        """Index in the plan, from 0; the unit's files are named after it."""
        ...

    @property
    def rows(self) -> int:
        """Number of input rows."""
        ...

    def halves(self) -> "tuple[Unit, Unit]":
        """The unit split in two, both with its number. Called only for units of at least two rows."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The unit's entry in the plan."""
        ...


class Part(NamedTuple):
    """The output for some rows: each is in exactly one of the tables."""

    results: pa.Table
    errors: pa.Table  # the rows that failed, each with its `reason`

    @classmethod
    def join(cls, pieces: Iterable["Part"]) -> "Part":
        """Concatenate pieces (at least one), with the schemas of the first."""
        results, errors = zip(*pieces, strict=True)
        return cls(
            pa.concat_tables(results, promote_options="default").combine_chunks(),
            pa.concat_tables(errors, promote_options="default").combine_chunks(),
        )


U = TypeVar("U", bound=Unit)
U_contra = TypeVar("U_contra", bound=Unit, contravariant=True)


class Task(Protocol[U_contra]):
    """The work: a frozen dataclass, pickled to the workers, which `open` it.

    Equal units must give byte-identical results: a repeated unit overwrites its own files.
    """

    kind: ClassVar[str]  # "score", "sample", …: for the plan, the progress bar and messages
    noun: ClassVar[str]  # the rows, in plural: "images", "samples"

    @property
    def results(self) -> str:
        """Output folder of the result parts: "scores", "images", …."""
        ...

    @property
    def parquet_options(self) -> Mapping[str, object]:
        """Options of `pyarrow.parquet.write_table` for the result parts."""
        ...

    def identity(self) -> dict[str, Any]:
        """What identifies the job, as JSON: the bundle's hash, the options that change results."""
        ...

    def open(self, device: Device) -> Callable[[U_contra], Iterator[Part]]:
        """Load what the work needs, once per worker, and return the function that processes a unit.

        The function yields the unit's part in pieces, in row order, at least one, possibly empty. The job can be
        stopped between pieces, so a piece should take at most a second.
        """
        ...

    def failed(self, unit: U_contra, reason: str) -> Part:
        """The part of a one-row unit that failed: no results and one error."""
        ...
