"""When a zero is believed, as stories."""

from datetime import UTC, datetime, timedelta

from leveret.scaling.backlog import Depth
from leveret.scaling.proof import NOTHING, Proof, prove_empty

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


class Story:
    def __init__(self) -> None:
        self.proof, self.last_work = NOTHING, None

    def reads(self, second: float, ready: int | None = 0, unacked: int | None = 0, *, late: float = 0) -> Proof:
        """A bulk reading at that second, looked at so much later."""
        bulk = None if ready is None and unacked is None else Depth(at(second), ready, unacked)
        self.proof = prove_empty(self.proof, bulk, last_work=self.last_work, now=at(second + late))
        return self.proof

    def works(self, second: float) -> None:
        self.last_work = at(second)


def test_two_zeros_six_seconds_apart_prove_it_from_the_first() -> None:
    story = Story()
    assert story.reads(0).empty_since is None
    assert story.reads(5).empty_since is None
    assert story.reads(10).empty_since == at(0)
    assert story.reads(60).empty_since == at(0)


def test_one_reading_looked_at_often_proves_nothing() -> None:
    story = Story()
    assert all(story.reads(0, late=second).empty_since is None for second in range(10))


def test_work_begins_the_proof_anew_and_older_readings_do_not_count() -> None:
    story = Story()
    story.reads(0)
    story.reads(10)
    story.works(11)
    assert story.reads(10, late=2).first_zero is None  # read before the work
    assert story.reads(15).first_zero == at(15)
    assert story.reads(20).empty_since is None
    assert story.reads(25).empty_since == at(15)


def test_what_bulk_counts_is_work() -> None:
    story = Story()
    story.reads(0)
    assert story.reads(5, unacked=1).first_zero is None
    story.reads(10)
    assert story.reads(15).empty_since is None
    assert story.reads(20).empty_since == at(10)


def test_a_reading_that_fails_to_come_begins_it_anew() -> None:
    story = Story()
    story.reads(0)
    story.reads(10)
    assert story.reads(15, None, None) == NOTHING
    assert story.reads(20, late=11) == NOTHING  # too old
    assert story.reads(30, None, 0) == NOTHING  # half a reading
