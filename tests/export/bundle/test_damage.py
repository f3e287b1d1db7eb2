"""A damaged bundle, whose hashes somebody has corrected, ends in a sentence or is as good as before: no other error."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damage import changed_bytes, damaged
from export.bundle import format as names
from export.bundle.format import Bundle, npz_bytes
from export.guarantees.calibration_set import exchange
from export.runtime.sampler import Sampler
from export.runtime.scorer import Scorer
from export.storage import Folder
from gaussian_bundle import write_gaussian_bundle
from image_files import encrypted
from jobs.inspect.job import facts_about
from vae_core.errors import UserError

quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_gaussian_bundle(Folder.at(tmp_path / "bundle"))
    return tmp_path / "bundle"


def write(folder: Path, manifest: Any, **files: bytes) -> None:
    """Replace files, whose hashes are corrected, and the manifest."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / names.MANIFEST).write_text(json.dumps(manifest))


def read_manifest(folder: Path) -> Any:
    return json.loads((folder / names.MANIFEST).read_text())


def use(folder: Path) -> None:
    """What the jobs do with a bundle, without their images."""
    bundle = Bundle.open(str(folder))
    facts_about(str(folder))
    images = np.zeros((2, *bundle.shape), np.uint8)
    scorer = Scorer(bundle, provider="cpu")
    scorer.score(images)
    scorer.explain(images, 2)
    Sampler(bundle, provider="cpu").sample(range(2))
    assert len(bundle.calibration_scores) == bundle.calibration_images
    assert len(bundle.examples) > 0
    assert bundle.calibration_classes is None
    assert bundle.statistics
    exchange(bundle, bundle.calibration, "the same", "cpu")


def refusal(folder: Path) -> str:
    """The sentence in which using the bundle ends, or nothing."""
    try:
        use(folder)
    except UserError as error:
        said = str(error)
        assert "\n" not in said
        assert len(said) < 800 + 2 * len(str(folder))
        return said
    return ""


@quickly
@given(data=st.data())
def test_a_damaged_manifest_ends_in_a_sentence(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, manifest = _bundle(tmp_path_factory)
    (folder / names.MANIFEST).write_text(json.dumps(data.draw(damaged(manifest))))
    refusal(folder)


@quickly
@given(data=st.data(), name=st.sampled_from([n for n in names.FILES if n != names.CARD]))
def test_damaged_files_end_in_a_sentence(
    data: st.DataObject, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, manifest = _bundle(tmp_path_factory)
    before = (folder / name).read_bytes()
    try:
        write(folder, json.loads(json.dumps(manifest)), **{name: data.draw(changed_bytes(before))})
        refusal(folder)
    finally:
        (folder / name).write_bytes(before)


_cache: dict[str, tuple[Path, Any]] = {}


def _bundle(factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """One bundle for all examples, and its manifest."""
    if not _cache:
        path = factory.mktemp("damage") / "bundle"
        write_gaussian_bundle(Folder.at(path))
        _cache["bundle"] = path, read_manifest(path)
    return _cache["bundle"]


def _parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def _replace(name: str, values: Callable[[pa.ChunkedArray], Any]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, values(table[name]))


CALIBRATIONS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "half of its rows": lambda t: t.slice(0, len(t) // 2),
    "twice its rows": lambda t: pa.concat_tables([t, t]),
    "no rows": lambda t: t.slice(0, 0),
    "no scores": lambda t: t.drop_columns("outlier_score"),
    "no codes": lambda t: t.drop_columns("mean"),
    "no pictures": lambda t: t.drop_columns("image"),
    "scores in another order": _replace("outlier_score", lambda c: c.take(pa.array(range(len(c))[::-1]))),
    "scores of text": _replace("outlier_score", lambda c: c.cast(pa.string())),
    "scores in double precision": _replace("outlier_score", lambda c: c.cast(pa.float64())),
    "a score of NaN": _replace("outlier_score", lambda c: pa.array([*c.to_pylist()[:-1], np.nan], "float32")),
    "a score that is missing": _replace("outlier_score", lambda c: pa.array([None, *c.to_pylist()[1:]], "float32")),
    "codes of another length": _replace("mean", lambda c: pa.array([[1.0]] * len(c), pa.list_(pa.float32(), 1))),
    "a code without a picture": _replace("image", lambda c: pa.array([None, *c.to_pylist()[1:]], c.type)),
    "another column of text": lambda t: t.append_column("more", pa.array(["x"] * len(t))),
}  # fmt: skip


@pytest.mark.parametrize("what", CALIBRATIONS)
def test_a_calibration_is_what_the_manifest_says(folder: Path, what: str) -> None:
    table = CALIBRATIONS[what](pq.read_table(folder / names.CALIBRATION))
    write(folder, read_manifest(folder), **{names.CALIBRATION: _parquet(table)})
    assert "calibration.parquet is damaged" in refusal(folder)


def test_an_encrypted_calibration_is_damaged(folder: Path) -> None:
    content = encrypted(pq.read_table(folder / names.CALIBRATION), "outlier_score")
    write(folder, read_manifest(folder), **{names.CALIBRATION: content})
    assert "calibration.parquet is damaged (ValueError: encrypted columns)" in refusal(folder)


def test_half_of_the_calibration_is_refused_when_the_bundle_is_opened(folder: Path) -> None:
    table = pq.read_table(folder / names.CALIBRATION)
    write(folder, read_manifest(folder), **{names.CALIBRATION: _parquet(table.slice(0, 60))})
    with pytest.raises(UserError, match="60 rows, where the manifest has 120 calibration images"):
        Bundle.open(str(folder))


def test_a_picture_that_is_none_is_shown_as_none_but_scores_are_the_same(folder: Path) -> None:
    table = pq.read_table(folder / names.CALIBRATION)
    pictures = pa.array([{"bytes": b"no picture"}] * len(table))
    write(folder, read_manifest(folder), **{names.CALIBRATION: _parquet(_replace("image", lambda _: pictures)(table))})
    assert refusal(folder) == ""


def _member(header: bytes, content: bytes) -> bytes:
    """An array with a header that says anything."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def _zipped(**members: bytes) -> bytes:
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


PROBES: dict[str, Callable[[dict[str, np.ndarray]], bytes]] = {
    "a bomb": lambda a: _zipped(**{name: b"" for name in a if name != "image"}, image=bytes(100_000_000)),
    "a huge shape": lambda a: _zipped(
        image=_member(b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776,), }", b"x")
    ),
    "objects": lambda a: _zipped(image=_member(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"x" * 8)),
    "code in the header": lambda a: _zipped(image=_member(b"__import__('os').abort()", b"")),
    "one array less": lambda a: npz_bytes({name: values for name, values in a.items() if name != "z"}),
    "one array more": lambda a: npz_bytes({**a, "more": a["z"]}),
    "fewer images": lambda a: npz_bytes({name: values[:-1] for name, values in a.items()}),
    "images of another size": lambda a: npz_bytes({**a, "image": a["image"][..., :-1]}),
    "another type": lambda a: npz_bytes({**a, "image": a["image"].astype(np.float32)}),
    "no archive": lambda a: b"PK",
}


@pytest.mark.parametrize("what", PROBES)
def test_a_probe_batch_is_what_the_manifest_says(folder: Path, what: str) -> None:
    arrays = Bundle.open(str(folder)).probe
    write(folder, read_manifest(folder), **{names.PROBE: PROBES[what](arrays)})
    with pytest.raises(UserError, match=r"probe\.npz is damaged \("):
        _ = Bundle.open(str(folder)).examples


def test_parity_that_is_none_is_a_sentence(folder: Path) -> None:
    write(folder, read_manifest(folder), **{names.PARITY: b'{"graphs": {"scorer.onnx": []}}'})
    bundle = Bundle.open(str(folder))
    with pytest.raises(UserError, match=r"parity\.json is damaged"):
        exchange(bundle, bundle.calibration, "the same", "cpu")


def test_without_damage_there_is_no_refusal(folder: Path) -> None:
    assert refusal(folder) == ""
