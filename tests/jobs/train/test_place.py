"""Placement of training workers: number, device, CPUs."""

from typing import Any

import pytest

from jobs.bulk.cluster import Cluster
from jobs.train.job import place
from jobs.train.options import TrainOptions
from training_runs import MODEL, config
from vae_core.errors import UserError


def placed(cpus: int, gpus: int, is_shared: bool = True, **options: Any) -> tuple[str, int | None, int | None]:
    given = TrainOptions(images=(), run="", model=MODEL, train=config(batch_size=32), **options)
    decided = place(given, Cluster(cpus, gpus, is_shared))
    return decided.device, decided.workers, decided.cpus_per_worker


@pytest.mark.parametrize(
    ("cluster", "options", "decided"),
    [
        ((8, 0), {}, ("cpu", 1, 1)),
        ((8, 0), {"workers": 4}, ("cpu", 4, 1)),
        ((8, 2), {}, ("cuda", 2, 1)),
        ((8, 2), {"workers": 1}, ("cuda", 1, 1)),
        ((8, 2), {"device": "cuda"}, ("cuda", 2, 1)),
        ((8, 2), {"device": "cpu"}, ("cpu", 1, 1)),
        ((8, 2), {"device": "cpu", "workers": 4}, ("cpu", 4, 1)),
        ((8, 2, False), {"workers": 2}, ("cuda", 2, 4)),
        ((8, 0), {"workers": 2, "cpus_per_worker": 3}, ("cpu", 2, 3)),
    ],
)
def test_decisions(cluster: tuple[Any, ...], options: Any, decided: tuple[str, int, int]) -> None:
    assert placed(*cluster, **options) == decided


@pytest.mark.parametrize(
    ("cluster", "options", "words"),
    [
        (
            (8, 2),
            {"workers": 4},
            "--workers must be at most the cluster's 2 GPUs, got 4; use --workers 2 or --device cpu",
        ),
        ((8, 0), {"device": "cuda"}, "--device cuda needs a GPU, but the cluster has none; use --device cpu"),
        ((2, 0), {"workers": 4}, "--workers must be at most 2, with 1 of the cluster's 2 CPUs each, got 4"),
        (
            (4, 0),
            {"workers": 4, "cpus_per_worker": 2},
            "--workers must be at most 2, with 2 of the cluster's 4 CPUs each, got 4",
        ),
        ((8, 0), {"workers": 3}, "--batch-size must be a multiple of the 3 workers, got 32"),
    ],
)
def test_too_few_resources_are_an_error(cluster: tuple[Any, ...], options: Any, words: str) -> None:
    with pytest.raises(UserError) as raised:
        placed(*cluster, **options)
    assert str(raised.value) == words
