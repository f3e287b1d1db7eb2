"""What a process frees, it keeps: memory that is allocated again is not zeroed by the system again."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from vae_core.memory import keep_freed_memory

def faults():  # by ten times 16 MB, one after the other, each page touched
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(4 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
if not keep_freed_memory():
    sys.exit(3)
faults()
print(usual, faults())
"""


def test_memory_is_kept() -> None:
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    usual, kept = map(int, done.stdout.split())
    assert kept < usual / 10
