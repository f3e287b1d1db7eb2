"""`make verify`: what it prints, and that it skips aloud what cannot be installed."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RUN = Path(__file__).parents[2] / "deploy" / "verify" / "run.py"


@pytest.fixture(scope="module")
def run() -> ModuleType:
    pytest.importorskip("torch")
    specification = importlib.util.spec_from_file_location("run_verify", RUN)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def row(runtime: str, status: str, share: float | None = None, error: str | None = None) -> dict[str, Any]:
    outputs = {"1": [{"output": "mean", "share": share}]} if status in ("ok", "differs") else {}
    return {"runtime": runtime, "graph": "encoder.onnx", "status": status, "error": error, "batches": outputs}


def found(run: ModuleType, *rows: dict[str, Any], problem: str = "") -> Any:
    names = {each["runtime"] for each in rows}
    runtimes: dict[str, Any] = {name: {"title": name.title(), "version": "1.0"} for name in names}
    runtimes["webgpu"] = {"title": "WebGPU", "version": None}
    return run.Found("conv", {"runtimes": runtimes, "graphs": list(rows)}, problem)


def test_the_table_has_the_share_of_what_is_allowed(run: ModuleType) -> None:
    rows = [
        row("onnxruntime", "ok", 0.123),
        row("openvino", "differs", None),
        row("tract", "not loaded", error="no\nop"),
    ]
    text = run.table([found(run, *rows)])
    assert "| family | graph | onnxruntime | openvino | tract |" in text
    assert "| conv | encoder | 0.12 | inf | not loaded |" in text
    assert "conv, encoder.onnx in tract: not loaded: no op" in text
    assert any(line.startswith("skipped: webgpu is not installed; ") for line in text)


def test_what_loads_and_disagrees_is_wrong_unless_it_is_not_judged(run: ModuleType) -> None:
    rows = [
        row("onnxruntime", "ok", 0.1),
        row("openvino", "differs", 3.0),
        row("openvino-default", "differs", 900.0),
        row("node", "failed", error="crashed"),
        row("tract", "not loaded", error="no operator"),
    ]
    assert run.problems([found(run, *rows)]) == [
        "conv, encoder.onnx in openvino: differs",
        "conv, encoder.onnx in node: failed",
    ]
    assert run.problems([found(run, problem="vae verify: no bundle")]) == ["conv: vae verify: no bundle"]


def test_what_cannot_be_installed_is_skipped_aloud(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "failure", lambda command, cwd=None: "no package index answers")
    assert run.environment(tmp_path, "runtimes") is None
    assert run.npm_packages(tmp_path) == tmp_path / "npm" / "node_modules"
    said = capsys.readouterr().out
    assert "skipped: the runtimes of runtimes.txt cannot be installed: no package index answers" in said
    assert "skipped: onnxruntime-node and onnxruntime-web cannot be installed: no package index answers" in said


def test_a_command_that_fails_or_is_not_there_says_why(run: ModuleType) -> None:
    assert run.failure(["true"]) is None
    assert run.failure(["sh", "-c", "echo no such package >&2; exit 1"]) == "no such package"
    assert "FileNotFoundError" in run.failure(["/nowhere/npm"])


def test_requirements_name_exact_versions_and_no_addresses() -> None:
    for name in ("runtimes.txt", "openvino-provider.txt", "package.json"):
        text = (RUN.parent / name).read_text()
        assert "://" not in text
        assert "^" not in text
    for line in (RUN.parent / "runtimes.txt").read_text().splitlines():
        assert line.startswith("#") or "==" in line
