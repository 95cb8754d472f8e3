"""What the demo counts."""

import pytest

from demo.snapshot import JobSeen, Sample, Snapshot, Tally, rate, rates, tally
from leveret.jobs import State


def test_jobs_are_counted_by_state_and_every_attempt_after_the_first_is_a_retry() -> None:
    jobs = {
        "a": JobSeen("fast", State.ACCEPTED),
        "b": JobSeen("fast", State.QUEUED),
        "c": JobSeen("fast", State.RUNNING, 1),
        "d": JobSeen("flaky", State.RETRYING, 2),
        "e": JobSeen("flaky", State.SUCCEEDED, 3),
        "f": JobSeen("failing", State.DEAD, 4),
    }
    counted = tally(jobs)
    assert counted == Tally(waiting=2, running=1, retrying=1, succeeded=1, dead=1, retries=1 + 2 + 3)
    assert (counted.total, counted.finished) == (6, 2)


@pytest.mark.parametrize(
    ("finished", "now", "expected"),
    [
        ([], 0.0, None),
        ([(0.0, 0)], 0.0, None),
        ([(0.0, 0), (1.0, 50)], 1.0, 50.0),
        ([(0.0, 0), (4.0, 400), (8.0, 400), (9.0, 500)], 9.0, 20.0),  # (500 − 400) / (9 − 4)
        ([(0.0, 0), (10.0, 50), (20.0, 150)], 20.0, 10.0),  # (150 − 50) / (20 − 10)
        ([(0.0, 0), (1.0, 50)], 60.0, None),
    ],
    ids=["nothing", "one sample", "two", "only the last 5 s", "samples far apart", "long ago"],
)
def test_the_rate_is_of_lately(finished: list[tuple[float, int]], now: float, expected: float | None) -> None:
    samples = tuple(Sample(at, count) for at, count in finished)
    assert rate(samples, now) == expected


def test_each_sample_has_a_rate_that_knows_only_what_came_before() -> None:
    samples = (Sample(0.0, 0), Sample(1.0, 10), Sample(2.0, 40))
    assert rates(samples) == (None, 10.0, 20.0)


def test_what_was_never_measured_is_unknown(empty: Snapshot) -> None:
    assert (empty.last.backlog, empty.last.replicas, empty.last.desired) == (None, None, None)
    assert not empty.done
