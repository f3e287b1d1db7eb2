"""A bundle that is opened and read."""

import subprocess
import sys
from pathlib import Path

import pytest

_THREADS = Path("/proc/self/task")
_PROGRAM = f"""
import sys
from pathlib import Path
import pyarrow.parquet
from export.bundle.format import Bundle

bundle = Bundle.open(sys.argv[1])
before = len(list(Path("{_THREADS}").iterdir()))
bundle.calibration
bundle.folder.read_table("calibration.parquet")
print(len(list(Path("{_THREADS}").iterdir())) - before)
"""


@pytest.mark.skipif(not _THREADS.is_dir(), reason="threads are counted by Linux")
def test_parquet_is_read_without_threads(bundle: Path) -> None:
    # Arrow's threads abort a process that ends while they start: exit code 134 instead of 2 after a wrong option.
    started = subprocess.run([sys.executable, "-c", _PROGRAM, str(bundle)], check=True, capture_output=True, text=True)
    assert int(started.stdout) == 0
