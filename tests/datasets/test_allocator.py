"""Memory that stays with a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

STEP = """
import resource, sys
from datasets.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
import numpy
faults = []
for _ in range(24):
    numpy.full(2**23, 1.0)  # 64 MB, more than glibc keeps by itself
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[15])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_was_freed_is_not_faulted_in_again() -> None:
    """Eight arrays of 16,384 pages each, after some that found their places."""
    # Huge pages would be few faults.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMPY_MADVISE_HUGEPAGE": "0"}
    found = {}
    for how in ("keep", "return"):
        done = subprocess.run([sys.executable, "-c", STEP, how], env=environment, capture_output=True, check=True)
        found[how] = int(done.stdout)
    assert found["return"] > 8 * 16_000
    assert found["keep"] < 16_384
