"""Progress of a long step: whole, informative lines where there is no terminal, and a bar where there is one."""

import contextlib
import io
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from jobs.bulk import progress
from jobs.bulk.progress import Progress, Stages, duration
from jobs.program import console
from jobs.program.console import ConsoleOptions


class Watched(io.StringIO):
    """A stream on which one can wait for words."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Condition()

    def write(self, text: str) -> int:
        with self.written:
            count = super().write(text)
            self.written.notify_all()
        return count

    def wait(self, words: str) -> list[str]:
        """The lines with the words, once there is one that is whole."""

        def found() -> list[str]:
            return [line for line in self.getvalue().split("\n")[:-1] if words in line]

        with self.written:
            assert self.written.wait_for(found, timeout=60), self.getvalue()
            return found()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Watched:
    stream = Watched()
    # Of the module, as pytest exchanges those of the process between set-up and test.
    monkeypatch.setattr(console, "sys", SimpleNamespace(stdout=sys.stdout, stderr=stream))
    return stream


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(progress, "_MOST_SECONDS", 0.01)


def test_a_log_gets_one_line_at_the_end_of_a_short_job(log: Watched) -> None:
    with Progress("score", "images", total=3000, done=1000) as bar:
        bar.add(1500, errors=2)
        bar.add(500)
    (line,) = log.getvalue().splitlines()
    assert line.startswith("score: 3,000 of 3,000 images (100%), ")
    assert line.endswith("/s, 2 errors")


@pytest.mark.usefixtures("_often")
def test_a_long_job_says_what_is_left_even_where_nothing_finishes(log: Watched) -> None:
    with Progress("score", "images", total=100) as bar:
        assert "left" not in log.wait("0 of 100 images (0%), 0/s")[0]
        bar.start_clock(30.0)
        bar.add(25)
        assert log.wait("25 of 100 images (25%), 1/s, about 90 s left")


@pytest.mark.parametrize(
    ("seconds", "lines"), [(4.9, []), (30.0, [5, 10, 20]), (400.0, [5, 10, 20, 40, 80, 140, 200, 260, 320, 380])]
)
def test_lines_become_seldom(seconds: float, lines: list[int]) -> None:
    said, now = list[int](), 0.0
    while (now := now + Progress._pause(now)) <= seconds:
        said.append(round(now))
    assert said == lines


def test_an_interrupted_job_prints_no_final_line(log: Watched) -> None:
    with contextlib.suppress(KeyboardInterrupt), Progress("score", "images", total=100) as bar:
        bar.add(25)
        raise KeyboardInterrupt
    assert log.getvalue() == ""


def test_a_step_that_is_only_worth_a_line_if_long_is_silent_when_short(log: Watched) -> None:
    with Progress("survey", "files", total=2, only_if_long=True) as bar:
        bar.add(2)
    assert log.getvalue() == ""


@pytest.mark.usefixtures("_often")
def test_a_step_that_is_only_worth_a_line_if_long_says_that_it_ended_when_long(log: Watched) -> None:
    with Progress("survey", "files", total=2, only_if_long=True) as bar:
        bar.add(1)
        log.wait("1 of 2 files")
        bar.add(1)
    assert log.getvalue().splitlines()[-1].startswith("survey: 2 of 2 files (100%), ")


def test_long_stages_are_named_and_short_ones_are_not(log: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = logging.getLogger("toy.export")
    with Stages("export", "toy"):
        stages.info("fitting the %s", "prior")
    assert log.getvalue() == ""
    monkeypatch.setattr(progress, "_FIRST_SECONDS", 0.01)
    with Stages("export", "toy"):
        stages.info("fitting the %s", "prior")
        (line, *_) = log.wait("prior")
    assert re.fullmatch(r"export: fitting the prior \(\d+ s\)", line)
    assert not logging.getLogger("toy").handlers


def test_what_is_left_of_a_step_follows_from_the_share_that_is_done() -> None:
    stages = Stages("export")
    stages._began -= 30.0
    stages.begin("fitting the prior", share=0.25)
    now = stages._stage_began
    assert stages._left(now) == pytest.approx(90.0, abs=0.1)
    assert stages._left(now + 60.0) == pytest.approx(30.0, abs=0.1)
    assert stages._left(now + 100.0) is None  # it takes longer than it should: nothing is promised
    stages.begin("comparing")
    assert stages._left(now) is None


@pytest.mark.usefixtures("_often")
def test_progress_in_json_has_its_numbers(log: Watched) -> None:
    with console.speaking("evaluate", ConsoleOptions(log_format="json")):
        with Progress("score", "images", total=100) as bar:
            bar.start_clock(30.0)
            bar.add(25, errors=1)
            log.wait('"done": 25')
        with Stages("export") as stages:
            stages.begin("fitting the prior")
            log.wait('"stage": "fitting the prior"')
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {(line["level"], line["job"], line["event"]) for line in lines} == {("info", "evaluate", "progress")}
    (line, *_) = (line for line in lines if line["task"] == "score" and line["done"] == 25)
    assert (line["total"], line["unit"], line["errors"]) == (100, "images", 1)
    assert line["per_second"] == pytest.approx(25 / 30, abs=0.1)
    assert line["remaining_seconds"] == pytest.approx(90, abs=5)


@pytest.mark.usefixtures("_often")
def test_quiet_progress_says_nothing(log: Watched) -> None:
    with console.speaking("score", ConsoleOptions(quiet=True)), Progress("score", "images", total=100) as bar:
        bar.add(100)
        time.sleep(0.1)
    assert log.getvalue() == ""


@pytest.fixture
def terminal(log: Watched, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(log, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "_LIVE_SECONDS", 0.01)
    return log


def test_a_terminal_gets_a_bar_that_lines_do_not_break(terminal: Watched) -> None:
    with Progress("score", "images", total=100) as bar:
        bar.add(50)
        console.note("score", "resuming")
        bar.add(50)
    said = terminal.getvalue()
    assert "score: resuming\n" in said
    assert "100/100" in said
    assert "100 of 100" not in said


def test_a_terminal_gets_a_status_that_is_rewritten(terminal: Watched) -> None:
    with Stages("train") as stages:
        stages.begin("starting the workers")
        while "starting the workers (" not in terminal.getvalue():
            time.sleep(0.01)
    assert "\n" not in terminal.getvalue().strip()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (99, "99 s"),
        (150, "2 min"),
        (5400, "90 min"),
        (7200, "2.0 h"),
        (90_000, "25 h"),
        (400_000, "4.6 days"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
