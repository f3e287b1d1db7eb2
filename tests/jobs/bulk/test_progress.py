"""Progress on a stream that is not a terminal: whole, informative lines."""

import contextlib
import io
import logging
import re
import threading

import pytest

from jobs.bulk import progress
from jobs.bulk.progress import Progress, Stages


def test_a_log_gets_one_line_at_the_end_of_a_short_job() -> None:
    stream = io.StringIO()
    with Progress("score", "images", total=3000, done=1000, stream=stream) as bar:
        bar.add(1500, errors=2)
        bar.add(500)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("score: 3,000 of 3,000 images (100%), ")
    assert line.endswith("/s, 2 errors")


def test_a_long_job_prints_occasional_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Progress("score", "images", total=100, stream=stream) as bar:
        for _ in range(4):
            bar.add(25)
    shares = [line.split("(")[1].split(")")[0] for line in stream.getvalue().splitlines()]
    assert shares == ["25%", "50%", "75%", "100%"]


def test_an_interrupted_job_prints_no_final_line() -> None:
    stream = io.StringIO()
    with contextlib.suppress(KeyboardInterrupt), Progress("score", "images", total=100, stream=stream) as bar:
        bar.add(25)
        raise KeyboardInterrupt
    assert stream.getvalue() == ""


def test_a_step_that_is_only_worth_a_line_if_long_is_silent_when_short(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with Progress("survey", "files", total=2, stream=stream, only_if_long=True) as bar:
        bar.add(2)
    assert stream.getvalue() == ""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Progress("survey", "files", total=2, stream=stream, only_if_long=True) as bar:
        bar.add(1)
        bar.add(1)
    assert len(stream.getvalue().splitlines()) == 2


def test_long_stages_are_named_and_short_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    said, log = threading.Event(), logging.getLogger("toy.export")

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            count = super().write(text)
            if "prior" in text:
                said.set()
            return count

    stream = Stream()
    with Stages("export", "toy", stream):
        log.info("fitting the %s", "prior")
    assert stream.getvalue() == ""
    monkeypatch.setattr(progress, "_STAGE_SECONDS", 0.01)
    with Stages("export", "toy", stream):
        log.info("fitting the %s", "prior")
        assert said.wait(60)
    (line, *_) = (line for line in stream.getvalue().splitlines() if "prior" in line)
    assert re.fullmatch(r"export: fitting the prior(, for 0 s)? \(\d+ s in all\)", line)
    assert not logging.getLogger("toy").handlers
