"""Hints and heartbeats, their ages, and the rates and burst counts made from them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from leveret.scaling.backlog import Depth
from leveret.scaling.decide import Policy
from leveret.scaling.demand import Beat, Demand, Hinted, Signals, assess, forget, hear_beat, hear_hint, silence
from leveret.scaling.memory import Memory, begin, look, not_empty_after_all
from leveret.scaling.rates import Meter, count, drain_seconds, rate

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


class Story:
    """One queue and what is said about it."""

    def __init__(self) -> None:
        self.signals: Signals = silence(START)

    def hint(self, second: float, committed: int, unconfirmed: int, *, producer: str = "p") -> None:
        said = Hinted(at(second), committed, unconfirmed, at(second))
        self.signals = hear_hint(self.signals, producer, said, at(second))

    def beat(self, second: float, in_flight: int, finished: int, consumer: str = "c") -> None:
        self.signals = hear_beat(self.signals, consumer, Beat(at(second), in_flight, finished), at(second))

    def sees(self, second: float, *, live: int | None = None, bulk: tuple[int, int] | None = (0, 0)) -> Demand:
        now = at(second)
        live_depth = None if live is None else Depth(now, live)
        bulk_depth = None if bulk is None else Depth(now, *bulk)
        demand, self.signals = assess(self.signals, live_depth, bulk_depth, replicas=0, now=now)
        return demand


def test_a_burst_that_moves_from_the_hint_to_the_broker_is_counted_once() -> None:
    story = Story()
    story.hint(0, 5_000, 5_000)
    assert story.sees(0.15, live=800).backlog.total == 5_000
    assert story.sees(1, live=4_000).backlog.total == 5_000
    assert story.sees(2, live=5_000).backlog.total == 5_000
    assert story.sees(5, live=1_000).backlog.total == 5_000  # taken: until the broker has written, they may all run
    assert story.sees(9, live=1_000).backlog.total == 1_000  # consumed: what once arrived is not unconfirmed again


def test_jobs_that_the_broker_counts_before_their_hint_arrives_are_counted_once() -> None:
    story = Story()
    story.hint(0, 2_000, 2_000, producer="a")
    story.hint(0, 1_000, 1_000, producer="b")
    assert story.sees(0.15, live=1_500).backlog.total == 3_000
    assert story.sees(0.5, live=4_000).backlog.total == 4_000  # a thousand that no hint has told of yet
    story.hint(0.6, 3_000, 1_500, producer="a")  # it was written before they were confirmed
    assert story.sees(0.7, live=4_000).backlog.total == 4_000
    story.hint(0.8, 2_000, 1_000, producer="b")
    assert story.sees(0.9, live=4_200).backlog.total == 5_000
    assert story.sees(1.5, live=5_000).backlog.total == 5_000


def test_what_others_publish_hides_a_burst_for_a_second_at_most() -> None:
    story = Story()
    story.sees(0, live=0)
    assert story.sees(1, live=900).backlog.total == 900  # over AMQP: no hint will come
    story.hint(2.5, 1_000, 1_000)
    assert story.sees(2.6, live=900).backlog.total == 1_900
    assert story.sees(3, live=1_800).backlog.total == 1_900


@pytest.mark.parametrize("before", [pytest.param(True, id="heard"), pytest.param(False, id="new")])
def test_what_a_producer_took_over_from_another_is_announced_as_well(before: bool) -> None:
    story = Story()
    if before:
        story.hint(0, 10, 0)
        story.sees(1)
    story.hint(2, 10 if before else 0, 3_000)
    assert story.sees(2.15, live=500).backlog.total == 3_000


def test_a_hint_counts_for_ten_seconds() -> None:
    story = Story()
    story.hint(0, 40, 40)
    assert story.sees(10).backlog.unconfirmed == 40
    assert story.sees(10.1).backlog.unconfirmed == 0


def test_the_oldest_version_is_that_of_the_consumers_that_are_heard() -> None:
    story = Story()
    assert story.sees(0).leveret_version is None
    told = {"old": (1, None), "a": (8, "0.3.0"), "b": (9, "0.2.0"), "foreign": (9, "none")}
    for consumer, (second, version) in told.items():
        story.signals = hear_beat(story.signals, consumer, Beat(at(second), 0, 0, version), at(second))
    seen = [story.sees(second).leveret_version for second in (9, 16, 16.1, 24.1)]
    assert seen == ["0.1.0", "0.1.0", "0.2.0", None]
    story.signals = hear_beat(story.signals, "b", Beat(at(30), 0, 0, "0.3.0"), at(30))
    assert story.sees(30).leveret_version == "0.3.0"


def test_each_producers_newest_hint_counts() -> None:
    story = Story()
    story.hint(0, 40, 40)
    story.hint(1, 40, 0)
    story.hint(1, 7, 7, producer="other")
    assert story.sees(1).backlog.unconfirmed == 7


def test_a_hint_is_something_even_where_the_broker_says_nothing() -> None:
    story = Story()
    story.hint(0, 40, 40)
    backlog = story.sees(1, bulk=None).backlog
    assert (backlog.total, backlog.at_least) == (None, 40)


def test_heartbeats_raise_what_bulk_has_not_seen_for_fifteen_seconds() -> None:
    story = Story()
    story.beat(0, in_flight=10, finished=0)
    assert story.sees(15).backlog.unacked == 10
    assert story.sees(15.1).backlog.unacked == 0


def test_signs_of_work() -> None:
    story = Story()
    assert story.sees(1).last_work is None
    story.hint(2, 0, 0)
    assert story.sees(2).last_work is None  # a hint that says nothing new
    story.hint(3, 5, 0)
    assert story.sees(3).last_work == at(3)
    story.beat(4, in_flight=0, finished=100)
    assert story.sees(4).last_work == at(3)  # the first heartbeat: finished before we listened
    story.beat(5, in_flight=0, finished=101)
    assert story.sees(5).last_work == at(5)
    assert story.sees(6, live=1).last_work == at(6)


def test_rates_come_from_differences() -> None:
    story = Story()
    story.hint(5, 1_000_000, 30)  # what was committed before we listened is not an arrival, but for what is unconfirmed
    story.hint(10, 1_000_120, 0)
    story.beat(5, 1, 500)
    story.beat(10, 1, 575)
    story.beat(12, 1, 75)  # the pod was restarted: it counts from 0
    demand = story.sees(15)
    assert demand.arrival_rate == pytest.approx(150 / 15)
    assert demand.completion_rate == pytest.approx(150 / 15)


def test_the_age_of_the_oldest_job() -> None:
    story = Story()
    story.hint(0, 5, 5)
    assert story.sees(4, live=5).oldest_age == 4
    assert story.sees(11, live=5).oldest_age is None


@pytest.mark.parametrize(
    ("second", "expected"),
    [pytest.param(4, None, id="too-young"), pytest.param(5, 10.0, id="5s"), pytest.param(20, 0.0, id="window-over")],
)
def test_a_meter(second: int, expected: float | None) -> None:
    meter = count(Meter(START), 50, at(3))
    assert rate(meter, at(second)) == expected


@pytest.mark.parametrize(
    ("backlog", "arrivals", "completions", "expected"),
    [
        pytest.param(100, 5.0, 15.0, 10.0, id="shrinks"),
        pytest.param(0, None, None, 0.0, id="empty"),
        pytest.param(100, 15.0, 15.0, None, id="stands"),
        pytest.param(None, 1.0, 2.0, None, id="unknown-backlog"),
        pytest.param(100, None, 2.0, None, id="unknown-arrivals"),
        pytest.param(100, 1.0, None, None, id="unknown-completions"),
    ],
)
def test_how_long_it_lasts(
    backlog: int | None, arrivals: float | None, completions: float | None, expected: float | None
) -> None:
    assert drain_seconds(backlog, arrivals, completions) == expected


POLICY = Policy(0, 10, 100, stabilization=timedelta(seconds=10), zero_after=timedelta(seconds=20))


def test_a_whole_life_from_the_last_job_to_zero_and_to_a_message_found_at_the_last_moment() -> None:
    memory: Memory = begin(3, START)
    replicas, written = 3, []
    for second in range(1, 60):
        bulk = Depth(at(second - second % 5), 0, 0)
        before = memory
        seen = look(POLICY, memory, (None, bulk), replicas=replicas, now=at(second))
        decision, memory = seen.decision, seen.memory
        if decision.replicas == 0 and second < 40:  # the last check finds a message
            decision, memory = not_empty_after_all(POLICY, memory, before, seen.observation)
        if decision.replicas != replicas:
            written.append((second, decision.replicas))
            replicas = decision.replicas
    # 10 s window; zeros read at 0 and 10 prove it from 0 on, 20 s later it is checked: a message. Zeros at 25 and 35
    # prove it from 25 on, and at 45 nothing is found.
    assert written == [(10, 1), (45, 0)]


def test_one_pod_that_takes_many_dead_letters_is_enough() -> None:
    memory: Memory = begin(0, START)
    written = []
    for second in range(12):
        now, moment = at(second), at(second - second % 5)  # the broker writes its numbers every 5 s
        if second >= 2:
            memory = replace(memory, signals=hear_beat(memory.signals, "c", Beat(now, 100, 20 * second), now))
        source = (Depth(now, 5_000), Depth(moment, 5_000, 0 if second < 5 else 100))
        seen = look(POLICY, memory, (Depth(now, 0), Depth(moment, 0, 0)), replicas=1, now=now, source=source)
        memory = seen.memory
        written.append(seen.decision.replicas)
    assert set(written) == {1}


def test_the_mean_run_time_is_of_about_the_last_thousand_attempts_and_is_kept() -> None:
    signals = silence(at(0))
    assert signals.runs.value is None
    story = [("a", 0, 0.0), ("a", 10, 20.0), ("b", 500, 900.0), ("a", 20, 40.0)]
    for consumer, finished, busy in story:
        signals = hear_beat(signals, consumer, Beat(at(1), 0, finished, busy_seconds=busy), at(1))
    assert signals.runs.value == pytest.approx(2.0), "what b did before it was heard is not known to be recent"
    signals = hear_beat(signals, "a", Beat(at(2), 0, 5, busy_seconds=10.0), at(2))
    assert signals.runs.value == pytest.approx(2.0), "a has started anew"
    signals = hear_beat(signals, "b", Beat(at(3), 0, 100_500, busy_seconds=910.0), at(3))
    assert signals.runs.value == pytest.approx(10.0 / 100_000, rel=6)
    signals = hear_beat(signals, "b", Beat(at(4), 0, 101_500, busy_seconds=1_910.0), at(4))
    assert signals.runs.value == pytest.approx(0.5, rel=0.01), "a thousand of 1 s beside a thousand of nearly none"
    assert forget(signals, at(1_000)).runs == signals.runs
