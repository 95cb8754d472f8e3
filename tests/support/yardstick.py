"""Bound what work costs by a fixed piece of work that is done beside it: a slow or busy machine slows both."""

import json
import time
from collections.abc import Callable

TRIES = 9
_APART = 0.2  # s between two tries, so that what slows one may be over by the next
_FIXED = json.dumps([{"id": i, "name": f"name {i}", "parts": [i, i / 7, None]} for i in range(2_000)])
_COMMON = 0.005  # s that it takes on a common machine at rest


def milliseconds(work: Callable[[], object], most: float) -> float:
    """Return the processor time that `work` takes, in ms of a common machine: the first reading of at most `most`, else the
    least of nine."""
    least = float("inf")
    for attempt in range(TRIES):
        if attempt:
            time.sleep(_APART)
        before = _seconds(_fixed)
        took = _seconds(work)
        slower = max(1.0, (before + _seconds(_fixed)) / 2 / _COMMON)
        least = min(least, took / slower * 1000)
        if least <= most:
            break
    return least


def _seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _fixed() -> None:
    for one in json.loads(_FIXED):
        one["told"] = f"{one['name']}: {sum(part for part in one['parts'] if part)}"
