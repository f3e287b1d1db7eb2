"""The program `vae` itself: version, help and unknown commands."""

import tomllib
from pathlib import Path

import pytest

from jobs.program import cli


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    written = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, written.out + written.err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert answer(capsys, "--version") == (0, f"{project['name']} {project['version']}\n")


def test_help_lists_the_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = answer(capsys, "--help")
    assert code == 0
    jobs = {path.parent.name for path in Path(cli.__file__).parents[1].glob("*/__main__.py")}
    listed = {line.split()[0] for line in text.splitlines() if line.startswith("  ")}
    assert listed == jobs


def test_an_unknown_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = answer(capsys, "scrore")
    assert code == 2
    assert "scrore" in text
    assert "score" in text


def test_two_runtimes_are_warned_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(cli.runtimes()) == 1
    monkeypatch.setattr(cli, "runtimes", lambda: ["onnxruntime", "onnxruntime-gpu"])
    code, text = answer(capsys, "inspect", "/nowhere")
    assert code == 2
    assert "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files" in text


def test_a_missing_runtime_is_named_with_its_extras(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

    monkeypatch.setattr("importlib.import_module", missing)
    code, text = answer(capsys, "score", "--help")
    assert code == 2
    expected = (
        "`vae score` needs onnxruntime, which is not installed; run pip install 'vae-core[cpu]', or 'vae-core[gpu]'"
    )
    assert expected in text
