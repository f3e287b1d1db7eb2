"""Shared fixtures: data, a bundle, and a Ray cluster."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before anything imports Ray: fast start-up, and workers that can import the modules beside the tests.
TESTS = Path(__file__).parent
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(TESTS.parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ.pop("RAY_ADDRESS", None)
# With a token left in the home directory by another Ray, the nodes of a test cluster would reject each other.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # or workers starve beside other load
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")  # five seconds do not suffice beside other load
if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes of the suite share the cores. OpenMP's threads would spin while they wait for each other, and a test of
    # five seconds takes eighty.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell, which makes processes ignore Ctrl-C: those that tests start must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = [path for path in (str(TESTS.parent), str(TESTS)) if path not in sys.path]

import pytest  # noqa: E402

from small_disks import mounted  # noqa: E402

SHARED_DATA = TESTS.parents[1] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    # Ray Data warns about its own options when it creates its context.
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:ray.data.context")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets (../shared/data) are not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a small trained model; see `bundles`. Do not modify it."""
    pytest.importorskip("torch")
    from bundles import contents
    from export.bundle.format import write_bundle
    from export.storage import Folder

    path = tmp_path_factory.mktemp("bundle")
    write_bundle(Folder.at(path), *contents())
    return path


@pytest.fixture(scope="session")
def labelled_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with classes of `labelled`. Do not modify it."""
    pytest.importorskip("torch")
    from labelled import write

    path = tmp_path_factory.mktemp("labelled")
    write(str(path))
    return path


@pytest.fixture(scope="session")
def _ray_session() -> Iterator[None]:
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=500_000_000,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 256 KiB."""
    with mounted(tmp_path) as folder:
        yield folder


@pytest.fixture
def ray_cluster(_ray_session: None) -> Iterator[None]:
    """One local cluster of 4 CPUs for the session; a test's changes to the DataContext are undone."""
    from ray.data import DataContext

    context = DataContext.get_current()
    before: dict[str, Any] = dict(vars(context))
    yield
    vars(context).clear()
    vars(context).update(before)
