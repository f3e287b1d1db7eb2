"""`vae verify`: a runtime that is right, and toys that are wrong, crash, hang or do not load."""

import json
from pathlib import Path
from typing import Any

import pytest

from export.bundle.format import ENCODER, SCORER, Bundle
from jobs.program import cli
from jobs.verify import job
from jobs.verify.options import VerifyOptions
from jobs.verify.registry import RUNTIMES, Places, Runtime, _InPython, pythons
from vae_core.errors import UserError

RIGHT = """
import time
import numpy as np


def load(path, inputs, outputs):
    {opening}
    import onnxruntime
    session = onnxruntime.InferenceSession(path)

    def run(values):
        found = session.run(list(outputs), dict(zip(inputs, values)))
        {running}
        return found

    return run
"""


def toy(folder: Path, opening: str = "pass", running: str = "pass", judged: bool = True) -> Runtime:
    """ONNX Runtime with something wrong."""
    path = folder / "toy.py"
    path.write_text(RIGHT.format(opening=opening, running=running))
    distributions = (("onnxruntime", "onnxruntime-gpu"),)
    return _InPython(title="Toy", install="pip install toy", judged=judged, file=str(path), needs=distributions)


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code of a command and what it writes."""
    code = 0
    try:
        cli.main(["verify", *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, *capsys.readouterr()


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a runtime the only one there is."""

    def set_runtime(runtime: Runtime) -> None:
        monkeypatch.setattr(job, "RUNTIMES", {"toy": runtime})

    return set_runtime


def test_a_bundle_is_right_in_the_runtimes_that_compute_it(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--bundle", str(bundle), "--runtime", "onnxruntime", "onnx", "--batch", "7", "64"]
    code, text, _ = outcome(capsys, *words, "--graph", ENCODER, SCORER)
    assert code == 0, text
    assert text.splitlines()[-1] == "4 of 4 graphs agree, 0 do not load"


def test_json_has_every_output_at_every_batch_size(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--bundle", str(bundle), "--runtime", "onnxruntime", "--batch", "3", "5", "--json"]
    code, text, _ = outcome(capsys, *words)
    opened, report = Bundle.open(str(bundle)), json.loads(text)
    assert code == 0
    assert report["bundle_hash"] == opened.hash
    assert [each["graph"] for each in report["graphs"]] == list(opened.manifest["graphs"])
    for each in report["graphs"]:
        for size in ("3", "5"):
            names = [found["output"] for found in each["batches"][size]]
            assert names == [output.name for output in opened.outputs(each["graph"])]


@pytest.mark.parametrize(
    ("running", "status"),
    [
        ("found[0] = found[0] + 1e-3 * (1 + np.abs(found[0]))", "differs at batch 1"),
        ("found[0] = found[0] * np.float32('nan')", "differs at batch 1"),
        ("found[0] = found[0] if len(found[0]) == 1 else found[0] + 1", "differs at batch 7"),
        ("found[0] = found[0].astype(np.float64)", "failed: mean must be float32 [40, 6], got float64 [40, 6]"),
        ("found[0] = found[0][:, 1:]", "failed: mean must be float32 [40, 6], got float32 [40, 5]"),
        ("raise ValueError('no such kernel')", "failed: ValueError: no such kernel"),
        ("import os; os.kill(os.getpid(), 11)", "failed: the process ended with signal SIGSEGV"),
        ("time.sleep(60)", "failed: no answer within 1.5 s"),
    ],
)
def test_a_runtime_that_opens_a_graph_and_computes_it_wrongly_is_an_error(
    tmp_path: Path, bundle: Path, only: Any, capsys: pytest.CaptureFixture[str], running: str, status: str
) -> None:
    only(toy(tmp_path, running=running))
    words = ["--bundle", str(bundle), "--graph", ENCODER, "--batch", "1", "7", "--time-limit", "1.5"]
    code, text, _ = outcome(capsys, *words)
    assert code == 1
    assert status in text
    assert text.splitlines()[-1] == "0 of 1 graphs agree, 0 do not load; WRONG: encoder.onnx in toy"
    # One that is not judged is shown only.
    only(toy(tmp_path, running=running, judged=False))
    assert outcome(capsys, *words)[0] == 0


def test_a_p_value_that_is_miscounted_is_an_error_however_small(
    tmp_path: Path, bundle: Path, only: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    # A fifth of a step, which its tolerance of half a step allows.
    only(toy(tmp_path, running="found[-1] = found[-1] + np.float32(0.2 / 400)"))
    code, text, _ = outcome(capsys, "--bundle", str(bundle), "--graph", SCORER, "--batch", "7")
    assert code == 1
    assert "failed: p_value must be the rank of outlier_score among the calibration scores" in text


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        ("raise RuntimeError('no operator EyeLike')", "not loaded: RuntimeError: no operator EyeLike"),
        ("print('out of memory', flush=True); import os; os._exit(3)", "exit code 3: out of memory"),
    ],
)
def test_a_graph_that_does_not_load_is_shown_with_the_reason(
    tmp_path: Path, bundle: Path, only: Any, capsys: pytest.CaptureFixture[str], opening: str, reason: str
) -> None:
    # The next graph is run all the same.
    only(toy(tmp_path, opening=f"if 'encoder' in path: {opening}"))
    code, text, _ = outcome(capsys, "--bundle", str(bundle), "--graph", ENCODER, SCORER, "--batch", "7")
    assert code == 0
    assert reason in text
    assert text.splitlines()[-1] == "1 of 2 graphs agree, 1 do not load"


def test_a_runtime_that_was_named_and_opens_no_graph_is_an_error(
    tmp_path: Path, bundle: Path, only: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    only(toy(tmp_path, opening="raise RuntimeError('no operator EyeLike')"))
    words = ["--bundle", str(bundle), "--graph", ENCODER, SCORER, "--batch", "7"]
    code, text, said = outcome(capsys, *words, "--runtime", "toy")
    assert code == 2
    assert text.splitlines()[-1] == "0 of 2 graphs agree, 2 do not load"
    assert "vae verify: --runtime toy opens none of the graphs, for the reasons in the table" in said
    # Nothing was verified where it was not named, too.
    code, _, said = outcome(capsys, *words)
    assert code == 2
    assert "vae verify: no runtime opens a graph" in said


def test_a_runtime_that_is_not_installed_is_named_with_how_to_install_it(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "pythons", lambda others: ())
    words = ["--bundle", str(bundle), "--node-modules", "/nowhere"]
    code, _, errors = outcome(capsys, *words, "--runtime", "tract")
    assert code == 2
    assert "--runtime tract is not installed: run pip install tract" in errors
    code, text, errors = outcome(capsys, *words)
    assert code == 2  # nothing was verified
    assert "no runtime was run: install one" in errors
    for name, runtime in RUNTIMES.items():
        assert f"{name}: not installed; {runtime.install}" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--runtime", "tensorflow"], "--runtime must be one of onnxruntime, onnx, openvino"),
        (["--graph", "scorer"], "--graph must be one of encoder.onnx, decoder.onnx"),
        (["--batch", "0"], "--batch must be sizes of at least 1, got 0"),
        (["--time-limit", "0"], "--time-limit must be positive, got 0"),
        (["--runtime", "onnxruntime", "--skip", "onnxruntime"], "no runtime was run"),
        (
            ["--runtime", "onnxruntime", "--python", "/nowhere/python"],
            "must be a Python interpreter, got /nowhere/python",
        ),
    ],
)
def test_bad_options_are_refused(
    bundle: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    code, _, errors = outcome(capsys, "--bundle", str(bundle), *words)
    assert code == 2
    assert sentence in errors


def test_the_interpreter_of_the_program_has_its_own_runtimes() -> None:
    places = Places(pythons(()), "/nowhere")
    assert RUNTIMES["onnxruntime"].find(places) is not None
    assert RUNTIMES["node"].find(places) is None


def test_options_are_checked_without_a_command_line() -> None:
    with pytest.raises(UserError, match="--batch"):
        VerifyOptions(bundle="b", batch=())
