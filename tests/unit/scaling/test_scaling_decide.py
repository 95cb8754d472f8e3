"""The scaling rule: stories with a moving clock, tables, and properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.scaling.decide import Decision, Observation, Policy, Reason, Want, decide

START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy(0, 10, backlog_per_replica=50, stabilization=timedelta(seconds=60), zero_after=timedelta(seconds=30))


def seen_at(
    second: float,
    replicas: int,
    backlog: int | None,
    *,
    at_least: int = 0,
    empty_since: datetime | None = None,
    source: int = 0,
) -> Observation:
    return Observation(START + timedelta(seconds=second), replicas, backlog, at_least, empty_since, source)


class Story:
    """One queue over time: say what is seen, expect what is written."""

    def __init__(self, policy: Policy = POLICY, replicas: int = 0) -> None:
        self.policy, self.second, self.replicas = policy, 0, replicas
        self.wants: tuple[Want, ...] = (Want(START, replicas),)
        self.empty_since: datetime | None = START

    def sees(self, backlog: int | None, *, after: int = 1, proven: bool = True) -> Decision:
        self.second += after
        if backlog != 0 or not proven:
            self.empty_since = None
        elif self.empty_since is None:
            self.empty_since = START + timedelta(seconds=self.second)
        seen = seen_at(self.second, self.replicas, backlog, empty_since=self.empty_since)
        decision = decide(self.policy, seen, self.wants)
        self.replicas, self.wants = decision.replicas, decision.wants
        return decision


def test_a_burst_is_answered_in_one_step() -> None:
    decision = Story().sees(5_000)
    assert (decision.replicas, decision.reason) == (10, Reason.MAX_REPLICAS)
    assert decision.message == "backlog 5,000 at 50 a replica wants 100, the maximum is 10"


def test_replicas_fall_to_the_most_wanted_within_the_window() -> None:
    story = Story()
    story.sees(500)
    assert story.sees(100, after=30).replicas == 10  # 30 s ago ten were wanted
    assert story.sees(100, after=31).replicas == 2  # 61 s ago: forgotten


def test_the_last_replica_waits_for_a_proven_zero() -> None:
    story = Story()
    story.sees(10)
    assert story.sees(0, after=61, proven=False).replicas == 1
    assert story.sees(0, after=61).replicas == 1  # proven since now
    decision = story.sees(0, after=61)
    assert (decision.replicas, decision.reason) == (0, Reason.PROVEN_ZERO)


def test_to_zero_the_window_and_the_proof_pass_side_by_side() -> None:
    story = Story(replace(POLICY, zero_after=timedelta(seconds=100)), replicas=4)
    story.sees(150)
    story.sees(0, after=10)
    assert story.sees(0, after=51).replicas == 1  # 61 s after three were wanted
    assert story.sees(0, after=48).replicas == 1  # empty for 99 s
    assert story.sees(0).replicas == 0


def test_an_idle_queue_at_zero_starts_nothing() -> None:
    story = Story()
    assert [story.sees(0, after=n).replicas for n in (1, 30, 60)] == [0, 0, 0]


def test_minimum_replicas_stay_though_the_queue_is_empty() -> None:
    story = Story(replace(POLICY, min_replicas=2), replicas=5)
    assert story.sees(0, after=61).replicas == 2
    assert story.sees(0, after=600).reason is Reason.MIN_REPLICAS


def test_a_new_memory_shrinks_nothing_before_the_window_is_over() -> None:
    story = Story(replicas=8)
    assert story.sees(50, after=59).replicas == 8
    assert story.sees(50, after=2).replicas == 1


def test_a_lowered_maximum_holds_at_once() -> None:
    story = Story()
    story.sees(500)
    story.policy = replace(POLICY, max_replicas=3)
    assert story.sees(500).replicas == 3


def test_the_window_does_not_run_out_while_nothing_is_known() -> None:
    story = Story()
    story.sees(500)
    for _ in range(5):
        assert story.sees(None, after=30).replicas == 10
    assert story.sees(50, after=30).replicas == 10  # known again: only now does the window begin to pass
    assert story.sees(50, after=61).replicas == 1


@pytest.mark.parametrize(
    ("replicas", "at_least", "expected"),
    [
        pytest.param(0, 0, 0, id="starts-none"),
        pytest.param(7, 0, 7, id="keeps-all"),
        pytest.param(2, 400, 8, id="rises-to-what-is-surely-there"),
        pytest.param(9, 5_000, 10, id="within-the-maximum"),
    ],
)
def test_an_unknown_backlog_takes_nothing_away(replicas: int, at_least: int, expected: int) -> None:
    decision = decide(POLICY, seen_at(0, replicas, None, at_least=at_least), ())
    assert (decision.replicas, decision.reason) == (expected, Reason.SIGNALS_STALE)


@pytest.mark.parametrize(
    ("backlog", "replicas", "reason"),
    [
        pytest.param(1, 1, Reason.BACKLOG, id="one-job"),
        pytest.param(50, 1, Reason.BACKLOG, id="just-one-replica"),
        pytest.param(51, 2, Reason.BACKLOG, id="one-more"),
        pytest.param(500, 10, Reason.BACKLOG, id="just-the-maximum"),
        pytest.param(501, 10, Reason.MAX_REPLICAS, id="above-the-maximum"),
    ],
)
def test_up_from_zero(backlog: int, replicas: int, reason: Reason) -> None:
    decision = decide(POLICY, seen_at(0, 0, backlog), ())
    assert (decision.replicas, decision.reason) == (replicas, reason)


@pytest.mark.parametrize(
    ("backlog", "source", "replicas"),
    [
        pytest.param(5_000, 5_000, 1, id="nothing-of-its-own"),
        pytest.param(5_001, 5_000, 2, id="one-job-of-its-own"),
        pytest.param(5_120, 5_000, 4, id="120-of-its-own"),  # 120 and 50 are 3.4 times 50
        pytest.param(120, 10, 3, id="fewer-than-one-replica-takes"),
    ],
)
def test_dead_letters_of_another_queue_ask_for_one_replica_at_most(backlog: int, source: int, replicas: int) -> None:
    decision = decide(POLICY, seen_at(0, 0, backlog, source=source), ())
    assert (decision.replicas, decision.reason) == (replicas, Reason.BACKLOG)
    known = seen_at(0, 0, None, at_least=backlog, source=source)
    assert decide(POLICY, known, ()).replicas == replicas


def test_the_message_says_why_dead_letters_ask_for_no_more() -> None:
    message = "backlog 5,020, of which 5,000 are dead letters of another queue and ask for one replica, at 50 a replica"
    assert decide(POLICY, seen_at(0, 0, 5_020, source=5_000), ()).message == f"{message} wants 2"


policies = st.builds(
    Policy,
    min_replicas=st.integers(0, 5),
    max_replicas=st.integers(5, 50),
    backlog_per_replica=st.integers(1, 200),
    stabilization=st.integers(0, 120).map(lambda seconds: timedelta(seconds=seconds)),
    zero_after=st.integers(0, 120).map(lambda seconds: timedelta(seconds=seconds)),
)
replica_counts = st.integers(0, 60)
backlogs = st.integers(0, 10_000)
pasts = st.lists(st.integers(0, 60), max_size=5).map(
    lambda numbers: tuple(Want(START - timedelta(seconds=len(numbers) - i), n) for i, n in enumerate(numbers))
)


def falling(wants: tuple[Want, ...]) -> tuple[Want, ...]:
    """As decide keeps them: the largest first."""
    kept: tuple[Want, ...] = ()
    for want in wants:
        kept = (*(old for old in kept if old.replicas > want.replicas), want)
    return kept


@given(policies, replica_counts, st.none() | backlogs, backlogs, pasts)
def test_the_bounds_hold(
    policy: Policy, replicas: int, backlog: int | None, at_least: int, past: tuple[Want, ...]
) -> None:
    decision = decide(policy, seen_at(0, replicas, backlog, at_least=at_least), falling(past))
    assert policy.min_replicas <= decision.replicas <= policy.max_replicas


@given(policies, replica_counts, backlogs, pasts)
def test_an_unknown_never_scales_down(policy: Policy, replicas: int, at_least: int, past: tuple[Want, ...]) -> None:
    decision = decide(policy, seen_at(0, replicas, None, at_least=at_least), falling(past))
    assert decision.replicas >= min(replicas, policy.max_replicas)


@given(policies, replica_counts, backlogs, backlogs, pasts)
def test_more_backlog_never_means_fewer_replicas(
    policy: Policy, replicas: int, one: int, other: int, past: tuple[Want, ...]
) -> None:
    less, more = (decide(policy, seen_at(0, replicas, n), falling(past)).replicas for n in sorted((one, other)))
    assert less <= more


@given(policies, backlogs, backlogs)
def test_a_source_never_asks_for_more_than_one_replica(policy: Policy, own: int, source: int) -> None:
    alone, both = (decide(policy, seen_at(0, 0, own + n, source=n), ()).replicas for n in (0, source))
    assert alone <= both <= alone + 1


@given(policies, replica_counts, backlogs, pasts, st.booleans())
def test_a_steady_backlog_is_never_answered_up_and_down(
    policy: Policy, replicas: int, backlog: int, past: tuple[Want, ...], proven: bool
) -> None:
    wants, written = falling(past), [replicas]
    for tick in range(260):
        empty_since = START if backlog == 0 and proven else None
        decision = decide(policy, seen_at(tick, written[-1], backlog, empty_since=empty_since), wants)
        wants = decision.wants
        written.append(decision.replicas)
    steps = [after - before for before, after in pairwise(written) if after != before]
    assert all(step > 0 for step in steps) or all(step < 0 for step in steps)


def test_one_unknown_look_does_not_begin_the_window_anew() -> None:
    story = Story()
    story.sees(500)
    story.sees(50, after=10)
    for _ in range(4):  # a reading of the broker's that misses now and then
        story.sees(None)
        story.sees(50, after=9)
    assert story.replicas == 10
    assert story.sees(50, after=14).replicas == 1  # 64 s after ten were wanted, of which 4 s are not counted


def test_a_fall_is_one_write_and_not_a_staircase() -> None:
    story = Story()
    written = [story.sees(backlog, after=2).replicas for backlog in (500, 450, 350, 250, 50)]
    written += [story.sees(50).replicas for _ in range(70)]
    assert [after for before, after in pairwise(written) if after != before] == [1]


def test_a_fall_that_goes_on_is_not_waited_for_for_longer_than_half_the_window() -> None:
    story = Story(replace(POLICY, backlog_per_replica=1, max_replicas=400))
    written = [story.sees(400 - second).replicas for second in range(360)]
    steps = [second for second, (before, after) in enumerate(pairwise(written)) if after != before]
    assert steps[0] <= 90
    assert all(29 <= after - before <= 31 for before, after in pairwise(steps))


def test_what_the_broker_has_not_written_yet_is_kept_without_any_window() -> None:
    policy = replace(POLICY, stabilization=timedelta(0))
    seen = replace(seen_at(10, 0, 500), written_by=START, unwritten=True)
    wants = decide(policy, seen, ()).wants
    for second, written, expected in ((11, 0, 10), (15, 9, 10), (20, 14, 1)):
        seen = replace(seen_at(second, 10, 50), written_by=START + timedelta(seconds=written))
        decision = decide(policy, seen, wants)
        wants = decision.wants
        assert decision.replicas == expected
    assert decision.reason is Reason.BACKLOG
