"""How full a queue is, as one replica knows it between two observations."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret_producer.problems import Refused
from leveret_producer.queue_bound import BELIEVED_FOR, Length, QueueBound

START = datetime(2026, 1, 1, tzinfo=UTC)
QUEUE = "leveret.a"


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def seen(backlog: int | None, *, limit: int = 100, second: float = 0, rate: float | None = None) -> Length:
    return Length(limit, "a", backlog, at(second), rate)


def takes(bound: QueueBound, length: Length, jobs: int, second: float) -> bool:
    """Submit, as the front door does where the store takes it."""
    try:
        bound.admit(QUEUE, length, jobs, at(second))
    except Refused:
        return False
    bound.stored(QUEUE, jobs, at(second))
    return True


@pytest.mark.parametrize(
    ("length", "jobs", "second", "taken"),
    [
        pytest.param(seen(0), 100, 1, True, id="exactly-full"),
        pytest.param(seen(0), 101, 1, False, id="one-too-many"),
        pytest.param(seen(99), 1, 1, True, id="the-last-place"),
        pytest.param(seen(100), 1, 1, False, id="full"),
        pytest.param(seen(5_000), 1, 1, False, id="more-than-full"),
        pytest.param(seen(5_000), 0, 1, True, id="nothing-for-now"),
        pytest.param(seen(5_000), 1, 30, False, id="believed-to-the-last"),
        pytest.param(seen(5_000), 1, 30.1, True, id="too-old-to-be-believed"),
        pytest.param(seen(None), 500, 1, True, id="not-known"),
        pytest.param(Length(100, "a"), 500, 1, True, id="never-observed"),
    ],
)
def test_all_or_none(length: Length, jobs: int, second: float, taken: bool) -> None:
    assert takes(QueueBound(), length, jobs, second) is taken


def test_what_was_stored_since_the_observation_counts_until_the_next_one() -> None:
    bound, first = QueueBound(), seen(40)
    assert takes(bound, first, 50, 1)
    assert not takes(bound, first, 11, 2)
    assert takes(bound, first, 10, 2)
    later = seen(60, second=1.5)  # 30 of the 50 are done, and the 10 are not in it yet
    assert not takes(bound, later, 31, 3)
    assert takes(bound, later, 30, 3)


def test_what_is_being_stored_counts_and_what_came_to_nothing_does_not() -> None:
    bound, length = QueueBound(), seen(0)
    bound.admit(QUEUE, length, 90, at(1))
    assert not takes(bound, length, 20, 1)
    bound.not_stored(QUEUE, 90)
    assert takes(bound, length, 20, 1)


def test_what_is_stored_after_an_observation_is_not_in_it_though_it_came_before() -> None:
    bound = QueueBound()
    bound.admit(QUEUE, seen(0), 60, at(1))
    bound.stored(QUEUE, 60, at(3))
    assert not takes(bound, seen(0, second=2), 50, 4)


def test_a_small_queue_that_drains_fast_is_not_full() -> None:
    """100 places, 50 jobs a second come and 50 are finished: with an observation every 5 s, 250 come in between."""
    bound = QueueBound()
    assert all(takes(bound, seen(10, rate=50), 5, tenth / 10) for tenth in range(1, 50))
    bound = QueueBound()
    assert not all(takes(bound, seen(10, rate=None), 5, tenth / 10) for tenth in range(1, 50))


def test_a_full_queue_has_room_only_when_it_is_seen_to_have() -> None:
    assert not takes(QueueBound(), seen(100, rate=50), 1, 10)


def test_other_queues_are_another_matter() -> None:
    bound = QueueBound()
    assert takes(bound, seen(0), 100, 1)
    bound.admit("leveret.b", seen(0), 100, at(1))


@pytest.mark.parametrize(
    ("rate", "jobs", "seconds"),
    [
        pytest.param(None, 1, 10, id="nobody-knows"),
        pytest.param(0.0, 1, 60, id="nothing-is-finished"),
        pytest.param(100.0, 1, 5, id="at-once-is-not-asked-for"),
        pytest.param(2.0, 41, 21, id="as-long-as-it-takes"),  # 40 + 1 too many, 2 a second: 20.5 s
        pytest.param(0.1, 50, 60, id="a-minute-at-most"),
    ],
)
def test_when_to_come_again(rate: float | None, jobs: int, seconds: int) -> None:
    with pytest.raises(Refused) as refused:
        QueueBound().admit(QUEUE, seen(100, rate=rate), jobs, at(0))
    assert refused.value.headers == {"Retry-After": str(seconds)}


def test_the_refusal_says_what_was_kept_and_what_to_do() -> None:
    with pytest.raises(Refused) as refused:
        QueueBound().admit(QUEUE, seen(1_200, limit=1_000), 1_500, at(1))
    problem = refused.value.problem
    assert (problem.status, problem.type.rpartition("/")[2]) == (429, "queue-full")
    for said in (
        "1,200",
        "1,500",
        "1,000",
        "are kept",
        "nothing was stored",
        "spec.queue.maxLength",
        "never fits",
        "10 s",
    ):
        assert said in problem.detail
    with pytest.raises(Refused) as refused:
        QueueBound().admit(QUEUE, seen(1_200, limit=1_000), 5, at(1))
    assert "never fits" not in refused.value.problem.detail


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 0.5)), max_size=60), st.integers(0, 120))
def test_with_nothing_finished_a_fresh_number_is_never_passed(submits: list[tuple[int, float]], backlog: int) -> None:
    """Whatever is taken, the observed backlog and what one replica adds stay within the limit."""
    bound, length, now, taken = QueueBound(), seen(backlog), 0.0, 0
    for jobs, wait in submits:
        now += wait
        if takes(bound, length, jobs, now):
            taken += jobs
    if taken and timedelta(seconds=now) <= BELIEVED_FOR:
        assert backlog + taken <= length.limit


def test_an_observation_from_the_future_is_not_believed() -> None:
    assert takes(QueueBound(), seen(5_000, second=3_600), 1, 0)


def test_a_rate_without_measure_is_no_trouble() -> None:
    assert takes(QueueBound(), seen(0, rate=1e308), 100, 29)
    assert takes(QueueBound(), seen(0, rate=-1e308), 1, 29)
