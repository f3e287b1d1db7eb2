"""`vae train --mlflow URI`: the run in an MLflow tracking server, through its REST API.

A few requests (https://mlflow.org/docs/latest/api_reference/rest-api.html) are all that it takes, so that no package of
MLflow need be installed. A server that does not answer when training begins is an error; one that fails later is warned
of once, and gets what it missed with a later epoch. The id of the MLflow run is kept in the run directory: a run that
resumes goes on in it.

MLFLOW_EXPERIMENT_NAME names the experiment. A server that asks for credentials gets MLFLOW_TRACKING_TOKEN, or
MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
"""

import base64
import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.program import console
from jobs.train.run_directory import MLFLOW, Run
from vae_core.errors import UserError

_SECONDS = 10.0  # that an answer may take
_PAUSE_SECONDS = 60.0  # after a failure, until the next attempt
_MOST_METRICS, _MOST_PARAMETERS, _MOST_LETTERS = 1000, 100, 500  # of a request; of the value of a parameter
_NOT_METRICS = ("epoch", "step")


class Unreachable(Exception):
    """The server did not answer, or refused; the message says why."""


class Server:
    """An MLflow tracking server."""

    def __init__(self, uri: str) -> None:
        """Take the server's URI, http://host:port.

        Raises:
            UserError: it is none, or the server does not answer.
        """
        if not uri.startswith(("http://", "https://")):
            raise UserError(f"--mlflow must be the URI of a tracking server, http://… or https://…, got {uri}")
        self._uri = uri.rstrip("/")
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
        try:
            self._experiment = self._experiment_of(name)
        except Unreachable as error:
            raise UserError(f"no MLflow server answers at {uri} ({error}); check --mlflow, or leave it out") from error

    def _experiment_of(self, name: str) -> str:
        """The id of the experiment, which is made if there is none."""
        try:
            found = self._ask("GET", "experiments/get-by-name", {"experiment_name": name})
        except _Missing:
            return str(self._ask("POST", "experiments/create", {"name": name})["experiment_id"])
        return str(found["experiment"]["experiment_id"])

    def create_run(self, name: str) -> str:
        """Begin a run, and return its id."""
        tags = [{"key": "mlflow.source.name", "value": "vae train"}, {"key": "mlflow.runName", "value": name}]
        content = {"experiment_id": self._experiment, "run_name": name, "start_time": _now(), "tags": tags}
        return str(self._ask("POST", "runs/create", content)["run"]["info"]["run_id"])

    def has_run(self, run_id: str) -> bool:
        """Whether the server knows the run."""
        try:
            self._ask("GET", "runs/get", {"run_id": run_id})
        except _Missing:
            return False
        return True

    def log(self, run_id: str, metrics: Sequence[Mapping[str, Any]], parameters: Mapping[str, str]) -> None:
        """Log metrics, each with `key`, `value` and `step`, and parameters."""
        named = [{"key": key, "value": value[:_MOST_LETTERS]} for key, value in parameters.items()]
        stamped = [{**metric, "timestamp": _now()} for metric in metrics]
        for start in range(0, len(named), _MOST_PARAMETERS):
            self._ask("POST", "runs/log-batch", {"run_id": run_id, "params": named[start : start + _MOST_PARAMETERS]})
        for start in range(0, len(stamped), _MOST_METRICS):
            self._ask("POST", "runs/log-batch", {"run_id": run_id, "metrics": stamped[start : start + _MOST_METRICS]})

    def set_status(self, run_id: str, status: str) -> None:
        """Set the status of a run: RUNNING, FINISHED, FAILED or KILLED."""
        end = {} if status == "RUNNING" else {"end_time": _now()}
        self._ask("POST", "runs/update", {"run_id": run_id, "status": status, **end})

    def _ask(self, method: str, what: str, content: Mapping[str, Any]) -> dict[str, Any]:
        url = f"{self._uri}/api/2.0/mlflow/{what}"
        data = None
        if method == "GET":
            url += f"?{urllib.parse.urlencode(content)}"
        else:
            data = json.dumps(content, allow_nan=False).encode()
        request = urllib.request.Request(
            url, data, {"Content-Type": "application/json", **_credentials()}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, ValueError) as error:  # an answer that is not JSON is not MLflow's
            raise Unreachable(str(getattr(error, "reason", error))) from error
        return found


class _Missing(Unreachable):
    """The server answered that there is no such thing."""


class Tracking:
    """Logs one training run; a context manager around the training.

    `update` logs the epochs that the server does not have yet. Nothing here ends a training once it has begun.
    """

    def __init__(self, server: Server, run: Run, parameters: Mapping[str, str], name: str) -> None:
        """Go on in the run's MLflow run, or begin one."""
        self._server, self._run, self._parameters, self._name = server, run, parameters, name
        state = run.folder.read_json(MLFLOW) if run.folder.has(MLFLOW) else {}
        is_known = isinstance(state.get("run_id"), str) and type(state.get("epochs")) is int
        self._state: dict[str, Any] = state if is_known else {}
        self._next_attempt = 0.0
        self._warned = False

    def __enter__(self) -> "Tracking":
        self._try(self._begin)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        self._next_attempt = 0.0
        self._try(lambda: self._log(self._run.history()))
        self._try(lambda: self._server.set_status(self._state["run_id"], status))

    def update(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Log the epochs of the history that are not logged yet."""
        if len(history) > self._state.get("epochs", 0) and time.monotonic() >= self._next_attempt:
            self._try(lambda: self._log(history))

    def _begin(self) -> None:
        if "run_id" in self._state and self._server.has_run(self._state["run_id"]):
            self._server.set_status(self._state["run_id"], "RUNNING")
            return
        run_id = self._server.create_run(self._name)
        self._server.log(run_id, [], self._parameters)
        self._keep({"run_id": run_id, "epochs": 0})

    def _log(self, history: Sequence[Mapping[str, Any]]) -> None:
        if "run_id" not in self._state:
            self._begin()
        records = history[self._state["epochs"] :]
        self._server.log(self._state["run_id"], [metric for record in records for metric in metrics(record)], {})
        self._keep({**self._state, "epochs": len(history)})

    def _keep(self, state: dict[str, Any]) -> None:
        self._state = state
        self._run.folder.write_text(MLFLOW, json.dumps(state))

    def _try(self, action: Any) -> None:
        try:
            action()
        except Unreachable as error:
            self._next_attempt = time.monotonic() + _PAUSE_SECONDS
            if not self._warned:
                console.warn(
                    "train", f"MLflow does not answer ({error}); training goes on, and what is missing follows"
                )
            self._warned = True


def metrics(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The numbers of an epoch as metrics; MLflow takes no NaN and no infinity."""
    numbers = {key: float(value) for key, value in record.items() if key not in _NOT_METRICS}
    return [
        {"key": key, "value": value, "step": record["epoch"]} for key, value in numbers.items() if math.isfinite(value)
    ]


def parameters(head: Mapping[str, Any]) -> dict[str, str]:
    """The configuration of a run, from its `run.json`: `model.latent_dim` and so on."""
    parts = ("model", "train", "data")
    found = {f"{part}.{key}": value for part in parts for key, value in head[part].items()}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items() if value != ""}


def _refusal(error: urllib.error.HTTPError) -> Unreachable:
    try:
        content = json.load(error)
    except ValueError:
        content = {}
    if content.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        return _Missing(content.get("message", ""))
    return Unreachable(f"{error.code} {content.get('message') or error.reason}")


def _credentials() -> dict[str, str]:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        words = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}
    return {}


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
