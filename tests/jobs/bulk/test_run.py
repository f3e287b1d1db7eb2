"""Bulk jobs on the local engine: every row exactly once, whatever happened before."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bulk_toys import LOCAL, RangeUnit, Squares, outcome, ranges
from export.storage import Folder
from jobs.bulk import BulkOptions, finish, run
from jobs.bulk.attempts import Attempts
from small_disks import fill
from vae_core.errors import JobFailed, OutputError, StorageFailed, UserError

_COPY = """
import sys
from export.storage import Folder
from jobs.bulk.attempts import Attempts
from small_disks import fill
print(Attempts(Folder.at(sys.argv[1])).begin(3), flush=True)
sys.stdin.read()
"""


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("unit_rows", [1, 7, 1000])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_row_ends_in_exactly_one_table(tmp_path: Path, unit_rows: int, workers: int) -> None:
    output = Folder.at(tmp_path / "out")
    task = Squares(bad=frozenset({3, 40}))
    totals = run(task, ranges(50, unit_rows), output, BulkOptions(engine="local", workers=workers))
    results, errors = outcome(output)
    assert results == [row for row in range(50) if row not in (3, 40)]
    assert errors == {3: "bad", 40: "bad"}
    assert (totals.rows, totals.results, totals.errors) == (50, 48, 2)
    assert totals.units == len(ranges(50, unit_rows))


def test_a_second_run_processes_only_missing_units(tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    log.mkdir()
    output = Folder.at(out)
    run(Squares(bad=frozenset({12})), ranges(50, 10), output, LOCAL)
    complete = snapshot(out)
    (out / "squares/part-000001.parquet").unlink()
    totals = run(Squares(bad=frozenset({12}), log=str(log)), ranges(50, 10), output, LOCAL)
    assert totals.rows == 10
    assert [path.name.split("-")[1:-1] for path in log.iterdir()] == [["1", "10", "20"]]
    assert snapshot(out) == complete


@pytest.mark.parametrize(
    "damage", ["half of its rows", "cut short", "empty", "another's", "errors lost", "errors cut short"]
)
def test_a_damaged_part_is_done_again(tmp_path: Path, damage: str) -> None:
    output = Folder.at(tmp_path)
    task = Squares(bad=frozenset({12}))
    run(task, ranges(50, 10), output, LOCAL)
    complete = snapshot(tmp_path)
    part, errors = tmp_path / "squares/part-000001.parquet", tmp_path / "errors/part-000001.parquet"
    if damage == "half of its rows":
        pq.write_table(pq.read_table(part).slice(0, 4), part)
    elif damage == "another's":
        part.write_bytes((tmp_path / "squares/part-000002.parquet").read_bytes())
    elif damage == "errors lost":
        errors.unlink()
    else:
        broken = errors if damage == "errors cut short" else part
        broken.write_bytes(broken.read_bytes()[: 0 if damage == "empty" else -3])
    assert run(task, ranges(50, 10), output, LOCAL).rows == 10
    assert snapshot(tmp_path) == complete


def test_errors_of_a_dead_attempt_do_not_outlive_a_retry(tmp_path: Path) -> None:
    output = Folder.at(tmp_path)
    run(Squares(bad=frozenset({12})), ranges(50, 10), output, LOCAL)
    (tmp_path / "squares/part-000001.parquet").unlink()  # as if killed between errors and results
    run(Squares(), ranges(50, 10), output, LOCAL)
    assert outcome(output) == (list(range(50)), {})


def test_a_finished_job_returns_its_summary_and_changes_nothing(tmp_path: Path) -> None:
    output = Folder.at(tmp_path)
    run(Squares(), ranges(20, 10), output, LOCAL)
    finish(output, {"rows": 20})
    before = snapshot(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "squares", "summary.json"]
    assert run(Squares(), ranges(20, 10), output, LOCAL).summary == {"rows": 20}
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("task", "units", "words"),
    [
        (Squares(title="cubes"), ranges(20, 10), 'job with title "squares", got "cubes"'),
        (Squares(), ranges(20, 5), "over other input"),
        (Squares(), ranges(21, 10), "over other input"),
    ],
)
def test_another_job_in_the_same_directory_is_refused(
    tmp_path: Path, task: Squares, units: list[RangeUnit], words: str
) -> None:
    output = Folder.at(tmp_path)
    run(Squares(), ranges(20, 10), output, LOCAL)
    before = snapshot(tmp_path)
    with pytest.raises(UserError) as raised:
        run(task, units, output, LOCAL)
    assert words in str(raised.value)
    assert snapshot(tmp_path) == before


def test_the_plan_is_written_first_and_readable(tmp_path: Path) -> None:
    output = Folder.at(tmp_path)
    with pytest.raises(JobFailed):
        run(Squares(raising=frozenset(range(100))), ranges(100, 50), output, LOCAL)
    text = (tmp_path / "plan.json").read_text()
    plan = json.loads(text)
    assert (plan["kind"], plan["identity"], plan["rows"]) == ("squares", {"title": "squares"}, 100)
    assert plan["units"] == [unit.to_json() for unit in ranges(100, 50)]
    assert '\n{"number": 1, "start": 50, "stop": 100}\n' in text  # one line per unit


def test_an_output_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("my only copy")
    with pytest.raises(UserError, match=r"holds thesis\.tex"):
        run(Squares(), ranges(20, 10), Folder.at(tmp_path), LOCAL)
    assert snapshot(tmp_path) == {"thesis.tex": b"my only copy"}


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "squares"}', "not json"])
def test_an_invalid_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(UserError, match="must be the plan of a job"):
        run(Squares(), ranges(20, 10), Folder.at(tmp_path), LOCAL)


def test_a_row_that_raises_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    output = Folder.at(tmp_path)
    run(Squares(raising=frozenset({13, 77})), ranges(100, 50), output, LOCAL)
    results, errors = outcome(output)
    assert results == [row for row in range(100) if row not in (13, 77)]
    assert errors == {row: f"ArithmeticError: cannot square rows {row} to {row + 1}" for row in (13, 77)}


def test_a_row_that_kills_its_process_is_found_in_a_child_process(tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    log.mkdir()
    output = Folder.at(out)
    run(Squares(), ranges(20, 10), output, LOCAL)
    (out / "squares/part-000001.parquet").unlink()
    for _ in range(2):
        Attempts(output).begin(1)  # two processes died on unit 1
    run(Squares(killing=frozenset({17}), log=str(log)), ranges(20, 10), output, LOCAL)
    results, errors = outcome(output)
    assert results == [row for row in range(20) if row != 17]
    assert errors == {17: "ProcessDied: processing it killed the process (SIGKILL)"}
    assert list((out / "attempts").iterdir()) == []


@pytest.mark.parametrize("deaths", [1, 3, 4])
def test_a_row_fails_once_it_killed_two_fresh_processes_alone(tmp_path: Path, deaths: int) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    log.mkdir()
    output = Folder.at(out)
    run(Squares(), ranges(9, 9), output, LOCAL)
    (out / "squares/part-000000.parquet").unlink()
    for _ in range(2):
        Attempts(output).begin(0)
    run(Squares(log=str(log), killed_at=3, deaths=deaths), ranges(9, 9), output, LOCAL)
    results, errors = outcome(output)
    # The first death is of the row with its neighbours, the second in a process that has done one of those.
    assert sorted(errors) == ([] if deaths < 4 else [3])
    assert sorted([*results, *errors]) == list(range(9))


def test_the_marker_of_another_copy_at_work_is_no_death(tmp_path: Path) -> None:
    output = Folder.at(tmp_path)
    copy = subprocess.Popen([sys.executable, "-c", _COPY, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert copy.stdout is not None
    assert copy.stdout.readline() == b"0\n"
    assert Attempts(output).begin(3) == 0
    copy.communicate()
    assert Attempts(output).begin(3) == 1


def test_the_end_of_a_job_leaves_the_markers_of_another_copy_at_work(tmp_path: Path) -> None:
    output = Folder.at(tmp_path)
    run(Squares(), ranges(20, 10), output, LOCAL)
    copy = subprocess.Popen([sys.executable, "-c", _COPY, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert copy.stdout is not None
    copy.stdout.readline()
    Attempts(output).begin(1)
    finish(output, {"rows": 20})
    assert [path.name for path in (tmp_path / "attempts").iterdir()] == ["000003-1"]
    copy.communicate()
    finish(output, {"rows": 20})
    assert not (tmp_path / "attempts").exists()


def test_a_job_in_which_every_row_raises_fails(tmp_path: Path) -> None:
    output = Folder.at(tmp_path)
    with pytest.raises(JobFailed, match=r"every row of unit \d fails"):
        run(Squares(raising=frozenset(range(1000))), ranges(1000, 100), output, LOCAL)
    # After the machine is fixed, the job resumes.
    run(Squares(), ranges(1000, 100), output, LOCAL)
    assert outcome(output) == (list(range(1000)), {})


@pytest.mark.parametrize(("offline", "succeeds"), [(3, True), (100, False)])
def test_storage_failures_are_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: int, succeeds: bool
) -> None:
    monkeypatch.setattr("jobs.bulk.worker.RETRY_SECONDS", (0.0, 0.0, 0.0))
    log = tmp_path / "log"
    log.mkdir()
    output = Folder.at(tmp_path / "out")
    task = Squares(log=str(log), offline=offline)
    if succeeds:
        run(task, ranges(20, 20), output, LOCAL)
        assert outcome(output) == (list(range(20)), {})
    else:
        with pytest.raises(JobFailed, match="no route to storage"):
            run(task, ranges(20, 20), output, LOCAL)
        assert outcome(output) == ([], {})  # not counted as bad rows
    assert len(list(log.iterdir())) == 4
    assert not list((tmp_path / "out/attempts").iterdir())  # the process survived


def test_few_workers_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    for workers, threads in [(1, "8"), (3, "2"), (16, "1")]:
        log = tmp_path / f"log{workers}"
        log.mkdir()
        task = replace(Squares(), log=str(log))
        run(task, ranges(20, 1), Folder.at(tmp_path / f"out{workers}"), BulkOptions(engine="local", workers=workers))
        assert {path.read_text().split()[0] for path in log.iterdir()} == {threads}


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("my only copy")
    with pytest.raises(OutputError, match=r"--output must be a folder, got .*out, which is a file"):
        run(Squares(), ranges(20, 10), Folder.at(tmp_path / "out"), LOCAL)
    with pytest.raises(OutputError, match=r"--output must be a folder, got .*below, which is below the file .*out"):
        run(Squares(), ranges(20, 10), Folder.at(tmp_path / "out/below"), LOCAL)


def test_a_full_disk_is_named_and_the_job_goes_on_once_there_is_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.bulk.worker.RETRY_SECONDS", (0.0,))
    ballast = small_disk / "ballast"
    output = Folder.at(small_disk / "out")
    with pytest.raises(JobFailed):  # with a plan and some parts
        run(Squares(raising=frozenset(range(50, 100))), ranges(100, 50), output, LOCAL)
    fill(ballast)
    with pytest.raises(StorageFailed, match=r"cannot write .*out/.*: No space left on device"):
        run(Squares(), ranges(100, 50), output, LOCAL)
    with pytest.raises(StorageFailed, match=r"cannot write to .*other: No space left on device"):
        run(Squares(), ranges(100, 50), Folder.at(small_disk / "other"), LOCAL)
    ballast.unlink()
    run(Squares(), ranges(100, 50), output, LOCAL)
    assert outcome(output) == (list(range(100)), {})
    assert not list((small_disk / "out").rglob(".*"))
