"""When a message may run, by a header of its sender: `leveret-delay`, `leveret-run-at` or the delayed-message plugin's `x-delay`.

A duration counts from `now`, when a consumer takes the message, so it is never too short, whatever clock its sender has.
"""

import contextlib
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from leveret.durations import parse_duration
from leveret.wire import DELAY, PLUGINS_DELAY, RUN_AT, time_of

LATEST = timedelta(days=366)  # ahead
_LONGEST = 100  # characters
_NAMES = frozenset({DELAY, RUN_AT, PLUGINS_DELAY})
_WHOLE = re.compile(r"-?[0-9]+")


def not_before(headers: Mapping[str, object], now: datetime) -> datetime | None:
    """Return when a message may run, None if that is now; raise ValueError with a sentence for what nobody can mean."""
    if _NAMES.isdisjoint(headers):  # nearly all, and each message is asked
        return None
    given = [name for name in _READ if headers.get(name) is not None]
    if not given:
        return None
    if len(given) > 1:
        raise ValueError(f"the headers {' and '.join(given)} are all there; send one of them")
    (name,) = given
    value = headers[name]
    read, form = _READ[name]
    too_far = ValueError(f"the header {name} is {_said(value)}, and a job can wait for {LATEST.days} days at most")
    try:
        at = read(value, now)
        if at is not None and at - now > LATEST:
            raise too_far
    except OverflowError:
        raise too_far from None
    except (TypeError, ValueError) as problem:
        if problem is too_far:
            raise
        raise ValueError(f"the header {name} is {_said(value)}, and must be {form}") from None
    return at if at is not None and at > now else None


def _delay(value: object, now: datetime) -> datetime | None:
    text = _text(value).strip()
    if text.startswith("-"):
        with contextlib.suppress(OverflowError):
            parse_duration(text[1:])
        return None
    return now + parse_duration(text)


def _run_at(value: object, _: datetime) -> datetime:
    at = time_of(_text(value))
    if at is None:
        raise ValueError
    return at


def _milliseconds(value: object, now: datetime) -> datetime | None:
    if isinstance(value, str) and _WHOLE.fullmatch(_text(value)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return now + timedelta(milliseconds=math.ceil(value)) if value > 0 or math.isnan(value) else None


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise TypeError
    return value


def _said(value: object) -> str:
    return repr(value if not isinstance(value, str) else value[:_LONGEST])[:_LONGEST]


_READ: dict[str, tuple[Callable[[object, datetime], datetime | None], str]] = {
    DELAY: (_delay, "a duration as a text: a number and one of ms, s, m, h, such as 90s"),
    RUN_AT: (_run_at, "a time with an offset as a text, such as 2026-11-29T12:00:00.250Z"),
    PLUGINS_DELAY: (_milliseconds, "a number of milliseconds, such as 90000"),
}
