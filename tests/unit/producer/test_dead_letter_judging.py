from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.jobs import State
from leveret_producer.dead_letters.judging import Known, Verdict, judge, outlived

Q = "leveret.test"

TABLE = {
    "nobody knows it": (None, Verdict.UNKNOWN),
    "redriven, and it waits": (Known(Q, "accepted", 3, purged=False, has_payload=True), Verdict.GONE),
    "redriven, and dead again": (Known(Q, "dead", 3, purged=False, has_payload=True), Verdict.GONE),
    "redriven, and its payload's retention is over": (
        Known(Q, "succeeded", 3, purged=False, has_payload=False),
        Verdict.GONE,
    ),
    "purged": (Known(Q, "dead", 2, purged=True, has_payload=True), Verdict.GONE),
    "purged, without a payload": (Known(Q, "dead", 2, purged=True, has_payload=False), Verdict.GONE),
    "it succeeded on a redelivery": (Known(Q, "succeeded", 2, purged=False, has_payload=True), Verdict.GONE),
    "it was cancelled while it ran": (Known(Q, "cancelled", 2, purged=False, has_payload=True), Verdict.GONE),
    "its generation waits for others": (Known(Q, "blocked", 2, purged=False, has_payload=True), Verdict.STAYS),
    "dead": (Known(Q, "dead", 2, purged=False, has_payload=True), Verdict.STAYS),
    "dead, without a payload": (Known(Q, "dead", 2, purged=False, has_payload=False), Verdict.UNKNOWN),
    "its end is not recorded yet": (Known(Q, "running", 2, purged=False, has_payload=True), Verdict.STAYS),
    "this generation is not recorded yet": (Known(Q, "dead", 1, purged=True, has_payload=True), Verdict.STAYS),
    "another queue's job": (Known("leveret.other", "accepted", 3, purged=True, has_payload=True), Verdict.STAYS),
}


@pytest.mark.parametrize(("known", "verdict"), TABLE.values(), ids=TABLE.keys())
def test_what_becomes_of_a_message_of_the_second_generation(known: Known | None, verdict: Verdict) -> None:
    assert judge(Q, 2, known) is verdict


def test_what_the_store_may_have_forgotten_is_left_and_not_told() -> None:
    assert judge(Q, 2, None, old=True) is Verdict.STAYS
    lacks_payload = Known(Q, "dead", 2, purged=False, has_payload=False)
    assert judge(Q, 2, lacks_payload, old=True) is Verdict.UNKNOWN


NOW = datetime(2026, 5, 31, tzinfo=UTC)


def _made(at: datetime) -> UUID:
    return UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62)


AGES = {
    "young by its id": (_made(NOW - timedelta(days=29)), None, False),
    "old by its id": (_made(NOW - timedelta(days=31)), None, True),
    "young by its time": (UUID(int=4 << 76 | 2 << 62), NOW - timedelta(days=29), False),
    "old by its time": (UUID(int=4 << 76 | 2 << 62), NOW - timedelta(days=31), True),
    "the later one counts": (_made(NOW - timedelta(days=29)), datetime(1970, 1, 1, tzinfo=UTC), False),
    "an id from beyond all dates": (
        UUID(int=(1 << 128) - 1 & ~(15 << 76) & ~(3 << 62) | 7 << 76 | 2 << 62),
        None,
        False,
    ),
    "no time at all": (UUID(int=4 << 76 | 2 << 62), None, False),
    "the last of all times": (UUID(int=0), datetime.max.replace(tzinfo=UTC), False),
}


@pytest.mark.parametrize(("id", "submitted_at", "is_old"), AGES.values(), ids=AGES)
def test_how_old_a_job_is_is_told_by_its_id_or_its_time(id: UUID, submitted_at: datetime | None, is_old: bool) -> None:
    assert outlived(id, submitted_at, NOW, timedelta(days=30)) is is_old


_known = st.builds(
    Known,
    queue=st.sampled_from([Q, "leveret.other"]),
    state=st.sampled_from([str(state) for state in State]),
    generation=st.integers(1, 4),
    purged=st.booleans(),
    has_payload=st.booleans(),
)


@given(st.integers(1, 4), st.none() | _known)
def test_nothing_goes_that_is_a_dead_letter_yet(generation: int, known: Known | None) -> None:
    if judge(Q, generation, known) is Verdict.GONE:
        assert known is not None
        assert known.queue == Q
        assert known.generation >= generation
        assert (known.generation, known.state, known.purged) != (generation, "dead", False)
