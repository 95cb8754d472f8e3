"""How much a consumer holds: the numbers, when they change, and the time that the broker is asked for."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret_consumer.prefetch import (
    LastMinute,
    Prefetch,
    Prefetching,
    best_prefetch,
    consider,
    consumer_timeout,
    most_prefetch,
)

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


ANY = 10_000  # as many as bodies of no size allow


def test_more_is_held_at_once_where_it_is_wrong_by_a_factor_of_two() -> None:
    assert consider(Prefetch(10), 19, ANY, 0) == Prefetch(10)
    assert consider(Prefetch(10), 20, ANY, 0) == Prefetch(20)


def test_less_is_held_once_it_was_wrong_by_a_factor_of_two_for_30_seconds() -> None:
    held = Prefetch(20)
    for now in range(100, 130):
        held = consider(held, 10, ANY, now)
        assert held.count == 20
    assert consider(held, 10, ANY, 130) == Prefetch(10)


def test_a_moment_of_something_else_begins_the_30_seconds_anew() -> None:
    held = consider(consider(Prefetch(40), 10, ANY, 0), 21, ANY, 29)
    assert held == Prefetch(40)
    held = consider(held, 10, ANY, 30)
    assert consider(held, 10, ANY, 59).count == 40
    assert consider(held, 10, ANY, 60) == Prefetch(10)


def test_large_bodies_count_at_once_whatever_the_run_time_wants() -> None:
    assert consider(Prefetch(310), 310, 18, 0) == Prefetch(18)
    assert consider(Prefetch(310), None, 18, 0) == Prefetch(18)
    assert consider(Prefetch(18), 310, 18, 1) == Prefetch(18)
    assert consider(Prefetch(18), 310, 310, 2) == Prefetch(310)


def test_nothing_changes_while_nothing_is_known() -> None:
    held = consider(Prefetch(310), 10, ANY, 0)
    held = consider(held, None, ANY, 29)
    assert consider(held, None, ANY, 1000) == Prefetch(310)


@given(slots_s, seconds_s, st.lists(st.floats(0.1, 20), max_size=60))
def test_a_constant_load_changes_it_at_most_once(slots: int, run_seconds: float, waits: list[float]) -> None:
    held, now, seen = Prefetch(slots), 0.0, [slots]
    for wait in waits:
        now += wait
        held = consider(held, best_prefetch(slots, run_seconds), 11_000, now)
        if held.count != seen[-1]:
            seen.append(held.count)
    assert len(seen) <= 2
    assert seen[-1] in (slots, best_prefetch(slots, run_seconds))


@given(slots_s, st.lists(st.tuples(st.one_of(st.none(), seconds_s), st.integers(0, 400), st.floats(0.1, 100))))
def test_it_is_never_above_what_bodies_allow_and_otherwise_only_changes_twofold(
    slots: int, looks: list[tuple[float | None, int, float]]
) -> None:
    held, now = Prefetch(slots), 0.0
    for run_seconds, more, wait in looks:
        now += wait
        wants = None if run_seconds is None else best_prefetch(slots, run_seconds)
        after = consider(held, wants, slots + more, now)
        assert slots <= after.count <= slots + more
        if after.count != held.count <= slots + more:
            assert after.count == min(wants or 0, slots + more)
            assert max(after.count, held.count) >= 2 * min(after.count, held.count)
        held = after


MIB = 2**20
BODIES = [
    pytest.param(None, 16, id="not seen: as large as the chart's broker takes"),
    pytest.param(0, 32 * MIB, id="empty"),
    pytest.param(100, 32 * MIB // 128, id="far more than are ever wanted"),
    pytest.param(MIB // 8 - 1, 256, id="the next power of two"),
    pytest.param(MIB // 8, 256, id="a power of two"),
    pytest.param(2 * MIB, 16, id="2 MiB"),
    pytest.param(4 * MIB, 8, id="4 MiB"),
    pytest.param(4 * MIB + 1, 4, id="a byte more"),
    pytest.param(100 * MIB, 0, id="larger than all that may be held: the slots alone"),
]


@pytest.mark.parametrize(("largest", "extra"), BODIES)
def test_what_is_held_beyond_the_slots_is_bounded_in_bytes(largest: int | None, extra: int) -> None:
    assert most_prefetch(10, largest) == 10 + extra


@given(st.integers(1, 86_400), slots_s, st.integers(1, 11_000))
def test_the_last_delivery_has_time_to_run_after_all_before_it(seconds: int, slots: int, prefetch: int) -> None:
    timeout = timedelta(seconds=seconds)
    before_it = math.ceil(prefetch / slots) * timeout
    assert consumer_timeout(timeout, slots, prefetch) >= before_it + timeout + timedelta(seconds=60)


def test_a_short_job_has_as_long_as_the_broker_gives_by_itself() -> None:
    assert consumer_timeout(timedelta(seconds=30), 10, 310) == timedelta(minutes=30)
    assert consumer_timeout(timedelta(hours=1), 10, 10) == timedelta(hours=2, minutes=1)


def test_the_mean_is_of_what_ended_in_the_last_minute() -> None:
    minute = LastMinute()
    assert minute.mean() is None
    minute.note(0, 0, 0.0, busy=0)
    minute.note(1, 100, 10.0, busy=1)
    assert minute.mean() == pytest.approx(0.1)
    for now in range(2, 62):
        minute.note(now, 100, 10.0, busy=0)
    minute.note(62, 102, 20.0, busy=1)
    assert minute.mean() == pytest.approx(5.0), "the hundred short ones ended too long ago"


def test_of_short_jobs_between_long_ones_the_mean_counts_the_long_ones_that_still_run() -> None:
    minute = LastMinute()
    minute.note(0, 0, 0.0, busy=0)
    minute.note(0.5, 5, 0.005, busy=10)
    assert minute.mean() == pytest.approx(1.0), "10 slots were busy for 0.5 s, and 5 attempts have ended"


def test_jobs_that_do_not_end_take_at_least_as_long_as_they_ran() -> None:
    minute = LastMinute()
    for now in range(100):
        minute.note(now, 7, 1.0, busy=1)
    assert (minute.mean(), minute.running_for()) == (None, pytest.approx(60.0))


def test_nothing_is_known_of_an_idle_consumer() -> None:
    minute = LastMinute()
    for now in range(10):
        minute.note(now, 7, 1.0, busy=int(now == 3))
    assert (minute.mean(), minute.running_for(), minute.largest()) == (None, None, None)


class Story:
    """A process with 10 slots, which is asked every half second."""

    def __init__(self) -> None:
        self.of = Prefetching(10, timedelta(seconds=30), has_source=False)
        self.now, self.attempts, self.run_seconds = 0.0, 0, 0.0
        self.ask()

    def ask(self, *, ended: int = 0, each: float = 0.0, busy: int = 0, body: int | None = None) -> int:
        self.attempts, self.run_seconds = self.attempts + ended, self.run_seconds + ended * each
        if body is not None:
            self.of.came(body)
            self.of.came(1)
        held = self.of.own_queue(self.now, self.attempts, self.run_seconds, busy=busy).prefetch
        self.now += 0.5
        return held

    def busy_for(self, seconds: float, busy: int = 10) -> int:
        return [self.ask(busy=busy) for _ in range(round(2 * seconds))][-1]


def test_a_cold_process_holds_what_it_needs_at_the_first_look_after_its_first_jobs() -> None:
    story = Story()
    assert story.ask(ended=400, each=0.002, body=100) == 310


def test_a_new_process_begins_with_the_run_time_that_it_was_told_as_far_as_bodies_it_has_not_seen_allow() -> None:
    story = Story()
    story.of.told(0.001)
    assert story.ask() == 26
    assert story.ask(body=100) == 310
    assert story.ask(ended=1, each=60.0, body=100) == 310
    assert story.busy_for(30) == 10, "what is told counts no more once something has ended here"


def test_what_it_was_told_before_its_first_job_ended_does_not_hold_against_what_it_sees() -> None:
    story = Story()
    story.of.told(60.0)
    assert story.ask() == 10
    assert story.ask(ended=400, each=0.002, body=100) == 310


def test_long_jobs_never_raise_it_though_at_first_they_have_not_run_for_long() -> None:
    story = Story()
    assert [story.ask(busy=10, body=100) for _ in range(200)] == [10] * 200


def test_it_is_kept_while_nothing_runs_and_over_a_lost_connection() -> None:
    story = Story()
    story.ask(ended=400, each=0.002, body=100)
    assert story.busy_for(100, busy=0) == 310
    story.now += 3600
    assert story.ask() == 310


def test_one_large_body_lowers_it_at_once_for_a_minute() -> None:
    story = Story()
    assert story.ask(ended=400, each=0.002, body=100) == 310
    assert story.ask(ended=400, each=0.002, body=4 * MIB) == 18
    held = [story.ask(ended=400, each=0.002, body=100) for _ in range(140)]
    assert held == [18] * 120 + [310] * 20
