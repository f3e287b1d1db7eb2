"""Show the progress of a run on the driver, from the files that rank 0 writes."""

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

from jobs.bulk.progress import Progress, Stages
from jobs.program import console
from jobs.train.run_directory import Run
from jobs.train.tracking import Tracking

_SECONDS_BETWEEN = 1.0
_MOST_LINES = 100  # of epochs


@contextlib.contextmanager
def watching(run: Run, epochs: int, tracking: Tracking | None = None) -> Iterator[None]:
    """Show the progress of the run during the block, and log its epochs."""
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(run, epochs, tracking, stop), daemon=True, name="monitor")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _watch(run: Run, epochs: int, tracking: Tracking | None, stop: threading.Event) -> None:
    shown = len(run.history())  # earlier epochs were shown by an earlier process
    with contextlib.ExitStack() as starting, contextlib.ExitStack() as training:
        starting.enter_context(Stages("train")).begin("starting the workers")
        progress: Progress | None = None
        last = 0
        while True:
            ending = stop.wait(_SECONDS_BETWEEN)  # poll once more after the end, for the last epoch
            state = _read_json(run, "progress.json")
            if state is not None:
                if progress is None:
                    starting.close()
                    progress = training.enter_context(Progress("train", "images", state["total"], state["images"]))
                    last = state["images"]
                progress.add(max(0, state["images"] - last))
                last = state["images"]
            records = run.history()
            for record in records[shown:]:
                if record["epoch"] % -(-epochs // _MOST_LINES) and record["epoch"] != epochs:
                    continue
                console.progress("train", describe(record, epochs), event="epoch", **record)
            shown = max(shown, len(records))
            if tracking is not None:
                tracking.update(records)
            if ending:
                break


def describe(record: dict[str, Any], epochs: int) -> str:
    """One epoch in one line; in nats per validation image unless labelled otherwise."""
    line = (
        f"epoch {record['epoch']}/{epochs}  ELBO {record['validation_elbo']:.1f}  "
        f"reconstruction {record['validation_reconstruction']:.1f}  KL {record['validation_kl']:.1f}  "
        f"importance-weighted {record['validation_iwae']:.1f}  train ELBO {record['elbo']:.1f}  "
        f"active units {record['active_units']}"
    )
    if (accuracy := record.get("validation_accuracy")) is not None:
        line += f"  accuracy {accuracy:.3f}"
    if (bits := record.get("bits_per_dim")) is not None:
        line += f"  bits/dim {bits:.3f}"
    if record["skipped_steps"]:
        line += f"  skipped steps {record['skipped_steps']}"
    return f"{line}  {record['images_per_second']:,.0f} images/s"


def _read_json(run: Run, name: str) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads(run.folder.read_text(name))
    except OSError:
        return None
    return state
