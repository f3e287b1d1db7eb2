"""What the nodes of a Ray cluster say at their Prometheus endpoints."""

import time
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_SECONDS = 30.0
"""Processes hand their metrics to the endpoint every few seconds."""


class Sample(NamedTuple):
    name: str  # with the suffix of its kind: _total, _sum, _count, _bucket
    labels: dict[str, str]
    value: float


def samples(prefix: str, until: Callable[[list[Sample]], bool]) -> list[Sample]:
    """The samples whose name begins with `prefix`, once they satisfy `until`; the last ones if they do not in time."""
    import ray

    began = time.monotonic()
    while True:
        found = [sample for node in ray.nodes() for sample in _read(node) if sample.name.startswith(prefix)]
        if until(found) or time.monotonic() - began > _SECONDS:
            return found
        time.sleep(0.2)


def total(found: list[Sample], name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    return sum(each.value for each in found if each.name == name and labels.items() <= each.labels.items())


def _read(node: dict[str, object]) -> list[Sample]:
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=10) as response:
        text = response.read().decode()
    return [
        Sample(each.name, dict(each.labels), each.value)
        for family in text_string_to_metric_families(text)
        for each in family.samples
    ]
