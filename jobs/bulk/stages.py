"""Where the time of a worker goes: the seconds that its thread spends in each stage of its work.

Each stage is timed where it happens, for whatever job runs there. A worker has a thread to itself, so the seconds of a
thread are those of its worker; who wants them takes them after each unit (`jobs.bulk.metrics`).
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

T = TypeVar("T")

Stage = Literal["open", "read", "decode", "infer", "encode", "write"]
"""To open the bundle, once for each worker; to read stored images; to decode them; to run graphs; to encode images that
were drawn; and to write the results."""


class _Spent(threading.local):
    """Of this thread."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}

    def add(self, stage: Stage, began: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began


_spent = _Spent()


@contextmanager
def timed(stage: Stage) -> Iterator[None]:
    """Count the block as time of a stage. The block must contain neither another stage nor a `yield`."""
    began = time.perf_counter()
    try:
        yield
    finally:
        _spent.add(stage, began)


def timed_each(stage: Stage, items: Iterable[T]) -> Iterator[T]:
    """The items; the time until each is there counts as time of a stage, what is done with it does not."""
    iterator = iter(items)
    while True:
        began = time.perf_counter()
        try:
            item = next(iterator)
        except StopIteration:
            return
        finally:
            _spent.add(stage, began)
        yield item


def take() -> dict[Stage, float]:
    """The seconds of this thread in each stage since they were last taken."""
    taken, _spent.seconds = _spent.seconds, {}
    return taken
