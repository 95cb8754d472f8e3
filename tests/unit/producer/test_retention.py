"""Which partitions are made and which are removed, and how long what is over is kept."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret_producer.retention.plan import (
    DAY,
    DAYS_AHEAD,
    TABLES,
    Create,
    Partition,
    Remove,
    Retention,
    ended_before,
    first_id,
    midnight,
    plan,
    removable_at,
)
from leveret_producer.settings import read_settings

NOON = datetime(2026, 5, 10, 12, 0, tzinfo=UTC)
times = st.datetimes(datetime(2024, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the bounds are naive
lengths = st.timedeltas(timedelta(hours=1), timedelta(days=366))


@st.composite
def retentions(draw: st.DrawFn) -> Retention:
    jobs = draw(lengths)
    return Retention(jobs, min(jobs, draw(lengths)), draw(lengths))


@st.composite
def situations(draw: st.DrawFn) -> tuple[datetime, frozenset[Partition], Retention]:
    now, retention = draw(times), draw(retentions())
    days = st.integers(-500, 20).map(lambda number: now.date() + number * DAY)
    there = draw(st.frozensets(st.builds(Partition, days, st.sampled_from(TABLES)), max_size=40))
    return now, there, retention


def _after(there: frozenset[Partition], now: datetime, retention: Retention) -> frozenset[Partition]:
    for action in plan(now, there, retention):
        there = there | {action.partition} if isinstance(action, Create) else there - {action.partition}
    return there


def test_an_installation_over_two_months() -> None:
    """Producers run, stand still for twenty days, and run again."""
    retention = Retention(jobs=timedelta(days=30), payloads=timedelta(days=7))
    there: frozenset[Partition] = frozenset()
    there = _after(there, NOON, retention)
    assert len(there) == 3 * (DAYS_AHEAD + 1)
    for day in range(1, 9):
        there = _after(there, NOON + day * DAY, retention)
    assert Partition(date(2026, 5, 10), "payloads") in there  # 7 days after the day's end, and one day more
    there = _after(there, NOON + 9 * DAY, retention)
    assert Partition(date(2026, 5, 10), "payloads") not in there
    assert Partition(date(2026, 5, 10), "jobs") in there
    there = _after(there, NOON + 29 * DAY, retention)
    assert Partition(date(2026, 6, 1), "jobs") not in there  # nobody made it then, and nobody needs it now
    assert Partition(date(2026, 5, 10), "attempts") in there
    there = _after(there, NOON + 32 * DAY, retention)
    assert {one.table for one in there if one.day == date(2026, 5, 10)} == set()
    assert {one.table for one in there if one.day == date(2026, 5, 11)} == {"jobs", "attempts"}


@given(situations())
def test_today_and_the_next_days_are_there_afterwards(
    situation: tuple[datetime, frozenset[Partition], Retention],
) -> None:
    now, there, retention = situation
    days = {now.date() + ahead * DAY for ahead in range(DAYS_AHEAD + 1)}
    assert {Partition(day, table) for day in days for table in TABLES} <= _after(there, now, retention)


@given(situations())
def test_nothing_is_removed_before_its_time_and_nothing_stays_after_it(
    situation: tuple[datetime, frozenset[Partition], Retention],
) -> None:
    now, there, retention = situation
    removed = {action.partition for action in plan(now, there, retention) if isinstance(action, Remove)}
    assert removed == {one for one in there if removable_at(one, retention) <= now}
    for one in removed:
        youngest = min(ended_before(one.day), now)  # what ended later than that stays
        assert now - youngest >= retention.of(one.table)


@given(situations())
def test_a_second_time_there_is_nothing_left_to_do(situation: tuple[datetime, frozenset[Partition], Retention]) -> None:
    now, there, retention = situation
    assert plan(now, _after(there, now, retention), retention) == []


@given(situations())
def test_of_a_day_the_jobs_go_last_and_the_oldest_day_first(
    situation: tuple[datetime, frozenset[Partition], Retention],
) -> None:
    now, there, retention = situation
    actions = plan(now, there, retention)
    removed = [action.partition for action in actions if isinstance(action, Remove)]
    assert removed == sorted(removed, key=lambda one: (one.day, one.table == "jobs", one.table))
    kinds = [isinstance(action, Remove) for action in actions]
    assert kinds == sorted(kinds)  # room for what comes is made first
    assert all(action.because for action in actions)


@given(times, st.integers(0, 2**80 - 1))
def test_an_id_is_in_the_partition_of_its_day(at: datetime, random_part: int) -> None:
    made = UUID(int=int(at.timestamp() * 1000) << 80 | random_part)
    first, end = Partition(at.date(), "jobs").bounds
    assert first <= made < end
    assert first_id(midnight(at.date())) == first


def test_the_settings_are_read() -> None:
    assert read_settings({}).retention == Retention()
    told = {
        "LEVERET_RETENTION_JOBS": "48h",
        "LEVERET_RETENTION_PAYLOADS": "90m",
        "LEVERET_RETENTION_DECISIONS": "8784h",
    }
    assert read_settings(told).retention == Retention(2 * DAY, timedelta(minutes=90), 366 * DAY)


BAD = {
    "no duration": ("LEVERET_RETENTION_JOBS", "30d", "'30d', and must be a duration, such as 720h"),
    "far too long": ("LEVERET_RETENTION_JOBS", "9" * 400 + "h", "must be a duration"),
    "too long": ("LEVERET_RETENTION_DECISIONS", "8785h", "must be from 1h to 8784h"),
    "too short": ("LEVERET_RETENTION_PAYLOADS", "720ms", "must be from 1h to 8784h"),
    "longer than its job": (
        "LEVERET_RETENTION_PAYLOADS",
        "721h",
        "LEVERET_RETENTION_JOBS is 720h: a payload goes with",
    ),
}


@pytest.mark.parametrize(("name", "text", "says"), BAD.values(), ids=BAD)
def test_a_retention_that_can_not_be_is_named(name: str, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=name) as refused:
        read_settings({name: text})
    assert says in str(refused.value)
