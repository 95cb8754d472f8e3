"""Numbers and times as a person reads them, and the ticks of an axis. Pure."""

import math
from datetime import UTC, datetime

from leveret.panels import Unit

COUNTED = (Unit.JOBS, Unit.PODS, Unit.SLOTS)
_ROUND_TIMES = (
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    14400.0,
    21600.0,
    43200.0,
    86400.0,
)
_TIMES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))
_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
MOST_TICKS = 4


def say(value: float | None, unit: Unit) -> str:
    """Return the value with its unit, in at most about ten characters; a dash when it is not known."""
    number = bare(value, unit)
    return f"{number} {unit}" if unit in (Unit.PER_SECOND, Unit.PER_MINUTE) and value is not None else number


def bare(value: float | None, unit: Unit) -> str:
    """Return the value for a place whose heading says the unit; only times carry theirs, because it varies."""
    if value is None:
        return "–"
    return _say_time(value) if unit is Unit.SECONDS else _say_number(value)


def y_ticks(most: float, unit: Unit) -> tuple[float, ...]:
    """Return from two to about five round values from 0 to at least `most`."""
    if not math.isfinite(most) or most <= 0:
        most = 1.0
    step = _round_up(most / MOST_TICKS)
    if unit in COUNTED and step != int(step):
        step = 5.0 if step == 2.5 else 1.0  # there is no half job
    if unit is Unit.SECONDS and step > 10:
        step = next((time for time in _ROUND_TIMES if time >= most / MOST_TICKS), step)
    return tuple(step * count for count in range(math.ceil(most / step - 1e-9) + 1))


def time_ticks(start: float, end: float) -> tuple[float, ...]:
    """Return at most eight round times within the window."""
    step = next((time for time in _ROUND_TIMES if time >= (end - start) / 8), _ROUND_TIMES[-1])
    first = math.ceil(start / step)
    return tuple(step * count for count in range(first, math.floor(end / step) + 1))


def clock(at: float, *, seconds: bool = False) -> str:
    """Return the time of day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S" if seconds else "%H:%M")


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= value * (1 - 1e-9))


def _say_number(value: float) -> str:
    for size, letter in _LARGE:
        if abs(value) >= size * (10 if letter == "k" else 1):  # 9,999 is written out, 10k is not
            return f"{_short(value / size)}{letter}"
    return f"{value:,.0f}" if abs(value) >= 100 else _short(value)


def _say_time(value: float) -> str:
    if value == 0:
        return "0 s"
    for size, name in _TIMES:
        if abs(value) >= size * (2 if size > 1 else 1):  # 90 s stays 90 s, 120 s is 2 min
            return f"{_short(value / size)} {name}"
    return "< 1 ms"


def _short(value: float) -> str:
    """Three figures, without trailing zeros."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    if 0 < abs(value) < 0.01:
        return f"{value:.1g}" if abs(value) >= 1e-4 else "≈0"
    return f"{value:.3g}"
