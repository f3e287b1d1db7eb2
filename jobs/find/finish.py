"""Finish `vae find`: from the scores of all folds to ranks, explanations, report and summary.

The scores of all images, four bytes each, are in memory at once, since a rank is a place among all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from export.bundle.format import Bundle
from export.guarantees.p_values import P_VALUE
from export.runtime.scorer import Scorer
from jobs.bulk.commit import ERRORS, over_parts, part_name, part_names
from jobs.bulk.dataset_card import write_dataset_card
from jobs.bulk.versions import versions
from jobs.discoveries.control import MAX_DISCOVERIES
from jobs.discoveries.errors import ReasonCounter, describe_left_out
from jobs.discoveries.walk import walk
from jobs.find.excess import Excess, estimate_excess
from jobs.find.folds import copies
from jobs.find.job import PACKED, FindJob, read_scores
from jobs.find.ranking import Ranking, rank
from jobs.find.task import FOLD, NUMBER, RANK, FoldTask
from jobs.images.batches import with_reasons
from jobs.images.reader import read_images
from jobs.images.units import Piece
from jobs.prepare.task import ORIGIN
from jobs.report.blocks import Gallery
from jobs.report.gallery.write import FOLDER
from jobs.report.wording import counted
from jobs.score.explain.explanation import Explanation, explain_images
from jobs.score.explain.table import explanation_schema, explanation_table
from jobs.score.explain.write import EXPLANATIONS
from jobs.score.finish import DISCOVERIES
from jobs.score.gallery.make import Columns, make_gallery, rows_in_files
from jobs.score.gallery.originals import find_pieces
from jobs.score.gallery.pictures import Explainer, Pictured, picture_images
from jobs.score.options import SHOWN
from jobs.score.outliers_csv import columns, write_outliers_csv
from jobs.score.task import IS_OUTLIER, LEVEL, level_text
from jobs.train.splits import starts

_BATCH = 64  # explained images at a time


class Found(NamedTuple):
    """All images that were scored, in order."""

    numbers: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    folds: npt.NDArray[np.int32]
    ranking: Ranking

    def first(self, count: int) -> npt.NDArray[np.int64]:
        """Positions of the `count` most outlying, the most outlying first."""
        return self.ranking.order[:count]


def conclude(job: FindJob) -> dict[str, Any]:
    """Write scores with ranks, errors, discoveries, explanations and report; return the summary."""
    from jobs.find.report import Shown, write_find_report

    options = job.options
    found = _read(job)
    excess = estimate_excess(found.scores, found.folds)
    _write_scores(job, found)
    reasons = ReasonCounter()
    errors = _write_errors(job, reasons)
    bad_files = len(job.images.bad_files)
    outliers = int((found.ranking.p_value <= options.fpr).sum())
    estimated, listed = (min(count, MAX_DISCOVERIES) for count in (excess.about, max(outliers, excess.about)))
    top = _rows(job, found.first(max(listed, options.explain, options.gallery)), found)
    job.output.write_table(DISCOVERIES, top.slice(0, estimated))
    models = [Bundle.open(job.folder(fold).child("bundle").address) for fold in range(job.choice.folds)]
    gallery = _list(job, models, top, listed)
    explained = _explain(job, models, found, top.slice(0, options.explain))
    summary = {
        "rows": job.images.rows,
        "scored": len(found.numbers),
        "errors": errors - bad_files,
        "bad_files": bad_files,
        "left_out": reasons.counts,
        "estimated_outliers": excess._asdict(),
        "outliers": outliers,
        "listed": listed,
        "in_gallery": 0 if gallery is None else gallery.count,
        "fpr": options.fpr,
        "copies": copies(job.fingerprints),
        "size": list(job.choice.contract.shape),
        "folds": job.choice.folds,
        "trim": options.trim,
        "rules": list(job.choice.why),
        "survey": job.survey.to_json(job.choice.contract),
        "explained": len(explained),
        "bundles": [bundle.hash for bundle in models],
        "versions": versions(),
    }
    tables = {
        "scores": ("scores/*.parquet", len(found.numbers)),
        "discoveries": (DISCOVERIES, min(estimated, len(top))),
        "explanations": (EXPLANATIONS, len(explained)),
        "errors": (f"{ERRORS}/*.parquet", errors),
    }
    write_dataset_card(job.output, "Images of a folder, from the most outlying", tables)
    write_find_report(job, found, Shown(gallery, explained[:SHOWN], reasons.reasons), summary)
    return summary


def sentence(summary: Mapping[str, Any]) -> str:
    """The result of a finished job, from its summary."""
    left_out = describe_left_out(summary["left_out"], summary["scored"] + summary["errors"] + summary["bad_files"])
    return (
        f"{counted(summary['scored'], 'image')} ranked, {in_words(Excess(**summary['estimated_outliers']))}; "
        f"{left_out or '0 left out'}"
    )


def in_words(excess: Excess) -> str:
    """The estimate as a clause."""
    if not excess.about:
        return "and no clear excess of high scores; if any do not belong, they are the first"
    return f"of which about {excess.about:,} ({excess.low:,} to {excess.high:,}) do not belong"


def _read(job: FindJob) -> Found:
    read = [read_scores(job.folder(fold)) for fold in range(job.choice.folds)]
    numbers, scores = (np.concatenate(each) for each in zip(*read, strict=True))
    folds = np.repeat(np.arange(job.choice.folds, dtype=np.int32), [len(each) for each, _ in read])
    order = np.argsort(numbers, kind="stable")
    scores, folds = scores[order], folds[order]
    return Found(numbers[order], scores, folds, rank(scores, folds))


def _write_scores(job: FindJob, found: Found) -> None:
    """One part for each unit, of the parts of all folds: rows in order, with p-value, rank and fold."""
    parts = [scored.child(FoldTask.results) for scored in job.scored]
    output, level = job.output.child(FoldTask.results), {LEVEL: level_text(job.options.fpr).encode()}

    def join(name: str) -> None:
        table = pa.concat_tables([folder.read_table(name).replace_schema_metadata(None) for folder in parts])
        table = table.sort_by(NUMBER.name)
        at = np.searchsorted(found.numbers, table[NUMBER.name].to_numpy())
        output.write_table(name, _complete(table, at, found, job.options.fpr).replace_schema_metadata(level))

    for _ in over_parts(parts[0], part_names(parts[0]), join):
        pass


def _complete(table: pa.Table, at: npt.NDArray[np.int64], found: Found, fpr: float) -> pa.Table:
    """Scores of the images at positions `at`, with the columns that follow from all scores."""
    p = found.ranking.p_value[at]
    table = table.drop_columns([NUMBER.name])
    for field, values in (
        (pa.field(P_VALUE, pa.float64()), p),
        (RANK, found.ranking.rank[at]),
        (FOLD, found.folds[at]),
        (pa.field(IS_OUTLIER, pa.bool_()), p <= fpr),
    ):
        table = table.append_column(field, pa.array(values, field.type))
    return table


def _rows(job: FindJob, at: npt.NDArray[np.int64], found: Found) -> pa.Table:
    """The complete rows at positions `at`, in that order."""
    wanted = pa.array(found.numbers[at])
    tables = []
    for folder in (scored.child(FoldTask.results) for scored in job.scored):

        def read(name: str, folder: Any = folder) -> pa.Table:
            table = folder.read_table(name).replace_schema_metadata(None)
            return table.filter(pc.is_in(table[NUMBER.name], wanted))

        tables += list(over_parts(folder, part_names(folder), read))
    table = pa.concat_tables(tables)
    places = np.searchsorted(found.numbers, table[NUMBER.name].to_numpy())
    table = _complete(table, places, found, job.options.fpr)
    return table.sort_by(RANK.name)


def _write_errors(job: FindJob, reasons: ReasonCounter) -> int:
    """The errors of packing and of scoring, as those of this job; return their number."""
    output, packed = job.output.child(ERRORS), job.output.child(PACKED)
    output.delete_all()
    tables = [packed.child(ERRORS).read_table(name) for name in part_names(packed.child(ERRORS))]
    lost: dict[tuple[str, int], pa.Table] = {}  # the jobs of several folds may fail at one image: it is one error
    for folder in (scored.child(ERRORS) for scored in job.scored):
        for name in part_names(folder):
            table = folder.read_table(name)
            for index, key in enumerate(zip(table["file"].to_pylist(), table["row"].to_pylist(), strict=True)):
                lost.setdefault(key, table.slice(index, 1))
    tables += [_of_input(job, row) for row in lost.values()]
    for count, table in enumerate(tables):
        output.write_table(part_name(count), table)
    return walk(output, [reasons]).rows


def _of_input(job: FindJob, error: pa.Table) -> pa.Table:
    """An error of one packed image as that of the image it was packed from, which the packed file names."""
    row = error["row"][0].as_py()
    images = job.output.child(PACKED).child("images")
    name = str(error["file"][0].as_py()).rpartition("/")[2]
    keys = images.read_table(name, columns=[*ORIGIN.values(), *job.kept]).slice(row, 1)
    keys = keys.rename_columns([*ORIGIN, *job.kept]).replace_schema_metadata(None)
    return with_reasons(keys, error["reason"].to_pylist())


def _list(job: FindJob, models: Sequence[Bundle], top: pa.Table, listed: int) -> Gallery | None:
    """Write outliers.csv, of the first rows, and the gallery."""
    kept = job.kept
    pieces = find_pieces(job.images.pieces, top)
    shown = top.slice(0, job.options.gallery)
    pictured: list[Pictured | None] = [None] * len(shown)
    folds = shown[FOLD.name].to_numpy()
    for fold, bundle in enumerate(models):
        own = np.flatnonzero(folds == fold).tolist()
        found = picture_images([pieces[i] for i in own], job.choice.contract, Explainer(bundle))
        for index, each in zip(own, found, strict=True):
            pictured[index] = each
    rows = top.slice(0, listed).select(columns(kept, P_VALUE))
    rows = rows.set_column(1, "row", pa.array(rows_in_files(rows, pieces[:listed]), pa.int64()))
    reasons = ["" if each is None else each.reason for each in pictured]
    write_outliers_csv(job.output, rows, 0, reasons[:listed])
    if not len(shown):
        job.output.child(FOLDER).delete_all()
        return None
    return make_gallery(job.output, shown, pieces[: len(shown)], pictured, Columns(P_VALUE, [*kept, FOLD.name]))


def _explain(job: FindJob, models: Sequence[Bundle], found: Found, rows: pa.Table) -> list[Explanation]:
    """Explain the first rows, each by the model that scored it, and write explanations.parquet."""
    if not len(rows):
        job.output.delete(EXPLANATIONS)
        return []
    scorers = [Scorer(bundle, provider="cpu") for bundle in models]
    statistics = [each.name for each in scorers[0].bundle.statistics]
    kept = rows.select([name for name in rows.schema.names if name not in {*statistics, RANK.name}])
    schema = explanation_schema(kept.schema, statistics)
    positions = found.first(len(rows))
    written = list[Explanation]()
    with job.output.writing(EXPLANATIONS) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for start in range(0, len(rows), _BATCH):
            batch, at = kept.slice(start, _BATCH), positions[start : start + _BATCH]
            explained = _explain_batch(scorers, job, batch, found, at)
            writer.write_table(explanation_table(batch, explained, schema))
            written += explained
    return written


def _explain_batch(
    scorers: Sequence[Scorer], job: FindJob, rows: pa.Table, found: Found, at: npt.NDArray[np.int64]
) -> list[Explanation]:
    images = np.stack(list(_images(job, found.numbers[at])))
    values, ranks, folds = rows.to_pylist(), found.ranking.rank[at].tolist(), found.folds[at]
    explained: dict[int, Explanation] = {}
    for fold, scorer in enumerate(scorers):
        own = np.flatnonzero(folds == fold)
        if len(own):
            found_here = explain_images(scorer, images[own], [values[i] for i in own], [ranks[i] for i in own])
            explained.update(zip(own.tolist(), found_here, strict=True))
    return [explained[i] for i in range(len(values))]


def _images(job: FindJob, numbers: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint8]]:
    """The packed images with these numbers."""
    pieces: list[Piece] = job.packed.pieces
    first = starts(pieces)
    for number in numbers.tolist():
        index = int(np.searchsorted(first, number, side="right")) - 1
        skipped = number - int(first[index])
        piece = pieces[index]
        one = piece._replace(
            start=piece.start + skipped, stop=piece.start + skipped + 1, first_row=piece.first_row + skipped
        )
        for batch in read_images([one], job.choice.contract):
            yield from batch.images
