"""What follows an attempt, and what is told of its error."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import Retry
from leveret.events import Error
from leveret.jobs import DeadReason, Envelope
from leveret.retry import LONGEST_DELAY, LONGEST_IN_LEVEL, LONGEST_WAIT
from leveret.sdk.commit import Mark
from leveret.sdk.follow_ups import FollowUp
from leveret_consumer.ends import (
    LONGEST_TRACEBACK,
    Cancelled,
    DeadLetter,
    Deferred,
    End,
    Failed,
    Outcome,
    Postponed,
    Refused,
    RetryAfter,
    RetryFromStore,
    Succeeded,
    Unkept,
    as_header,
    error_of,
)
from leveret_consumer.outcome import (
    Draws,
    after_attempt,
    by_deadline,
    by_mark,
    delivered_too_often,
    follow_ups,
    too_late,
    unreadable,
)


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


FAILED = Error("Failed", "no luck", "ValueError", "Traceback …")
LATE = Error("TimedOut", "too late", "TimeoutError")
GIVEN_UP = Error("AttemptsExhausted", "no luck", "ValueError", "Traceback …")
PLAIN = Retry(3, initial=4, factor=2, jitter="none")
JITTER = Retry(3, initial=4, factor=2)
LONG = Retry(3, initial=4096, factor=2, max=9000, jitter="none")
REJECTED = Error("Rejected", "no such customer", "Reject")
ASKED = Error("Failed", "busy", "RetryLater")
TIRED = Error("AttemptsExhausted", "busy", "RetryLater")

TABLE = [
    pytest.param(b"1", PLAIN, 1, (0.5, 0.5), Succeeded(b"1"), id="a result"),
    pytest.param(b"1", PLAIN, 9, (0.5, 0.5), Succeeded(b"1"), id="a result, however late"),
    pytest.param(Failed(FAILED), PLAIN, 1, (0.5, 0.5), RetryAfter(2, FAILED), id="4 s is level 2"),
    pytest.param(Failed(FAILED), PLAIN, 2, (0.5, 0.5), RetryAfter(3, FAILED), id="8 s is level 3"),
    pytest.param(Failed(LATE), PLAIN, 2, (0.5, 0.5), RetryAfter(3, LATE), id="a time-out is a failure"),
    pytest.param(
        Failed(FAILED), PLAIN, 3, (0.5, 0.5), DeadLetter(DeadReason.ATTEMPTS_EXHAUSTED, GIVEN_UP), id="the last"
    ),
    pytest.param(
        Failed(FAILED), PLAIN, 99, (0, 0), DeadLetter(DeadReason.ATTEMPTS_EXHAUSTED, GIVEN_UP), id="beyond the last"
    ),
    pytest.param(Failed(FAILED), JITTER, 1, (0.75, 0.4), RetryAfter(2, FAILED), id="3 s is 4 s with probability 0.5"),
    pytest.param(Failed(FAILED), JITTER, 1, (0.75, 0.6), RetryAfter(1, FAILED), id="3 s is 2 s else"),
    pytest.param(Failed(FAILED), JITTER, 1, (0.1, 0.3), RetryAfter(0, FAILED), id="0.4 s is 1 s with probability 0.4"),
    pytest.param(Failed(FAILED), JITTER, 1, (0.1, 0.5), RetryAfter(None, FAILED), id="0.4 s is no wait else"),
    pytest.param(Failed(FAILED), LONG, 1, (0.5, 0.0), RetryAfter(12, FAILED), id="4,096 s is the last level"),
    pytest.param(
        Failed(FAILED), LONG, 2, (0.5, 0.0), RetryFromStore(s(8192), FAILED), id="above it: from the store, exactly"
    ),
    pytest.param(Postponed(ASKED, s(4)), JITTER, 1, (0.9, 0.9), RetryFromStore(s(4), ASKED), id="asked for 4 s"),
    pytest.param(Postponed(ASKED, s(2.001)), JITTER, 1, (0, 0), RetryFromStore(s(2.001), ASKED), id="more than 2 s"),
    pytest.param(Postponed(ASKED, s(2)), JITTER, 1, (0.9, 0.9), RetryAfter(1, ASKED), id="asked for 2 s: level 1"),
    pytest.param(Postponed(ASKED, s(1.1)), JITTER, 1, (0.9, 0.9), RetryAfter(1, ASKED), id="asked for 1.1 s: 2 s"),
    pytest.param(Postponed(ASKED, s(1)), JITTER, 1, (0.9, 0.9), RetryAfter(0, ASKED), id="asked for 1 s: level 0"),
    pytest.param(Postponed(ASKED, s(0.001)), JITTER, 1, (0.9, 0.9), RetryAfter(0, ASKED), id="for a millisecond: 1 s"),
    pytest.param(Postponed(ASKED, s(0)), JITTER, 1, (0.9, 0), RetryAfter(None, ASKED), id="asked for now"),
    pytest.param(Postponed(ASKED, s(-9)), JITTER, 1, (0.9, 0), RetryAfter(None, ASKED), id="asked for a while ago"),
    pytest.param(Postponed(ASKED, s(4097)), JITTER, 1, (0, 0), RetryFromStore(s(4097), ASKED), id="asked for long"),
    pytest.param(
        Postponed(ASKED, timedelta.max),
        JITTER,
        1,
        (0, 0),
        RetryFromStore(LONGEST_DELAY, ASKED),
        id="for ever is a year",
    ),
    pytest.param(
        Postponed(ASKED, s(4)), PLAIN, 3, (0, 0), DeadLetter(DeadReason.ATTEMPTS_EXHAUSTED, TIRED), id="asked too often"
    ),
    pytest.param(
        Refused(REJECTED, DeadReason.REJECTED),
        PLAIN,
        1,
        (0, 0),
        DeadLetter(DeadReason.REJECTED, REJECTED),
        id="rejected",
    ),
    pytest.param(
        Refused(REJECTED, DeadReason.REJECTED),
        PLAIN,
        9,
        (0, 0),
        DeadLetter(DeadReason.REJECTED, REJECTED),
        id="later too",
    ),
]


@pytest.mark.parametrize(("end", "policy", "attempt", "draws", "outcome"), TABLE)
def test_what_follows(end, policy, attempt: int, draws: tuple[float, float], outcome: Outcome) -> None:  # type: ignore[no-untyped-def]
    assert after_attempt(end, policy, attempt, Draws(*draws)) == outcome


ends = st.builds(Failed, st.just(FAILED)) | st.builds(Postponed, st.just(ASKED), st.timedeltas())


@given(ends, st.integers(1, 6), st.integers(1, 6), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_failure_waits_in_a_level_or_in_the_store_or_is_given_up(
    end: Failed | Postponed, most: int, attempt: int, jitter: float, level: float
) -> None:
    match after_attempt(end, Retry(most, initial=3000, max=40_000), attempt, Draws(jitter, level)):
        case DeadLetter(reason, error):
            assert attempt >= most
            assert reason == error.reason == DeadReason.ATTEMPTS_EXHAUSTED
        case RetryFromStore(wait, _):
            assert attempt < most
            if isinstance(end, Postponed):
                assert LONGEST_IN_LEVEL < wait == min(end.wait, LONGEST_DELAY)
            else:
                assert LONGEST_WAIT < wait <= LONGEST_DELAY
        case RetryAfter() as after:
            assert attempt < most
            assert timedelta(0) <= after.wait <= LONGEST_WAIT
            if isinstance(end, Postponed):
                assert end.wait <= after.wait <= max(end.wait, timedelta(0)) + s(1), "never early"
        case Succeeded():
            raise AssertionError


NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
LATE_BY = Error("DeadlineExceeded", "the deadline passed")
NO_RETRY = Error(
    "DeadlineExceeded",
    "attempt 2 failed, and the next would be after the job's deadline, 2026-09-01T12:00:04.000Z: no luck",
    "ValueError",
    "Traceback …",
)
DEAD_BY_IT = DeadLetter(DeadReason.DEADLINE_EXCEEDED, NO_RETRY)
NEVER = DeadLetter(
    DeadReason.DEADLINE_EXCEEDED,
    Error(
        "DeadlineExceeded",
        "its sender asked for it to run at 2026-09-01T12:00:04.000Z, not before its deadline, 2026-09-01T12:00:04.000Z",
    ),
)
REJECTION = DeadLetter(DeadReason.REJECTED, REJECTED)
IN_VIEW_OF_A_DEADLINE = [
    pytest.param(Succeeded(b"1"), 0, Succeeded(b"1"), id="a result just then is one"),
    pytest.param(RetryAfter(1, FAILED), 4, RetryAfter(1, FAILED), id="a retry before it"),
    pytest.param(RetryAfter(2, FAILED), 4, DEAD_BY_IT, id="a retry at the deadline"),
    pytest.param(RetryAfter(3, FAILED), 4, DEAD_BY_IT, id="a retry after it"),
    pytest.param(RetryAfter(None, FAILED), 4, RetryAfter(None, FAILED), id="a retry at once"),
    pytest.param(RetryFromStore(s(5000), FAILED), 5001, RetryFromStore(s(5000), FAILED), id="a long wait before it"),
    pytest.param(RetryFromStore(LONGEST_DELAY, FAILED), 4, DEAD_BY_IT, id="a long wait beyond it"),
    pytest.param(Deferred(NOON + s(4)), 5, Deferred(NOON + s(4)), id="asked for a time before it"),
    pytest.param(Deferred(NOON + s(4)), 4, NEVER, id="asked for just then"),
    pytest.param(REJECTION, 0, REJECTION, id="rejected"),
    pytest.param(DeadLetter(DeadReason.DEADLINE_EXCEEDED, LATE_BY), 0, None, id="stopped by it"),
]


@pytest.mark.parametrize("reply_to", [None, "answers", "leveret.events"])
@pytest.mark.parametrize(("outcome", "seconds", "then"), IN_VIEW_OF_A_DEADLINE)
def test_nothing_is_tried_again_beyond_the_deadline_and_what_is_answered_leaves_no_letter(
    outcome: Outcome, seconds: float, then: Outcome | None, reply_to: str | None
) -> None:
    job = Envelope(UUID(int=1), "q", "t", b"", attempt=2, reply_to=reply_to, deadline=NOON + s(seconds))
    then = then or outcome
    if reply_to == "answers" and isinstance(then, DeadLetter) and then.reason == DeadReason.DEADLINE_EXCEEDED:
        then = Unkept(then.error)
    assert by_deadline(outcome, job, NOON) == then


def test_without_a_deadline_nothing_is_too_late() -> None:
    job = Envelope(UUID(int=1), "q", "t", b"")
    assert too_late(job, NOON) is None
    assert by_deadline(RetryFromStore(LONGEST_DELAY, FAILED), job, NOON) == RetryFromStore(LONGEST_DELAY, FAILED)


@pytest.mark.parametrize(
    ("seconds", "reply_to", "kind"),
    [
        pytest.param(0.001, None, None, id="ahead"),
        pytest.param(0, None, DeadLetter, id="now"),
        pytest.param(-9, None, DeadLetter, id="passed"),
        pytest.param(-9, "answers", Unkept, id="passed, and somebody waits for the reply"),
        pytest.param(-9, "q.dead", DeadLetter, id="passed, and where the reply would go none may"),
    ],
)
def test_a_job_does_not_start_at_its_deadline(seconds: float, reply_to: str | None, kind: type[Outcome] | None) -> None:
    job = Envelope(UUID(int=1), "q", "t", b"", reply_to=reply_to, deadline=NOON + s(seconds))
    late = too_late(job, NOON)
    assert (type(late) if late else None) is kind
    if late:
        assert late.error.reason == DeadReason.DEADLINE_EXCEEDED
        assert "was not started" in late.error.message


@pytest.mark.parametrize(("level", "seconds"), [(None, 0), (0, 1), (12, 4096)])
def test_the_wait_is_the_levels(level: int | None, seconds: int) -> None:
    assert RetryAfter(level, FAILED).wait.total_seconds() == seconds


def test_what_can_not_be_run_has_its_reason_twice() -> None:
    dead = unreadable(DeadReason.NO_ID, "no id")
    assert (dead.reason, dead.error.reason) == (DeadReason.NO_ID, "NoId")


@pytest.mark.parametrize(
    ("delivery", "limit", "says"),
    [(0, 1, None), (1, 1, "once a consumer took"), (19, 20, None), (20, 20, "20 times a"), (99, 2, "99 times a")],
)
def test_a_job_that_was_delivered_too_often_is_a_dead_letter(delivery: int, limit: int, says: str | None) -> None:
    outcome = delivered_too_often(delivery, limit)
    if says is None:
        assert outcome is None
    else:
        assert isinstance(outcome, DeadLetter)
        assert outcome.reason == DeadReason.DELIVERY_LIMIT
        assert outcome.error.message.startswith(says)
        assert f"the delivery limit is {limit}" in outcome.error.message


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raised(problem: BaseException) -> Error:
    try:
        raise problem
    except BaseException as caught:
        return error_of(caught)


ODD = [
    pytest.param(Mute(), "(its message can't be read", id="a __str__ that fails"),
    pytest.param(ValueError("x" * 100_000), "x" * 1999, id="a very long message"),
    pytest.param(ValueError("\ud800"), "\\ud800", id="half a character"),
    pytest.param(SystemExit(3), "3", id="an exit"),
    pytest.param(ExceptionGroup("two", [ValueError("a"), KeyError("b")]), "two (2 sub-exceptions)", id="a group"),
]


@pytest.mark.parametrize(("problem", "message"), ODD)
def test_any_exception_can_be_told(problem: BaseException, message: str) -> None:
    error = raised(problem)
    assert error.message.startswith(message)
    assert error.type == type(problem).__qualname__
    assert len((error.traceback or "").encode()) <= LONGEST_TRACEBACK
    json.loads(as_header(error))


def test_a_traceback_keeps_its_end_where_the_cause_is() -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            raise ValueError("the bottom" + " " * 9000)
        # Two functions in turn: a traceback folds the same line repeated.
        (dive if depth % 2 else lambda more: dive(more))(depth - 1)

    try:
        dive(200)
    except ValueError as problem:
        error = error_of(problem)
    assert error.traceback is not None
    assert error.traceback.startswith("… (cut)")
    assert len(error.traceback.encode()) == LONGEST_TRACEBACK


@given(st.text(max_size=2000), st.none() | st.text(max_size=30_000))
def test_a_header_is_json_of_at_most_8_kib(message: str, traceback: str | None) -> None:
    header = as_header(Error("Failed", message, "E", traceback))
    assert len(header.encode()) <= 8192
    read = json.loads(header)
    assert (read["reason"], read["type"]) == ("Failed", "E")
    assert message.startswith(read["message"])


MARKS = [
    pytest.param(b"1", None, b"1", id="no transaction"),
    pytest.param(Failed(FAILED), None, Failed(FAILED), id="rolled back"),
    pytest.param(b"1", Mark(None), b"1", id="what the handler returned"),
    pytest.param(b"1", Mark(b"2"), b"2", id="tx.result() is the same in each run"),
    pytest.param(Failed(FAILED), Mark(None), b"null", id="failed after the commit"),
    pytest.param(Refused(REJECTED, DeadReason.REJECTED), Mark(b"2"), b"2", id="rejected after the commit"),
    pytest.param(Postponed(ASKED, s(9)), Mark(b"2"), b"2", id="asked for another attempt after the commit"),
    pytest.param(Failed(FAILED), Mark(b"2", earlier=True), b"2", id="done by an earlier run"),
    pytest.param(b"1", Mark(None, earlier=True), b"null", id="swallowed that it was done"),
]


@pytest.mark.parametrize(("end", "mark", "becomes"), MARKS)
def test_what_is_committed_is_done_whatever_came_after(end: End, mark: Mark | None, becomes: End) -> None:
    assert by_mark(end, mark) == becomes


OWN, KEPT = (FollowUp(UUID(int=n), "q", "t", b"1") for n in (1, 2))
KEEPS = Mark(None, follow_ups=(KEPT,))
FOLLOW = [
    pytest.param(b"1", None, (OWN,), id="no transaction"),
    pytest.param(b"1", KEEPS, (KEPT, OWN), id="a transaction, and some beside it"),
    pytest.param(Failed(FAILED), None, (), id="failed"),
    pytest.param(Failed(FAILED), KEEPS, (KEPT,), id="failed after the commit"),
    pytest.param(Failed(FAILED), Mark(b"2", earlier=True, follow_ups=(KEPT,)), (KEPT,), id="done by an earlier run"),
    pytest.param(Cancelled(), KEEPS, (KEPT,), id="cancelled after the commit"),
    pytest.param(Cancelled(), None, (), id="cancelled"),
]


@pytest.mark.parametrize(("end", "mark", "published"), FOLLOW)
def test_committed_follow_ups_are_published_and_others_where_the_handler_succeeded(
    end: End | Cancelled, mark: Mark | None, published: tuple[FollowUp, ...]
) -> None:
    assert follow_ups(end, mark, (OWN,)) == published
