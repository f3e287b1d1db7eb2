"""Every command with every kind of error: one sentence, its exit code, nothing written and nothing lost.

A cell is a command with one of its places, such as the folder of its images, that has one fault. Further refusals of
single options are in `tests/jobs/test_bad_input.py`, and those while a job works in `tests/jobs/bulk/test_run.py`.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.bundle.format import MANIFEST
from image_files import LAYOUTS, write_parquet
from jobs.program import cli
from small_disks import fill, mounted, remount
from training_runs import config, found, start, write_images

IMAGES, BUNDLE, RUN, OUTPUT = "images", "bundle", "run", "output"
# command → option → what it is; the option of `inspect` is a position.
PLACES = {
    "prepare": {"--source": IMAGES, "--output": OUTPUT},
    "train": {"--images": IMAGES, "--run": OUTPUT},
    "export": {"--run": RUN, "--bundle": OUTPUT},
    "calibrate": {"--bundle": BUNDLE, "--images": IMAGES, "--output": OUTPUT},
    "score": {"--bundle": BUNDLE, "--images": IMAGES, "--output": OUTPUT},
    "evaluate": {"--bundle": BUNDLE, "--images": IMAGES, "--output": OUTPUT},
    "find": {"--images": IMAGES, "--output": OUTPUT},
    "sample": {"--bundle": BUNDLE, "--output": OUTPUT},
    "verify": {"--bundle": BUNDLE},
    "inspect": {"": BUNDLE},
    "demo": {"--output": OUTPUT},
}
# An option of each command that is a number.
NUMBERS = {
    "prepare": "--workers",
    "train": "--epochs",
    "export": "--samples",
    "calibrate": "--judged",
    "score": "--fpr",
    "evaluate": "--fpr",
    "find": "--trim",
    "sample": "--seed",
    "verify": "--time-limit",
    "demo": "--fdr",
}
MORE = {"sample": ["--count", "3"], "score": ["--explain", "0", "--gallery", "0"]}
assert list(PLACES) == list(cli.COMMANDS)


class Refused(NamedTuple):
    """What a refusal must say."""

    exit_code: int
    kind: str
    """Or several, with bars between."""
    words: str
    """That the sentence has."""


def reading(what: str) -> list[str]:
    """The commands that have such a place."""
    return [name for name, places in PLACES.items() if what in places.values()]


def line(command: str, scene: "Scene", **given: str) -> list[str]:
    """A command line that is right, but for the places that are given: `line("score", scene, images="/nothing")`."""
    words = [command]
    for option, what in PLACES[command].items():
        words += [*filter(None, [option]), given.get(what, getattr(scene, what))]
    return [*words, *MORE.get(command, [])]


class Scene(NamedTuple):
    """Places that are as they should be. The output is new."""

    images: str
    bundle: str
    run: str
    output: str


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    images = write_images(folder / "images.parquet", 300)
    start(folder / "run", found(images), config())
    from bundles import pictures

    images = write_parquet(folder / "photos.parquet", *LAYOUTS["packed"](pictures(300)))
    return Scene(images, str(bundle), str(folder / "run"), "")


@pytest.fixture
def scene(_made: Scene, tmp_path: Path) -> Scene:
    return _made._replace(output=str(tmp_path / "new"))


@pytest.fixture
def refuse(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must end as said, with an error of one line; returns its message."""

    def run(words: list[str], expected: Refused, said: str) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main([*words, "--quiet", "--log-format", "json"])
        output, errors = capfd.readouterr()
        assert output == ""
        (event,) = [json.loads(each) for each in errors.splitlines()]
        assert stop.value.code == expected.exit_code, event
        assert event["kind"] in expected.kind.split("|"), event
        assert "traceback" not in event
        message: str = event["message"]
        assert "\n" not in message
        assert said in message
        assert expected.words in message
        return message

    return run


def contents(folder: Path) -> dict[str, object]:
    """All that is below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else path.is_dir()
        for path in sorted(folder.rglob("*"))
    }


# Each makes a place with a fault in an empty folder.


def _missing(folder: Path) -> Path:
    return folder / "nothing"


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _file(folder: Path) -> Path:
    (folder / "file.txt").write_text("my only copy")
    return folder / "file.txt"


def _below_a_file(folder: Path) -> Path:
    return _file(folder) / "below/it"


def _full(folder: Path) -> Path:
    (folder / "thesis").mkdir()
    (folder / "thesis" / "thesis.doc").write_text("my only copy")
    return folder / "thesis"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.parquet")
    return folder / "pipe.parquet"


def _no_bytes(folder: Path) -> Path:
    (folder / "a.parquet").touch()
    return folder / "a.parquet"


def _noise(folder: Path) -> Path:
    (folder / "a.parquet").write_bytes(bytes(range(256)) * 40)
    return folder / "a.parquet"


def _prices(folder: Path) -> Path:
    pq.write_table(pa.table({"price": [1.0]}), folder / "a.parquet")
    return folder / "a.parquet"


def _no_rows(folder: Path) -> Path:
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), folder / "a.parquet")
    return folder / "a.parquet"


IMAGE_FAULTS: dict[str, tuple[Callable[[Path], Path], Refused]] = {
    "missing": (_missing, Refused(2, "input", "the path does not exist")),
    "an empty folder": (_empty, Refused(2, "input", "the folder is empty")),
    "a folder of documents": (_full, Refused(2, "input", "no images at")),
    "a pipe": (_pipe, Refused(2, "input", "")),
    "no bytes": (_no_bytes, Refused(2, "input", "")),
    "damaged": (_noise, Refused(2, "input", "")),
    "without images": (_prices, Refused(2, "input", "price")),
    "without rows": (_no_rows, Refused(2, "input", "no rows")),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
@pytest.mark.parametrize("command", reading(IMAGES))
def test_images(refuse, scene: Scene, tmp_path: Path, command: str, fault: str) -> None:  # type: ignore[no-untyped-def]
    make, expected = IMAGE_FAULTS[fault]
    place = str(make(tmp_path))
    before = contents(tmp_path)
    refuse(line(command, scene, images=place), expected, place)
    assert contents(tmp_path) == before


def _copied(folder: Path, bundle: str) -> Path:
    return Path(shutil.copytree(bundle, folder / "copy"))


def _changed_byte(folder: Path, bundle: str) -> Path:
    graph = _copied(folder, bundle) / "scorer.onnx"
    content = bytearray(graph.read_bytes())
    content[100] ^= 1
    graph.write_bytes(content)
    return graph.parent


def _without_a_graph(folder: Path, bundle: str) -> Path:
    copy = _copied(folder, bundle)
    (copy / "scorer.onnx").unlink()
    return copy


def _with_another_file(folder: Path, bundle: str) -> Path:
    copy = _copied(folder, bundle)
    (copy / "notes.txt").touch()
    return copy


def _of_another_version(folder: Path, bundle: str) -> Path:
    manifest = _copied(folder, bundle) / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    return manifest.parent


def _with_half_a_manifest(folder: Path, bundle: str) -> Path:
    manifest = _copied(folder, bundle) / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:1000])
    return manifest.parent


def _with_a_pipe(folder: Path, bundle: str) -> Path:
    manifest = _copied(folder, bundle) / MANIFEST
    manifest.unlink()
    os.mkfifo(manifest)
    return manifest.parent


BUNDLE_FAULTS: dict[str, tuple[Callable[[Path, str], Path], Refused]] = {
    "missing": (lambda folder, _: _missing(folder), Refused(2, "bundle", "")),
    "a file": (lambda folder, _: _file(folder), Refused(2, "bundle", "")),
    "empty": (lambda folder, _: _empty(folder), Refused(2, "bundle", "")),
    "other files": (lambda folder, _: _full(folder), Refused(2, "bundle", "")),
    "a changed byte": (_changed_byte, Refused(2, "bundle", "scorer.onnx is not what was exported")),
    "without a graph": (_without_a_graph, Refused(2, "bundle", "scorer.onnx is missing")),
    "another file": (_with_another_file, Refused(2, "bundle", "notes.txt")),
    "another version": (_of_another_version, Refused(2, "bundle", "has bundle format 99")),
    "half a manifest": (_with_half_a_manifest, Refused(2, "bundle", "")),
    "a pipe": (_with_a_pipe, Refused(2, "bundle", "must be a regular file")),
}


@pytest.mark.parametrize("fault", BUNDLE_FAULTS)
@pytest.mark.parametrize("command", reading(BUNDLE))
def test_bundle(refuse, scene: Scene, tmp_path: Path, command: str, fault: str) -> None:  # type: ignore[no-untyped-def]
    make, expected = BUNDLE_FAULTS[fault]
    place = str(make(tmp_path, scene.bundle))
    before = contents(tmp_path)
    if command == "inspect" and not (Path(place) / MANIFEST).is_file():  # it may be something else as well
        expected = Refused(2, "options", "a run")
    refuse(line(command, scene, bundle=place), expected, place)
    assert contents(tmp_path) == before


def _run_of_another_version(folder: Path, run: str) -> Path:
    head = Path(shutil.copytree(run, folder / "copy")) / "run.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"format": 99}))
    return head.parent


def _with_half_a_head(folder: Path, run: str) -> Path:
    head = Path(shutil.copytree(run, folder / "copy")) / "run.json"
    head.write_bytes(head.read_bytes()[:100])
    return head.parent


RUN_FAULTS: dict[str, tuple[Callable[[Path, str], Path], Refused]] = {
    "missing": (lambda folder, _: _missing(folder), Refused(2, "run", "is not a run")),
    "a file": (lambda folder, _: _file(folder), Refused(2, "run", "is not a run")),
    "other files": (lambda folder, _: _full(folder), Refused(2, "run", "is not a run")),
    "another version": (_run_of_another_version, Refused(2, "run", "must have run format")),
    "half a head": (_with_half_a_head, Refused(2, "run", "run.json")),
    "without a checkpoint": (lambda _, run: Path(run), Refused(2, "run", "has no best checkpoint yet")),
}


@pytest.mark.parametrize("fault", RUN_FAULTS)
@pytest.mark.parametrize("command", reading(RUN))
def test_run(refuse, scene: Scene, tmp_path: Path, command: str, fault: str) -> None:  # type: ignore[no-untyped-def]
    make, expected = RUN_FAULTS[fault]
    place = str(make(tmp_path, scene.run))
    before = contents(tmp_path)
    refuse(line(command, scene, run=place), expected, place)
    assert contents(tmp_path) == before


def _of_another_job(folder: Path) -> Path:
    (folder / "job").mkdir()
    plan = {"format": 1, "kind": "brew", "identity": {}, "rows": 0, "units_sha256": "", "units": []}
    (folder / "job" / "plan.json").write_text(json.dumps(plan))
    return folder / "job"


OUTPUT_FAULTS: dict[str, tuple[Callable[[Path], Path], Refused]] = {
    "a file": (_file, Refused(2, "output", "must be a folder")),
    "below a file": (_below_a_file, Refused(2, "output", "must be a folder")),
    "of other files": (_full, Refused(2, "output", "")),
    "of another job": (_of_another_job, Refused(2, "output", "")),
    "where none can be made": (lambda _: Path("/proc/nothing"), Refused(1, "storage", "No such file or directory")),
}


@pytest.mark.parametrize("fault", OUTPUT_FAULTS)
@pytest.mark.parametrize("command", reading(OUTPUT))
def test_output(refuse, scene: Scene, tmp_path: Path, command: str, fault: str) -> None:  # type: ignore[no-untyped-def]
    if command == "demo" and fault in ("of other files", "of another job"):
        return  # it writes to folders of its own beside them
    make, expected = OUTPUT_FAULTS[fault]
    place = str(make(tmp_path))
    before = contents(tmp_path)
    refuse(line(command, scene, output=place), expected, place)
    assert contents(tmp_path) == before


def test_output_in_the_bundle(refuse, scene: Scene, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "link").symlink_to(scene.bundle)
    before = contents(Path(scene.bundle))
    for command in reading(BUNDLE):
        if OUTPUT in PLACES[command].values():
            words = line(command, scene, output=f"{tmp_path}/link/a/b")
            refuse(words, Refused(2, "output", "--output must not lie in the bundle, got "), f"{tmp_path}/link/a/b")
    assert contents(Path(scene.bundle)) == before


@pytest.mark.parametrize("command", PLACES)
def test_options(refuse, scene: Scene, tmp_path: Path, command: str) -> None:  # type: ignore[no-untyped-def]
    wrong = Refused(2, "options", f"; `vae {command} --help` explains its options")
    right = line(command, scene)
    if command != "demo":  # which needs none
        refuse([command], wrong, "must be given")
    refuse([*right, "--no-such-option"], wrong, "unknown argument --no-such-option")
    if command in NUMBERS:
        refuse([*right, NUMBERS[command], "many"], wrong, "number, got many")
        refuse([*right, NUMBERS[command]], wrong, "must have a value, got none")
    empty = Refused(2, "options|bundle|run|input", "got an empty one")
    for what in PLACES[command].values():
        refuse(line(command, scene, **{what: ""}), empty, "a path must name")
    assert contents(tmp_path) == {}


class _Refuses(BaseHTTPRequestHandler):
    """An object store that accepts no credentials."""

    def _refuse(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST = _refuse

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")


@pytest.fixture(scope="module")
def forbidden() -> Iterator[str]:
    """The address of a folder on an object store that accepts no credentials."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"s3://bucket/a?endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("command", "what"), [(command, what) for command, places in PLACES.items() for what in places.values()]
)
def test_credentials_that_are_not_accepted(
    refuse, scene: Scene, keys: None, forbidden: str, command: str, what: str
) -> None:  # type: ignore[no-untyped-def]
    refuse(line(command, scene, **{what: forbidden}), Refused(1, "storage", "ACCESS_DENIED"), forbidden)


def test_a_storage_that_does_not_answer(refuse, scene: Scene, keys: None) -> None:  # type: ignore[no-untyped-def]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    closed = f"s3://bucket/a?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    refuse(line("inspect", scene, bundle=closed), Refused(1, "storage", "NETWORK_CONNECTION"), closed)


# Each makes the next write to a disk fail, and returns what mends it.


def _read_only(disk: Path) -> Callable[[], object]:
    remount(disk, "ro")
    return lambda: remount(disk, "rw")


def _without_inodes(disk: Path) -> Callable[[], object]:
    made = []
    with suppress(OSError):
        while True:
            (disk / f"{len(made)}").touch()
            made.append(disk / f"{len(made)}")
    return lambda: [path.unlink() for path in made]


def _without_room(disk: Path) -> Callable[[], object]:
    fill(disk / "ballast")
    return (disk / "ballast").unlink


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_read_only, "Read-only file system"),
        (_without_inodes, "No space left on device"),
        (_without_room, "No space left on device"),
    ],
)
def test_a_disk_that_cannot_be_written(refuse, scene: Scene, tmp_path: Path, spoil, reason: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", "size=1m,nr_inodes=64") as disk:
        mend = spoil(disk)
        before = contents(disk)
        for command in reading(OUTPUT):
            output = str(disk / command)
            refuse(
                line(command, scene, output=output),
                Refused(1, "storage", f"cannot write to {output}: {reason}; fix this and rerun"),
                output,
            )
        assert contents(disk) == before
        mend()
        for command in ("prepare", "score", "sample"):
            cli.main([*line(command, scene, output=str(disk / command)), "--quiet"])
            assert (disk / command / "summary.json").exists()


_CHILD = """
import contextlib, io, json, sys
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None
from jobs.program import cli
for words in json.load(sys.stdin):
    said, code = io.StringIO(), 0
    try:
        with contextlib.redirect_stderr(said):
            cli.main([*words, "--quiet", "--log-format", "json"])
    except SystemExit as stop:
        code = stop.code
    print(json.dumps([code, said.getvalue()]))
"""


def in_child(lines: list[list[str]], *prefix: str, missing: tuple[str, ...] = ()) -> list[tuple[int, dict[str, str]]]:
    """The exit code and the error of each command line, run in a child process without some packages."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", _CHILD, json.dumps(missing)],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    endings = [json.loads(each) for each in done.stdout.splitlines()]
    return [(code, json.loads(said)) for code, said in endings]


def test_places_without_permission(scene: Scene, tmp_path: Path) -> None:
    prefix = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read and write everything without setpriv")
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    places = {
        IMAGES: Path(shutil.copy(scene.images, tmp_path)),
        BUNDLE: Path(shutil.copytree(scene.bundle, tmp_path / "bundle")),
        RUN: Path(shutil.copytree(scene.run, tmp_path / "run")),
        OUTPUT: tmp_path / "locked" / "out",
    }
    places[OUTPUT].parent.mkdir()
    locked = [places[IMAGES], places[BUNDLE], places[RUN], places[OUTPUT].parent]
    cells = [(command, what) for command, each in PLACES.items() for what in each.values()]
    for path in locked:
        path.chmod(0o500 if path == places[OUTPUT].parent else 0)
    try:
        endings = in_child([line(command, scene, **{what: str(places[what])}) for command, what in cells], *prefix)
    finally:
        for path in locked:
            path.chmod(0o700)
    for (command, what), (code, event) in zip(cells, endings, strict=True):
        # A file among others that cannot be read would not stop the job.
        assert (code, event["kind"]) == ((2, "input") if what == IMAGES else (1, "storage")), event
        assert event["job"] == command
        assert f"{places[what]}" in event["message"]
        assert "Permission denied" in event["message"]
    assert not any(places[OUTPUT].parent.iterdir())


@pytest.mark.parametrize(
    ("missing", "needing"),
    [
        (("onnxruntime",), {"calibrate": "onnxruntime", "score": "onnxruntime", "sample": "onnxruntime"}),
        (("torch",), {"train": "torch", "export": "torch", "find": "torch", "demo": "torch"}),
        (("ray",), {"prepare": "ray", "score": "ray"}),
    ],
)
def test_a_package_that_is_missing(scene: Scene, missing: tuple[str, ...], needing: dict[str, str]) -> None:
    lines = [
        [*line(command, scene), *(["--engine", "ray"] if package == "ray" else [])]
        for command, package in needing.items()
    ]
    for (command, package), (code, event) in zip(needing.items(), in_child(lines, missing=missing), strict=True):
        assert (code, event["kind"]) == (2, "installation"), event
        assert event["message"].startswith(f"`vae {command}` needs {package}, which is not installed; run pip install")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 ([Errno 111] Connection refused)"),
        ("http://127.0.0.1:8265", "must be auto or HOST:PORT"),
        ("nowhere", "cannot reach the Ray cluster at nowhere ("),
    ],
)
def test_a_cluster_that_is_not_there(
    refuse, scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, said: str
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("RAY_ADDRESS", address)
    for command in ("prepare", "train", "score", "evaluate", "find", "sample"):
        refuse(line(command, scene), Refused(2, "options", said), address)
        shutil.rmtree(scene.output, ignore_errors=True)


def test_find_leaves_out_its_own_output(refuse, scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "photos").mkdir()
    shutil.copy(scene.images, tmp_path / "photos")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # so that it ends once it has begun
    words = line("find", scene, images=str(tmp_path / "photos"), output=str(tmp_path / "photos" / "found"))
    not_there = Refused(2, "options", "no Ray cluster answers")
    refuse(words, not_there, "127.0.0.1:1")
    assert (tmp_path / "photos" / "found" / "plan.json").exists()
    shutil.copytree(tmp_path / "photos", tmp_path / "packed")  # as the job itself would write
    shutil.move(tmp_path / "packed", tmp_path / "photos" / "found")
    refuse(words, not_there, "127.0.0.1:1")
    clean = Refused(2, "output", "the files of the model would count as clean images")
    refuse([*words, "--clean", str(tmp_path / "photos")], clean, "--output must lie outside")
