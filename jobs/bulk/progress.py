"""Progress of a long step: a bar on a terminal, occasional plain lines elsewhere; or its stages by name."""

import logging
import sys
import threading
import time
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0
_STAGE_SECONDS = 5.0


class Stages(logging.Handler):
    """Names the stage that a long step is at, in a line every five seconds; a context manager.

    Args:
        title: of the step: "export".
        logger: the name of the logger to which each stage is logged when it begins.
        stream: output; standard error by default.
    """

    def __init__(self, title: str, logger: str, stream: TextIO | None = None) -> None:
        super().__init__()
        self._title, self._logger, self._stream = title, logging.getLogger(logger), stream or sys.stderr
        self._began = time.monotonic()
        self._stage, self._stage_began = "starting", self._began
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True, name="stages")

    def emit(self, record: logging.LogRecord) -> None:
        """Begin the stage that the record names."""
        self._stage, self._stage_began = record.getMessage(), time.monotonic()

    def __enter__(self) -> "Stages":
        self._level = self._logger.level
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def _report(self) -> None:
        while not self._over.wait(_STAGE_SECONDS):
            now = time.monotonic()
            here = now - self._stage_began
            so_far = f", for {here:.0f} s" if here >= _STAGE_SECONDS else ""
            line = f"{self._title}: {self._stage}{so_far} ({now - self._began:.0f} s in all)"
            print(line, file=self._stream, flush=True)


class Progress:
    """Counts finished rows; a context manager.

    Args:
        name: of the step: "score".
        noun: what is counted, in plural: "images".
        total: number of rows.
        done: rows finished by an earlier run.
        stream: output; standard error by default.
        only_if_long: without a terminal, say nothing of a step that takes less than `SECONDS_BETWEEN_LINES`.
    """

    def __init__(
        self,
        name: str,
        noun: str,
        total: int,
        done: int = 0,
        stream: TextIO | None = None,
        only_if_long: bool = False,
    ) -> None:
        self._name, self._noun, self._total = name, noun, total
        self._stream = stream or sys.stderr
        self._first = self._done = done
        self._errors = 0
        self._says_end = not only_if_long
        self._began = self._line_at = time.monotonic()
        self._bar = None
        if self._stream.isatty():
            unit = f" {noun}"
            self._bar = tqdm(
                total=total, initial=done, desc=name, unit=unit, unit_scale=True, dynamic_ncols=True, file=self._stream
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._done > self._first and kind is None and self._says_end:
            self._line()

    def note(self, message: str) -> None:
        """Print a message without breaking the bar."""
        if self._bar is not None:
            self._bar.write(message, file=self._stream)
        else:
            print(message, file=self._stream, flush=True)

    def start_clock(self, seconds_ago: float) -> None:
        """Measure the rate from this moment, the start of the work, to exclude start-up."""
        self._began = time.monotonic() - seconds_ago
        if self._bar is not None:
            self._bar.unpause()

    def add(self, rows: int, errors: int = 0) -> None:
        """Add finished rows, `errors` of them errors."""
        self._done += rows
        self._errors += errors
        if self._bar is not None:
            if self._errors:
                self._bar.set_postfix(errors=self._errors, refresh=False)
            self._bar.update(rows)
        elif time.monotonic() - self._line_at >= SECONDS_BETWEEN_LINES and self._done < self._total:
            self._line()

    def _line(self) -> None:
        self._line_at, self._says_end = time.monotonic(), True
        rate = (self._done - self._first) / max(self._line_at - self._began, 1e-3)
        share = self._done / self._total if self._total else 1.0
        text = f"{self._name}: {self._done:,} of {self._total:,} {self._noun} ({share:.0%}), {rate:,.0f}/s"
        if self._errors:
            text += f", {self._errors:,} error{'s' if self._errors != 1 else ''}"
        print(text, file=self._stream, flush=True)
