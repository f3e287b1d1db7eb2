"""P-values are those of the provider that scored the calibration images; another one must compute the same scores."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bundles import contents, pictures
from export.bundle.format import FORMAT, SCORER, Bundle
from export.guarantees.calibration_set import exchange
from export.runtime.device import Device, Provider
from export.runtime.scorer import Scorer, scoring_provider
from export.runtime.session import scoring_session
from export.storage import Folder
from jobs.score.options import ScoreOptions
from jobs.score.plan import ScoreJob
from vae_core.errors import UserError


def bundle(calibrated_by: str, files: Mapping[str, bytes] | None = None, **manifest: Any) -> Bundle:
    """The bundle of the small trained model, with a modified manifest."""
    made = contents()
    modified = {**made.manifest, "format": FORMAT, "files": {name: {} for name in made.files}, **manifest}
    modified["calibration"] = {**made.manifest["calibration"], "provider": calibrated_by}
    return Bundle(Folder.at("/nowhere"), json.dumps(modified).encode(), {**made.files, **(files or {})})


def with_scores_times(factor: float) -> dict[str, bytes]:
    """Scorer.onnx as run by a provider that multiplies the outlier score by a factor."""
    model = onnx.load_model_from_string(contents().files[SCORER])
    graph = model.graph
    place = next(i for i, node in enumerate(graph.node) if "outlier_score" in node.output)
    made = graph.node[place]
    made.output[list(made.output).index("outlier_score")] = "exact"
    graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
    graph.node.insert(place + 1, helper.make_node("Mul", ["exact", "factor"], ["outlier_score"]))
    return {SCORER: model.SerializeToString()}


def test_an_export_is_calibrated_on_the_cpu() -> None:
    assert contents().manifest["calibration"]["provider"] == "cpu"


def test_another_provider_that_computes_the_same_is_accepted() -> None:
    images = pictures(5)
    expected = Scorer(bundle("cpu"), provider="cpu").score(images)
    found = Scorer(bundle("cuda"), provider="cpu").score(images)
    for name, values in expected.items():
        assert (found[name] == values).all()


def test_another_provider_that_computes_differently_is_refused() -> None:
    scorer = Scorer(bundle("cuda", with_scores_times(1.001)), provider="cpu")
    words = "cpu computes outlier_score differently from cuda, .* where 1.0e-04 is allowed; use provider cuda, or"
    with pytest.raises(UserError, match=words):
        scorer.score(pictures(1))
    # Differences within the tolerance are accepted.
    assert Scorer(bundle("cuda", with_scores_times(1.000001)), provider="cpu").provider == "cpu"


def test_a_new_calibration_set_brings_the_scores_of_its_provider() -> None:
    # A bundle that was calibrated on CUDA, which computed twice the scores; now the CPU calibrates it.
    before = bundle("cuda", with_scores_times(2.0))
    made = exchange(before, before.calibration, "clean", "cpu")
    assert made.manifest["calibration"]["provider"] == "cpu"
    after = Bundle(Folder.at("/nowhere"), json.dumps(made.manifest).encode(), made.files)
    np.testing.assert_array_equal(
        after.probe["scorer.outlier_score"], scoring_session(after.graph(SCORER)).run(after.probe)["outlier_score"]
    )
    np.testing.assert_allclose(
        after.probe["scorer.outlier_score"], 2 * before.probe["scorer.outlier_score"], rtol=1e-4, atol=1e-4
    )
    # With the same provider, the probe batch keeps PyTorch's outputs.
    same = exchange(bundle("cpu"), before.calibration, "clean", "cpu")
    kept = Bundle(Folder.at("/nowhere"), json.dumps(same.manifest).encode(), same.files)
    np.testing.assert_array_equal(kept.probe["scorer.outlier_score"], before.probe["scorer.outlier_score"])


@pytest.mark.parametrize(("wanted", "used"), [("auto", "cpu"), ("cpu", "cpu")])
def test_8_bit_integers_are_for_the_cpu(wanted: Provider, used: Provider) -> None:
    integers = bundle("cpu", int8={"graphs": [SCORER]})
    assert scoring_provider(integers, wanted) == used
    assert scoring_provider(bundle("cpu"), wanted) == wanted
    assert Scorer(integers, provider=Device(wanted)).provider == "cpu"
    for refused in (lambda: scoring_provider(integers, "cuda"), lambda: Scorer(integers, provider="cuda")):
        with pytest.raises(UserError, match=r"8-bit integers.*use provider cpu"):
            refused()


def test_a_job_in_8_bit_integers_reserves_no_gpu(tmp_path: Any) -> None:
    from image_files import LAYOUTS, write_parquet

    images = write_parquet(tmp_path / "in.parquet", *LAYOUTS["packed"](pictures(3)))
    options = ScoreOptions(bundle="bundle", images=(images,), output=f"{tmp_path}/out", workers_per_gpu=2)
    planned = ScoreJob.plan(options, bundle("cpu", int8={"graphs": [SCORER]})).options
    assert (planned.provider, planned.workers_per_gpu) == ("cpu", None)
    assert ScoreJob.plan(options, bundle("cpu")).options == options
