"""The format of `outliers.csv`: the flagged rows of a job for a spreadsheet or a script, the most outlying first.

- rank: 1 is the most outlying
- file, row: where the image is; `row` is empty for an image file
- the columns of --key and --keep, and what --per-class and --label name, as input_NAME if the list has a NAME itself
- outlier_score, p_value, and the p-value that decided if it is another
- is_outlier, is_discovery: true or false
- tile_top, tile_left: where the worst tile begins, of a bundle that scores by tiles
- reason: why, in a sentence, for the images of the report's gallery

RFC 4180 in UTF-8. Text that a spreadsheet would take for a formula (it begins with = + - @, a tab or a line break) gets
an apostrophe in front; numbers stay numbers. Paths and URLs never begin so.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from export.guarantees.p_values import P_VALUE, SCORE
from export.storage import Folder

OUTLIERS = "outliers.csv"
MOST = 100_000  # rows
_ROWS = 8192  # converted at once
_OWN = ("rank", "is_discovery", "reason")
_FORMULA = (
    *("=", "+", "-", "@", "\t", "\r", "\n"),
    *("\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}"),
    *("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}"),
)


def columns(kept: Sequence[str], deciding: str) -> list[str]:
    """The columns of the scores that the list takes, in its order."""
    return list(dict.fromkeys(["file", "row", *kept, SCORE, P_VALUE, deciding, "is_outlier"]))


def write_outliers_csv(output: Folder, rows: pa.Table, discoveries: int, reasons: Sequence[str]) -> None:
    """Write the list, which appears complete or not at all.

    Args:
        output: folder of the job.
        rows: `columns` of the flagged rows, the most outlying first; `row` is null for an image file.
        discoveries: how many of them are, all before the others.
        reasons: of the first rows.
    """
    with output.writing(OUTLIERS) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")
        writer = csv.writer(text, lineterminator="\n")
        names = [f"input_{name}" if name in _OWN else as_text(name) for name in rows.column_names]
        writer.writerow(["rank", *names, "is_discovery", "reason"])
        for start in range(0, len(rows), _ROWS):
            piece = rows.slice(start, _ROWS)
            cells = [_cells(column) for column in piece.columns]
            for rank, values in enumerate(zip(*cells, strict=True), start + 1):
                reason = reasons[rank - 1] if rank <= len(reasons) else ""
                writer.writerow([rank, *values, _flag(rank <= discoveries), as_text(reason)])
        text.flush()
        text.detach()


def as_text(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _cells(column: pa.ChunkedArray) -> Iterator[str]:
    if pa.types.is_floating(column.type):
        # As few digits as identify a number of this width.
        numbers, missing = column.to_numpy(), column.is_null().to_numpy()
        yield from ("" if none else str(value) for value, none in zip(numbers, missing, strict=True))
    else:
        yield from map(_cell, column.to_pylist())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return _flag(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict | list):
        return as_text(json.dumps(value, ensure_ascii=False, default=str))
    return as_text(value) if isinstance(value, str) else str(value)


def _flag(value: bool) -> str:
    return "true" if value else "false"
