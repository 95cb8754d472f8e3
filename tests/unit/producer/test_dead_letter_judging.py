import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.jobs import State
from leveret_producer.dead_letters.judging import Known, Verdict, judge

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
    "dead": (Known(Q, "dead", 2, purged=False, has_payload=True), Verdict.STAYS),
    "dead, without a payload": (Known(Q, "dead", 2, purged=False, has_payload=False), Verdict.UNKNOWN),
    "its end is not recorded yet": (Known(Q, "running", 2, purged=False, has_payload=True), Verdict.STAYS),
    "this generation is not recorded yet": (Known(Q, "dead", 1, purged=True, has_payload=True), Verdict.STAYS),
    "another queue's job": (Known("leveret.other", "accepted", 3, purged=True, has_payload=True), Verdict.STAYS),
}


@pytest.mark.parametrize(("known", "verdict"), TABLE.values(), ids=TABLE.keys())
def test_what_becomes_of_a_message_of_the_second_generation(known: Known | None, verdict: Verdict) -> None:
    assert judge(Q, 2, known) is verdict


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
