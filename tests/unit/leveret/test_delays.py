"""When a message may run, by its headers: whatever they are, it is a time ahead, now, or a sentence that says what is wrong."""

import contextlib
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.delays import LATEST, not_before
from leveret.wire import DELAY, PLUGINS_DELAY, RUN_AT, as_time

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)

READ: list[tuple[str, object, float | None]] = [
    (DELAY, "90s", 90),
    (DELAY, " 250ms ", 0.25),
    (DELAY, "1.5h", 5_400),
    (DELAY, "8784h", 366 * 86_400),
    (DELAY, "0s", None),
    (DELAY, "-5m", None),
    (DELAY, "-99999999999999999999h", None),
    (RUN_AT, "2026-09-01T12:01:30.250Z", 90.25),
    (RUN_AT, "2026-09-01T14:01:30+02:00", 90),
    (RUN_AT, "2026-09-01t12:01:30z", 90),
    (RUN_AT, "2026-09-01T12:00:00Z", None),
    (RUN_AT, "0001-01-01T00:00:00Z", None),
    (PLUGINS_DELAY, 90_000, 90),
    (PLUGINS_DELAY, 1, 0.001),
    (PLUGINS_DELAY, 0.5, 0.001),
    (PLUGINS_DELAY, "1500", 1.5),
    (PLUGINS_DELAY, 0, None),
    (PLUGINS_DELAY, -90_000, None),
    (PLUGINS_DELAY, -(1 << 63), None),
    (PLUGINS_DELAY, -math.inf, None),
    (DELAY, None, None),
    ("delay", "90s", None),
]


@pytest.mark.parametrize(("name", "value", "seconds"), READ, ids=str)
def test_what_can_be_read_is_a_time_ahead_or_now(name: str, value: object, seconds: float | None) -> None:
    assert not_before({name: value, "mine": 1}, NOON) == (
        None if seconds is None else NOON + timedelta(seconds=seconds)
    )


REFUSED: list[tuple[str, object, str]] = [
    *((DELAY, value, "a number and one of ms, s, m, h") for value in ("soon", "", "-", "90", "--5s", "1d", 90, b"90s", True, [])),
    (DELAY, "5s" + " " * 200, "a number and one of"),
    *((DELAY, value, "366 days at most") for value in ("8784.1h", "99999999999999999999h", "9" * 90 + "s")),
    *((RUN_AT, value, "a time with an offset") for value in ("tomorrow", "", "2026-09-01T12:01:30", "25:00", 1, NOON, {})),
    *((RUN_AT, value, "366 days at most") for value in ("2027-09-02T12:00:01Z", "9999-12-31T23:59:59Z")),
    *((PLUGINS_DELAY, value, "a number of milliseconds") for value in ("soon", "", "1.5", "1_000", "٣", True, b"5", Decimal(5))),
    (PLUGINS_DELAY, math.nan, "a number of milliseconds"),
    *((PLUGINS_DELAY, value, "366 days at most") for value in (366 * 86_400_000 + 1, (1 << 63) - 1, math.inf, "9" * 99)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "says"), REFUSED, ids=lambda value: str(value)[:20])
def test_what_can_not_be_read_is_told(name: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says) as told:
        not_before({name: value}, NOON)
    assert name in str(told.value)
    assert len(str(told.value)) < 300


def test_two_headers_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="leveret-delay and x-delay are all there"):
        not_before({PLUGINS_DELAY: 5, DELAY: "5s"}, NOON)


anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals()
)


@given(st.sampled_from([DELAY, RUN_AT, PLUGINS_DELAY]), anything)
def test_whatever_there_is(name: str, value: Any) -> None:
    at = None
    with contextlib.suppress(ValueError):
        at = not_before({name: value}, NOON)
    assert at is None or NOON < at <= NOON + LATEST


@given(st.timedeltas(timedelta(milliseconds=1), LATEST))
def test_none_is_early(wait: timedelta) -> None:
    assert not_before({RUN_AT: as_time(NOON + wait)}, NOON) in (
        None,
        NOON + wait - timedelta(microseconds=wait.microseconds % 1000),
    )
    ms = math.ceil(wait / timedelta(milliseconds=1))
    if timedelta(milliseconds=ms) <= LATEST:
        for headers in ({PLUGINS_DELAY: ms}, {DELAY: f"{ms}ms"}):
            at = not_before(headers, NOON)
            assert at is not None
            assert at - NOON >= wait
