"""How the time of something grows with its size: a ratio, which holds on fast and busy machines alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

TIMES = 8  # how much larger the large one is
MOST = 30.0  # times as long it may take: time that grows with the square takes 64 times, n log n about 10


def growth(prepared: Callable[[int], Callable[[], object]], small: int) -> float:
    """How many times as long a job of `TIMES` the size takes, in processor time; the least of two or three runs each.

    Args:
        prepared: makes the job of a size; making it is not timed.
        small: the size of the small job, large enough that it takes some milliseconds.
    """
    jobs = prepared(small), prepared(TIMES * small)
    jobs[0]()  # what is imported and built once is not of its size
    first, second = (min(_seconds(job) for _ in range(runs)) for job, runs in zip(jobs, (3, 2), strict=True))
    return second / first


def _seconds(job: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    job()
    return time.process_time() - start
