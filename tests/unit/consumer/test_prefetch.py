"""How much a consumer holds: the numbers, when they change, and the time that the broker is asked for."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret_consumer.prefetch import Prefetch, RunTimes, best_prefetch, consider, consumer_timeout

WANTED = [
    pytest.param(10, 0.1, 20, id="10 × 0.1 s / 0.1 s = 10 extra"),
    pytest.param(10, 0.03, 44, id="10 × 0.1 s / 0.03 s = 33.3, rounded up"),
    pytest.param(10, 0.001, 310, id="1000 extra would be too many"),
    pytest.param(10, 0.0, 310, id="no time at all"),
    pytest.param(10, 0.7, 12, id="1.4, rounded up"),
    pytest.param(10, 1.0, 11, id="one"),
    pytest.param(10, 1.1, 10, id="less than one job ends in 0.1 s"),
    pytest.param(1, 3600.0, 1, id="long jobs hoard nothing"),
    pytest.param(10_000, 30.0, 10_034, id="many slots"),
]


@pytest.mark.parametrize(("slots", "run_seconds", "count"), WANTED)
def test_what_is_wanted_follows_from_slots_and_run_time(slots: int, run_seconds: float, count: int) -> None:
    assert best_prefetch(slots, run_seconds) == count


slots_s = st.integers(1, 10_000)
seconds_s = st.floats(0, 1e6)


@given(slots_s, seconds_s)
def test_it_is_slots_and_at_most_300_more(slots: int, run_seconds: float) -> None:
    assert slots <= best_prefetch(slots, run_seconds) <= slots + 300


@given(slots_s, seconds_s, seconds_s)
def test_shorter_jobs_never_want_less(slots: int, one: float, other: float) -> None:
    shorter, longer = sorted((one, other))
    assert best_prefetch(slots, shorter) >= best_prefetch(slots, longer)


def test_it_changes_once_it_was_wrong_by_a_factor_of_two_for_30_seconds() -> None:
    held = Prefetch(10)
    for now in range(100, 130):
        held = consider(held, 20, now)
        assert held.count == 10
    assert consider(held, 20, 130) == Prefetch(20)


def test_a_moment_of_something_else_begins_the_30_seconds_anew() -> None:
    held = consider(consider(Prefetch(10), 40, 0), 19, 29)
    assert held == Prefetch(10)
    held = consider(held, 40, 30)
    assert consider(held, 40, 59).count == 10
    assert consider(held, 40, 60) == Prefetch(40)


def test_too_much_and_too_little_are_two_things() -> None:
    held = consider(consider(Prefetch(40), 80, 0), 20, 20)
    assert consider(held, 20, 49).count == 40
    assert consider(held, 20, 50) == Prefetch(20)


def test_nothing_changes_while_nothing_is_known() -> None:
    held = consider(Prefetch(310), 10, 0)
    held = consider(held, None, 29)
    assert consider(held, None, 1000) == Prefetch(310)


@given(slots_s, seconds_s, st.lists(st.floats(0.1, 20), max_size=60))
def test_a_constant_load_changes_it_at_most_once(slots: int, run_seconds: float, waits: list[float]) -> None:
    held, now, seen = Prefetch(slots), 0.0, [slots]
    for wait in waits:
        now += wait
        held = consider(held, best_prefetch(slots, run_seconds), now)
        if held.count != seen[-1]:
            seen.append(held.count)
            assert now >= 30
    assert len(seen) <= 2
    assert seen[-1] in (slots, best_prefetch(slots, run_seconds))


@given(slots_s, st.lists(st.tuples(st.one_of(st.none(), seconds_s), st.floats(0.1, 100)), max_size=60))
def test_it_only_takes_values_that_were_wanted_and_differ_twofold(
    slots: int, looks: list[tuple[float | None, float]]
) -> None:
    held, now = Prefetch(slots), 0.0
    for run_seconds, wait in looks:
        now += wait
        wants = None if run_seconds is None else best_prefetch(slots, run_seconds)
        after = consider(held, wants, now)
        if after.count != held.count:
            assert after.count == wants
            assert max(after.count, held.count) >= 2 * min(after.count, held.count)
        held = after


@given(st.integers(1, 86_400), slots_s, st.integers(1, 11_000))
def test_the_last_delivery_has_time_to_run_after_all_before_it(seconds: int, slots: int, prefetch: int) -> None:
    timeout = timedelta(seconds=seconds)
    before_it = math.ceil(prefetch / slots) * timeout
    assert consumer_timeout(timeout, slots, prefetch) >= before_it + timeout + timedelta(seconds=60)


def test_a_short_job_has_as_long_as_the_broker_gives_by_itself() -> None:
    assert consumer_timeout(timedelta(seconds=30), 10, 310) == timedelta(minutes=30)
    assert consumer_timeout(timedelta(hours=1), 10, 10) == timedelta(hours=2, minutes=1)


def test_the_mean_is_of_what_ended_in_the_last_minute() -> None:
    times = RunTimes()
    assert times.mean() is None
    times.note(0, 0, 0.0, busy=False)
    times.note(1, 100, 10.0, busy=True)
    assert times.mean() == pytest.approx(0.1)
    for now in range(2, 62):
        times.note(now, 100, 10.0, busy=True)
    times.note(62, 102, 20.0, busy=True)
    assert times.mean() == pytest.approx(5.0), "the hundred short ones ended too long ago"


def test_jobs_that_do_not_end_take_at_least_as_long_as_they_ran() -> None:
    times = RunTimes()
    for now in range(100):
        times.note(now, 7, 1.0, busy=True)
    assert times.mean() == pytest.approx(60.0)


def test_nothing_is_known_of_an_idle_consumer() -> None:
    times = RunTimes()
    for now in range(10):
        times.note(now, 7, 1.0, busy=now == 3)
    assert times.mean() is None
