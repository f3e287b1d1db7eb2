"""The output of somebody else, which a command would continue: a damaged plan or summary ends in a sentence."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import VALUES, changed_bytes, damaged
from export.storage import Folder
from jobs.inspect.job import facts_about
from jobs.sample.job import sample
from jobs.sample.options import SampleOptions
from linear_bundle import write_linear_bundle
from vae_core.errors import UserError


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> SampleOptions:
    """A finished job."""
    folder = tmp_path_factory.mktemp("output")
    write_linear_bundle(Folder.at(folder / "bundle"))
    made = SampleOptions(bundle=str(folder / "bundle"), count=3, output=str(folder / "out"), workers=1)
    sample(made)
    return made


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_ends_in_a_sentence(options: SampleOptions, data: st.DataObject) -> None:
    path = Path(options.output) / data.draw(st.sampled_from(["plan.json", "summary.json"]))
    before = path.read_bytes()
    if data.draw(st.booleans()):
        after = json.dumps(data.draw(damaged(json.loads(before)))).encode()
    else:
        after = data.draw(changed_bytes(before))
    said = []
    try:
        path.write_bytes(after)
        for use in (lambda: sample(options), lambda: facts_about(options.output)):
            try:
                use()
            except UserError as error:
                said.append(str(error))
    finally:
        path.write_bytes(before)
    assert not any("\n" in each for each in said)


@pytest.mark.parametrize("kind", VALUES, ids=range(len(VALUES)))
def test_a_kind_of_job_is_a_name(options: SampleOptions, kind: object) -> None:
    path = Path(options.output) / "plan.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"kind": kind}))
    try:
        with pytest.raises(UserError):
            sample(options)
    finally:
        path.write_text(before)


def test_a_pipe_in_place_of_a_summary_is_refused_without_reading_it(options: SampleOptions) -> None:
    path = Path(options.output) / "plan.json"
    before = path.read_text()
    path.unlink()
    os.mkfifo(path)
    try:
        with pytest.raises(UserError, match="must be empty or hold a sample job"):
            sample(options)
    finally:
        path.unlink()
        path.write_text(before)
