"""What a step frees is there for the next one, and not asked of the system again."""

from __future__ import annotations

import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import numpy as np
from sterna import heap

kept = heap.keep() if sys.argv[1] == "keep" else None
assert kept in (None, True)
for step in range(6):
    if step == 2:
        begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    each = [np.ones(10_000_000, dtype=np.uint8) for _ in range(8)]
    del each
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def steps(how: str) -> tuple[int, int]:
    """Pages that four steps ask of the system, and the most memory in KiB that was held."""
    run = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    pages, most = map(int, run.stdout.split())
    return pages, most


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_pages_are_asked_for_once_and_no_more_memory_is_held() -> None:
    (often, plain), (once, kept) = steps("plain"), steps("keep")
    assert once < often / 10
    assert kept < 1.2 * plain
