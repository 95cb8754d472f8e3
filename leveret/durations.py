"""Durations as people write them in a JobQueue and in JSON: `250ms`, `30s`, `10m`, `2h`.

One whole or decimal number and one unit. `format_duration` picks the largest unit that keeps the number whole, so that
what was parsed comes out as it went in.
"""

import re
from datetime import timedelta

_UNIT_MS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_FORM = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def parse_duration(text: str) -> timedelta:
    """Return the duration that the text names; raise ValueError with a sentence if it names none."""
    found = _FORM.fullmatch(text.strip())
    if not found:
        such_as = f"{text.strip()}s for seconds" if _NUMBER.fullmatch(text.strip()) else "250ms, 30s, 10m or 2h"
        raise ValueError(f"{text!r} is not a duration: write a number and one of ms, s, m, h, such as {such_as}")
    return timedelta(milliseconds=float(found[1]) * _UNIT_MS[found[2]])


def format_duration(duration: timedelta) -> str:
    """Return the shortest exact form, to the millisecond."""
    ms = round(duration / timedelta(milliseconds=1))
    for unit, size in _UNIT_MS.items():
        if ms >= size and ms % size == 0:
            return f"{ms // size}{unit}"
    return "0s"
