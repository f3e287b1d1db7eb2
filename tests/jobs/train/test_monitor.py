"""The terminal of a run: a line for each epoch, and not thousands."""

import json
from pathlib import Path

import pytest

from export.storage import Folder
from jobs.train.monitor import watching
from jobs.train.run_directory import Run

RECORD = {
    "validation_elbo": -1.0,
    "validation_reconstruction": -1.0,
    "validation_kl": 0.0,
    "validation_iwae": -1.0,
    "elbo": -1.0,
    "active_units": 1,
    "skipped_steps": 0,
    "images_per_second": 1.0,
}


@pytest.mark.parametrize(("epochs", "shown"), [(3, [1, 2, 3]), (100, [*range(1, 101)]), (201, [*range(3, 202, 3)])])
def test_at_most_a_hundred_epochs_are_shown_and_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], epochs: int, shown: list[int]
) -> None:
    run = Run(Folder.at(tmp_path))
    with watching(run, epochs):
        lines = [json.dumps({"epoch": epoch, **RECORD}) for epoch in range(1, epochs + 1)]
        run.folder.write_text("metrics.jsonl", "\n".join(lines) + "\n")
    printed = [int(line.split()[2].split("/")[0]) for line in capsys.readouterr().err.splitlines()]
    assert printed == shown
