"""`vae train --mlflow`: against a server of ours that holds to the documented API, and MLflow's own if it is found."""

import json
import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from environments import make_environment
from export.storage import Folder
from jobs.train import tracking
from jobs.train.run_directory import MLFLOW, Run
from jobs.train.tracking import Server, Tracking, metrics, parameters
from vae_core.errors import UserError

HEAD = {"model": {"family": "conv", "widths": [4, 8]}, "train": {"epochs": 3}, "data": {"name": "blobs", "label": None}}


def record(epoch: int, **more: float) -> dict[str, Any]:
    return {"epoch": epoch, "step": 7 * epoch, "elbo": -100.0 / epoch, "active_units": 3, **more}


class Mimic(ThreadingHTTPServer):
    """What MLflow's REST API does for a training run, with its refusals."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.experiments, self.runs = {"Default": "0"}, dict[str, dict[str, Any]]()
        self.headers, self.is_down = list[str | None](), False
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, what: str, content: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        missing = 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}
        run = self.runs.get(content.get("run_id", ""))
        match what:
            case "experiments/get-by-name":
                number = self.experiments.get(content["experiment_name"])
                return (200, {"experiment": {"experiment_id": number}}) if number else missing
            case "experiments/create":
                self.experiments[content["name"]] = number = str(len(self.experiments))
                return 200, {"experiment_id": number}
            case "runs/create":
                assert content["experiment_id"] in self.experiments.values()
                run_id = f"run{len(self.runs)}"
                self.runs[run_id] = {**content, "status": "RUNNING", "metrics": [], "params": {}}
                return 200, {"run": {"info": {"run_id": run_id}}}
            case _ if run is None:
                return missing
            case "runs/get":
                return 200, {"run": {"info": {"run_id": content["run_id"]}}}
            case "runs/log-batch":
                assert len(content.get("metrics", [])) <= 1000
                assert len(content.get("params", [])) <= 100
                run["metrics"] += [(each["key"], each["step"], each["value"]) for each in content.get("metrics", [])]
                run["params"] |= {each["key"]: each["value"] for each in content.get("params", [])}
                return 200, {}
            case "runs/update":
                run["status"] = content["status"]
                return 200, {}
        raise AssertionError(what)


class Handler(BaseHTTPRequestHandler):
    server: Mimic

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def respond(self, content: dict[str, Any]) -> None:
        self.server.headers.append(self.headers["Authorization"])
        path = urlsplit(self.path).path
        assert path.startswith("/api/2.0/mlflow/")
        down = 503, {"message": "try later"}
        code, answer = (
            down if self.server.is_down else self.server.answer(path.removeprefix("/api/2.0/mlflow/"), content)
        )
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.respond({key: value for key, (value,) in parse_qs(urlsplit(self.path).query).items()})

    def do_POST(self) -> None:
        self.respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))


@pytest.fixture
def server() -> Iterator[Mimic]:
    mimic = Mimic()
    thread = threading.Thread(target=mimic.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield mimic
    mimic.shutdown()
    mimic.server_close()
    thread.join()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Folder.at(tmp_path / "photos"))


def write(run: Run, *records: dict[str, Any]) -> list[dict[str, Any]]:
    run.folder.write_text("metrics.jsonl", "".join(json.dumps(each) + "\n" for each in records))
    return list(records)


def track(server: Mimic, run: Run) -> Tracking:
    return Tracking(Server(server.uri), run, parameters(HEAD), "photos")


def test_a_run_is_logged_epoch_by_epoch(server: Mimic, run: Run) -> None:
    with track(server, run) as tracked:
        for epoch in (1, 2):
            tracked.update(write(run, *map(record, range(1, epoch + 1))))
            tracked.update(run.history())
    (logged,) = server.runs.values()
    assert logged["run_name"] == "photos"
    assert logged["status"] == "FINISHED"
    assert logged["params"] == {
        "model.family": "conv",
        "model.widths": "[4, 8]",
        "train.epochs": "3",
        "data.name": "blobs",
        "data.label": "null",
    }
    assert logged["metrics"] == [
        ("elbo", 1, -100.0),
        ("active_units", 1, 3.0),
        ("elbo", 2, -50.0),
        ("active_units", 2, 3.0),
    ]


def test_a_run_that_resumes_goes_on_in_the_same_mlflow_run(server: Mimic, run: Run) -> None:
    def interrupted() -> None:
        with track(server, run) as tracked:
            tracked.update(write(run, record(1)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [each["status"] for each in server.runs.values()] == ["KILLED"]
    write(run, record(1), record(2))  # the second was finished, but not logged, before the process ended
    with track(server, run) as tracked:
        assert [each["status"] for each in server.runs.values()] == ["RUNNING"]
        tracked.update(write(run, record(1), record(2), record(3)))
    (logged,) = server.runs.values()
    assert [step for key, step, _ in logged["metrics"] if key == "elbo"] == [1, 2, 3]


def test_a_server_that_fails_later_stops_nothing_and_gets_what_it_missed(
    server: Mimic, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_PAUSE_SECONDS", 0.0)
    with track(server, run) as tracked:
        tracked.update(write(run, record(1)))
        server.is_down = True
        tracked.update(write(run, record(1), record(2)))
        tracked.update(write(run, record(1), record(2), record(3)))
        server.is_down = False
        tracked.update(write(run, record(1), record(2), record(3), record(4)))
    (logged,) = server.runs.values()
    assert [step for key, step, _ in logged["metrics"] if key == "elbo"] == [1, 2, 3, 4]
    assert logged["status"] == "FINISHED"
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning == "train: MLflow does not answer (503 try later); training goes on, and what is missing follows"


def test_a_server_that_fails_is_left_alone_for_a_while(server: Mimic, run: Run) -> None:
    with track(server, run) as tracked:
        server.is_down = True
        asked = len(server.headers)
        for epoch in range(1, 6):
            tracked.update(write(run, *map(record, range(1, epoch + 1))))
        assert len(server.headers) == asked + 1
        server.is_down = False
    (logged,) = server.runs.values()
    assert len(logged["metrics"]) == 10


def test_a_training_that_fails_is_marked(server: Mimic, run: Run) -> None:
    with pytest.raises(UserError), track(server, run):
        raise UserError("training diverged")
    assert [each["status"] for each in server.runs.values()] == ["FAILED"]


def test_another_server_gets_a_run_of_its_own(server: Mimic, run: Run) -> None:
    run.folder.write_text(MLFLOW, json.dumps({"run_id": "of another server", "epochs": 7}))
    with track(server, run) as tracked:
        tracked.update(write(run, record(1)))
    assert [len(each["metrics"]) for each in server.runs.values()] == [2]


@pytest.mark.parametrize("state", [{"run_id": 3}, {"run_id": "x", "epochs": "7"}, {"epochs": 7}, {"run_id": "x"}])
def test_a_damaged_record_of_it_is_none(server: Mimic, run: Run, state: dict[str, object]) -> None:
    run.folder.write_text(MLFLOW, json.dumps(state))
    with track(server, run) as tracked:
        tracked.update(write(run, record(1)))
    assert [len(each["metrics"]) for each in server.runs.values()] == [2]


def test_numbers_that_mlflow_does_not_take_are_left_out() -> None:
    found = metrics(record(1, gradient_norm=float("nan"), kl=float("inf")))
    assert [each["key"] for each in found] == ["elbo", "active_units"]


def test_a_named_experiment_is_made_and_credentials_are_sent(
    server: Mimic, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "photographs")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    with track(server, run):
        pass
    assert [each["experiment_id"] for each in server.runs.values()] == [server.experiments["photographs"]]
    assert set(server.headers) == {"Bearer secret"}
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "lace")
    Server(server.uri)
    assert server.headers[-1] == "Basic YWRhOmxhY2U="


@pytest.mark.parametrize("uri", ["sqlite:///runs.db", "localhost:5000"])
def test_a_uri_without_http_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"--mlflow must be the URI of a tracking server, http://… or https://…, got "):
        Server(uri)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_does_not_answer_at_the_start_is_an_error() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=rf"no MLflow server answers at {uri} \(.*refused.*\); check --mlflow"):
        Server(uri)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[str]:
    """A tracking server of MLflow: its program is named by MLFLOW, or installed, as it needs another pyarrow."""
    program = os.environ.get("MLFLOW")
    if program is None:
        program = str(make_environment(tmp_path / "environment", "mlflow>=3,<4") / "bin/mlflow")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    command = [program, "server", "--port", str(port), "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    command += ["--workers", "1", "--default-artifact-root", str(tmp_path / "artefacts")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, (tmp_path / "server.log").read_text()
                    assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
                    time.sleep(0.2)
            yield uri
        finally:
            os.killpg(server.pid, 15)
            server.wait()


def test_a_run_in_mlflow_itself(real: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "photographs")
    for last in (2, 3):
        with Tracking(Server(real), run, parameters(HEAD), "photos") as tracked:
            tracked.update(write(run, *map(record, range(1, last + 1))))
    run_id = run.folder.read_json(MLFLOW)["run_id"]
    ask = Server(real)._ask
    logged = ask("GET", "runs/get", {"run_id": run_id})["run"]
    assert logged["info"]["status"] == "FINISHED"
    assert logged["info"]["run_name"] == "photos"
    assert {each["key"]: each["value"] for each in logged["data"]["params"]} == parameters(HEAD)
    history = ask("GET", "metrics/get-history", {"run_id": run_id, "metric_key": "elbo"})["metrics"]
    assert [(each["step"], each["value"]) for each in history] == [
        (epoch, pytest.approx(-100 / epoch)) for epoch in (1, 2, 3)
    ]
