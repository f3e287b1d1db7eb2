"""What the workers of a bulk job on Ray tell Prometheus: how much they did, how long it took, and on what.

    rate(ray_vae_images_total{kind="score"}[5m])

Ray collects the metrics of the workers of a node at one endpoint, and puts `ray_` before their names. Each is updated
once for a unit. A unit that is done again, since a node was lost, counts again. The local engine has no metrics.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jobs.bulk.stages import Stage
from jobs.bulk.worker import Receipt
from jobs.program.ray_job import job_id


class Described(NamedTuple):
    """A metric, as it is documented."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    meaning: str
    tag: str = ""  # beside those of every metric


IMAGES = Described("vae_images_total", "counter", "Images of finished units: read, or drawn from the model.")
ERRORS = Described(
    "vae_errors_total", "counter", "Rows of `errors/`: images without a result, and files that cannot be read."
)
UNITS = Described(
    "vae_units_total",
    "counter",
    "Units of work, by `outcome`: `done`, or `failed`, which ends the job.",
    "outcome",
)
UNIT_SECONDS = Described("vae_unit_seconds", "histogram", "Seconds from the start of a unit until it is written.")
STAGE_SECONDS = Described(
    "vae_stage_seconds_total",
    "counter",
    "Seconds of the workers by `stage`: `open` the bundle, `read`, `decode`, `infer` (run graphs), `encode` (drawn "
    "images), `write`.",
    "stage",
)
PROVIDER = Described(
    "vae_provider_info",
    "gauge",
    "1 while a worker of the job has the ONNX Runtime `provider` `cpu` or `cuda`.",
    "provider",
)
ALL = (IMAGES, ERRORS, UNITS, UNIT_SECONDS, STAGE_SECONDS, PROVIDER)
TAGS = ("kind", "job_id")
"""Of every metric: the kind of the job (`score`, `sample`, …), and Ray's id of it."""

# A unit is planned to take a few seconds; what reads slowly or runs on a slow machine may take minutes.
_BUCKETS = [0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0]


class Metrics:
    """The metrics of one worker; nothing collects them outside of Ray."""

    def __init__(self, kind: str, provider: str) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        common = {"kind": kind, "job_id": job_id()}

        def counter(of: Described) -> Counter:
            made = Counter(of.name, of.meaning, _tags(of))
            made.set_default_tags(common)
            return made

        self._images, self._errors, self._units = counter(IMAGES), counter(ERRORS), counter(UNITS)
        self._stages = counter(STAGE_SECONDS)
        self._seconds = Histogram(UNIT_SECONDS.name, UNIT_SECONDS.meaning, _BUCKETS, _tags(UNIT_SECONDS))
        self._seconds.set_default_tags(common)
        self._provider = Gauge(PROVIDER.name, PROVIDER.meaning, _tags(PROVIDER))
        self._provider.set(1, {**common, PROVIDER.tag: provider})

    def record(self, receipt: Receipt, stages: Mapping[Stage, float]) -> None:
        """Count a unit.

        Args:
            receipt: of the unit.
            stages: the seconds of the worker in each stage since the unit before.
        """
        for stage, seconds in stages.items():
            _add(self._stages, seconds, {STAGE_SECONDS.tag: stage})
        _add(self._units, 1, {UNITS.tag: "failed" if receipt.failure else "done"})
        if not receipt.failure:
            self._seconds.observe(receipt.seconds)
            _add(self._images, receipt.rows)
            _add(self._errors, receipt.errors)


def _add(counter: Any, value: float, tags: Mapping[str, str] | None = None) -> None:
    if value:  # a counter of Ray refuses 0
        counter.inc(value, tags)


def _tags(of: Described) -> tuple[str, ...]:
    return (*TAGS, of.tag) if of.tag else TAGS
