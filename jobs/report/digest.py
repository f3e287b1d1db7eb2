"""What a report needs of a job's results, in one pass over one column: a histogram and the most outlying rows.

A job's scores may be a billion rows in thousands of parts. Each part is read once, `outlier_score` alone, and is
forgotten; only the few parts that hold the most outlying rows are read again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from export.storage import Folder
from jobs.bulk.commit import over_parts, part_names

Values = NDArray[np.float64]
Scores = NDArray[np.float32]

READERS = 8  # parts read at a time: storage answers slowly, not the processor
DISTINCT_REASONS = 1000


class Histogram(NamedTuple):
    """Counts [B] between edges [B + 1]; a value at an edge belongs to the bin that ends there."""

    edges: Values
    counts: NDArray[np.int64]
    below: int
    above: int

    @property
    def total(self) -> int:
        """All values, those outside the edges included."""
        return int(self.counts.sum()) + self.below + self.above

    def add(self, values: Scores) -> "Histogram":
        """With `values` counted too; those that are not finite are not."""
        finite = values[np.isfinite(values)].astype(np.float64)
        places = np.searchsorted(self.edges, finite, side="left")
        found = np.bincount(places, minlength=len(self.edges) + 1).astype(np.int64)
        return Histogram(self.edges, self.counts + found[1:-1], self.below + int(found[0]), self.above + int(found[-1]))

    def merge(self, other: "Histogram") -> "Histogram":
        """Both together; they share their edges."""
        return Histogram(self.edges, self.counts + other.counts, self.below + other.below, self.above + other.above)


def empty_histogram(edges: Values) -> Histogram:
    """A histogram that has counted nothing."""
    return Histogram(edges, np.zeros(len(edges) - 1, dtype=np.int64), 0, 0)


class Place(NamedTuple):
    """A row of a part, ordered so that the smallest comes first; ties go by where they stand."""

    rank: float  # minus the score, or the score itself where the least outlying come first
    part: str
    offset: int


class Digest(NamedTuple):
    """One pass over the scores."""

    histogram: Histogram
    top: list[Place]  # the most outlying rows, the most outlying first, or the least


def digest_scores(scores: Folder, edges: Values, top: int, lowest: bool = False) -> Digest:
    """The histogram of `outlier_score` over all parts, and the `top` most outlying rows, or the least with `lowest`."""
    sign = 1 if lowest else -1

    def read(part: str) -> Digest:
        histogram, places, start = empty_histogram(edges), list[Place](), 0
        for values in _column_batches(scores, part):
            histogram = histogram.add(values)
            ranked = np.where(np.isnan(values), np.inf, sign * values)
            chosen = np.argsort(ranked, kind="stable")[:top]
            places += [Place(float(ranked[i]), part, start + int(i)) for i in chosen]
            start += len(values)
        return Digest(histogram, sorted(places)[:top])

    total = Digest(empty_histogram(edges), [])
    for each in over_parts(scores, part_names(scores), read):
        total = Digest(total.histogram.merge(each.histogram), sorted([*total.top, *each.top])[:top])
    return total


def read_rows(scores: Folder, places: Sequence[Place]) -> pa.Table:
    """The rows at `places`, of which there is at least one, in their order, every column."""
    by_part: dict[str, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        by_part[place.part].append(index)

    def read(part: str) -> pa.Table:
        taken = scores.read_table(part).take([places[index].offset for index in by_part[part]])
        return taken.replace_schema_metadata(None)  # parts may have been computed by different providers

    with ThreadPoolExecutor(READERS) as pool:
        table = pa.concat_tables(pool.map(read, by_part))
    order = np.concatenate(list(by_part.values()))
    return table.take(pa.array(np.argsort(order)))


class Reason(NamedTuple):
    """Why rows could not be scored, how many, and where one of them stands."""

    reason: str
    rows: int
    file: str
    row: int | None


def digest_errors(errors: Folder) -> list[Reason]:
    """The reasons in the errors' parts, the most frequent first; beyond a thousand they are counted as one."""
    counts: Counter[str] = Counter()
    examples: dict[str, tuple[str, int | None]] = {}

    def read(part: str) -> pa.Table:
        return _columns(errors, part, ["reason", "file", "row"])

    for table in over_parts(errors, part_names(errors), read):
        columns = table.to_pydict()
        reasons = columns["reason"]
        files = columns.get("file", [""] * len(reasons))
        rows = columns.get("row", [None] * len(reasons))
        for reason, file, row in zip(reasons, files, rows, strict=True):
            name = reason if reason in counts or len(counts) < DISTINCT_REASONS else "other reasons"
            counts[name] += 1
            examples.setdefault(name, (file or "", row))
    return [Reason(reason, rows, *examples[reason]) for reason, rows in counts.most_common()]


def _columns(folder: Folder, part: str, wanted: list[str]) -> pa.Table:
    with folder.filesystem.open_input_file(folder.file(part)) as stream:
        file = pq.ParquetFile(stream)
        return file.read(columns=[name for name in wanted if name in file.schema_arrow.names])


def _column_batches(folder: Folder, part: str) -> Iterator[Scores]:
    with folder.filesystem.open_input_file(folder.file(part)) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=1 << 16, columns=["outlier_score"]):
            yield np.asarray(batch.column(0).to_numpy(zero_copy_only=False), dtype=np.float32)
