"""Progress of a long step, with an estimate of what is left: rows that are counted, or stages by name.

On a terminal a bar or a status is rewritten; elsewhere there are lines, after 5, 10, 20 and 40 seconds and then once a
minute. A thread says them, so that a step is not silent while nothing finishes.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from jobs.program import console

_FIRST_SECONDS, _MOST_SECONDS = 5.0, 60.0
_LIVE_SECONDS = 1.0  # between refreshes of a terminal
_LEAST_SHARE = 0.02  # of a step must be done before what is left is estimated


class _Speaking:
    """What progress has in common: a thread calls `_refresh` on a terminal, and elsewhere `_say`, seldom."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said = False  # a line
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True, name="progress")
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._show()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._open.close()

    def _speak(self) -> None:
        start = time.monotonic()
        while not self._over.wait(self._pause(time.monotonic() - start)):
            if console.is_live():
                self._refresh()
            else:
                self._said = True
                self._say()

    @staticmethod
    def _pause(elapsed: float) -> float:
        return _LIVE_SECONDS if console.is_live() else min(max(_FIRST_SECONDS, elapsed), _MOST_SECONDS)

    def _show(self) -> None:
        """Open what is rewritten on a terminal."""
        raise NotImplementedError

    def _refresh(self) -> None:
        """Rewrite it."""
        raise NotImplementedError

    def _say(self) -> None:
        """Say a line."""
        raise NotImplementedError


class Stages(_Speaking, logging.Handler):
    """Names the stage that a long step is at; a context manager.

    Args:
        step: "export".
        logger: the name of a logger to which each stage is logged when it begins; with `share`, the share of the step's
            time that has usually passed by then, what is left can be estimated.
    """

    def __init__(self, step: str, logger: str | None = None) -> None:
        logging.Handler.__init__(self)
        _Speaking.__init__(self)
        self._step, self._logger = step, None if logger is None else logging.getLogger(logger)
        self._stage, self._stage_began, self._share = "starting", self._began, 0.0

    def begin(self, stage: str, share: float = 0.0) -> None:
        """Begin a stage, after the given share of the step's time."""
        self._stage, self._stage_began, self._share = stage, time.monotonic(), share
        if console.is_live():
            self._refresh()

    def emit(self, record: logging.LogRecord) -> None:
        """Begin the stage that the record names."""
        self.begin(record.getMessage(), getattr(record, "share", 0.0))

    def __enter__(self) -> Self:
        super().__enter__()
        if self._logger is not None:
            self._level = self._logger.level
            self._logger.addHandler(self)
            self._logger.setLevel(logging.INFO)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._logger is not None:
            self._logger.removeHandler(self)
            self._logger.setLevel(self._level)
        super().__exit__(kind, error, trace)

    def _show(self) -> None:
        if console.is_live():
            self._bar = self._open.enter_context(console.live(total=0, bar_format="{desc}", leave=False))

    def _refresh(self) -> None:
        self._bar.set_description_str(f"{self._step}: {self._sentence(time.monotonic())}")

    def _say(self) -> None:
        now = time.monotonic()
        left = self._left(now)
        console.progress(
            self._step,
            self._sentence(now),
            stage=self._stage,
            seconds=round(now - self._began, 1),
            remaining_seconds=None if left is None else round(left, 1),
        )

    def _sentence(self, now: float) -> str:
        left = self._left(now)
        about = "" if left is None else f", about {duration(left)} left"
        return f"{self._stage} ({duration(now - self._began)}{about})"

    def _left(self, now: float) -> float | None:
        """Seconds: the time until this stage began tells the pace."""
        if self._share < _LEAST_SHARE:
            return None
        pace = (self._stage_began - self._began) / self._share
        return max(0.0, pace - (now - self._began)) or None


@contextmanager
def working(step: str, stage: str) -> Iterator[None]:
    """Name what a step is at, if that takes long."""
    with Stages(step) as stages:
        stages.begin(stage)
        yield


class Progress(_Speaking):
    """Counts finished rows; a context manager.

    Args:
        step: "score".
        noun: what is counted, in plural: "images".
        total: number of rows.
        done: rows finished by an earlier run.
        only_if_long: say nothing of a step that takes less than five seconds, nor that it ended.
    """

    def __init__(self, step: str, noun: str, total: int, done: int = 0, only_if_long: bool = False) -> None:
        super().__init__()
        self._step, self._noun, self._total = step, noun, total
        self._first = self._done = done
        self._errors = 0
        self._says_end = not only_if_long
        self._bar: Any = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        was_live = self._bar is not None
        super().__exit__(kind, error, trace)
        if not was_live and self._done > self._first and kind is None and (self._says_end or self._said):
            self._say()

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

    def _show(self) -> None:
        if console.is_live():
            bar = {"total": self._total, "initial": self._done, "unit": f" {self._noun}", "unit_scale": True}
            self._bar = self._open.enter_context(console.live(desc=self._step, leave=self._says_end, **bar))

    def _refresh(self) -> None:
        if self._bar is not None:
            self._bar.refresh()

    def _say(self) -> None:
        done, total, seconds = self._done, self._total, time.monotonic() - self._began
        rate = (done - self._first) / max(seconds, 1e-3)
        share = done / total if total else 1.0
        text = f"{done:,} of {total:,} {self._noun} ({share:.0%}), {rate:,.0f}/s"
        if self._errors:
            text += f", {self._errors:,} error{'s' if self._errors != 1 else ''}"
        left = (total - done) / rate if rate > 0 else None
        if left:
            text += f", about {duration(left)} left"
        console.progress(
            self._step,
            text,
            unit=self._noun,
            done=done,
            total=total,
            errors=self._errors,
            per_second=round(rate, 1),
            remaining_seconds=None if left is None else round(left, 1),
        )


def duration(seconds: float) -> str:
    """A duration to two digits or so: "12 s", "5 min", "3.2 h", "4.1 days"."""
    for unit, size, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if (value := seconds / size) < most:
            return f"{value:.1f} {unit}" if unit == "h" and value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"
