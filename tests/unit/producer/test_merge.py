"""The merge is a join: whatever the order, the batches and the duplicates, the same rows come out."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID

import aio_pika
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.events import Error, JobEvent, Progress
from leveret.jobs import FINAL, State
from leveret_producer.recorder import merge, messages
from leveret_producer.recorder.batch import rounds
from leveret_producer.recorder.merge import AttemptRow, JobRow, Letter, Report
from leveret_producer.recorder.messages import MessageRow

T0 = datetime(2026, 5, 1, tzinfo=UTC)
IDS = [UUID(int=number) for number in range(1, 4)]
LETTER = Letter(aio_pika.Message(b""), keeps_body=True, unanswered=False)  # type: ignore[arg-type]
REPORTED = [State.RUNNING, State.RETRYING, State.SUCCEEDED, State.DEAD]


@st.composite
def histories(draw: st.DrawFn) -> list[Report]:
    """Reports on a few jobs, dead letters among them, each at a time of its own."""
    number = draw(st.integers(1, 12))
    reports = []
    for second in draw(st.permutations(range(number))):
        letter = draw(st.none() | st.just(LETTER))
        state = State.DEAD if letter else draw(st.sampled_from(REPORTED))
        given_back = state is State.RETRYING and draw(st.booleans())
        event = JobEvent(
            id=draw(st.sampled_from(IDS)),
            type="t",
            state=state,
            at=T0 + timedelta(seconds=second),
            consumer=draw(st.sampled_from("ab")),
            attempt=draw(st.integers(0 if given_back else 1, 3)),
            generation=draw(st.integers(1, 2)),
            delivery=0 if given_back else draw(st.integers(0, 2)),
            publish_at=None if given_back else draw(st.none() | st.just(T0 + timedelta(hours=2))),
            given_back=given_back,
            deadline=draw(st.none() | st.just(T0)),
            reply_to=draw(st.none() | st.just("r")),
            progress=draw(st.none() | st.builds(Progress, st.floats(0, 1), st.none())),
            error=Error(draw(st.sampled_from(["DeliveryLimit", "DeadlineExceeded"])), "")
            if state is State.DEAD
            else None,
        )
        reports.append(Report("q", event, letter))
    return reports


class Table:
    """What the recorder's statements do, in memory."""

    def __init__(self) -> None:
        self.jobs: dict[UUID, JobRow] = {}
        self.attempts: dict[merge.AttemptId, AttemptRow] = {}

    def record(self, batch: Sequence[Report]) -> None:
        for row in merge.jobs(batch):
            old = self.jobs.get(row.id)
            if old is None or (old.merge_key, old.tie) < (row.merge_key, row.tie):
                self.jobs[row.id] = row
        for attempt in merge.attempts(batch):
            known = self.attempts.get(attempt.id)
            if known is None or known.merge_key < attempt.merge_key:
                self.attempts[attempt.id] = attempt


@given(histories(), st.data())
def test_any_order_batches_and_duplicates_give_the_same_rows(history: list[Report], data: st.DataObject) -> None:
    straight, shuffled = Table(), Table()
    straight.record(history)
    again = data.draw(st.lists(st.sampled_from(history), max_size=6))
    order = data.draw(st.permutations(history + again))
    while order:
        size = data.draw(st.integers(1, len(order)))
        shuffled.record(order[:size])
        order = order[size:]
    assert straight.jobs == shuffled.jobs
    assert straight.attempts == shuffled.attempts


@given(histories())
def test_a_final_state_stays_within_its_generation(history: list[Report]) -> None:
    table = Table()
    for report in history:
        before = table.jobs.get(report.event.id)
        table.record([report])
        after = table.jobs[report.event.id]
        if before and before.state in FINAL and after.generation == before.generation:
            assert after.state in FINAL


def _event(state: State, second: float, **more: object) -> Report:
    event = JobEvent(IDS[0], "t", state, T0 + timedelta(seconds=second), "pod")
    return Report("q", msgspec.structs.replace(event, **more))


def test_the_later_progress_counts_and_the_earlier_end() -> None:
    [row] = merge.jobs([_event(State.RUNNING, 2, progress=Progress(2, 3)), _event(State.RUNNING, 1, progress=None)])
    assert row.progress == '{"done":2.0,"total":3.0}' or row.progress == '{"done":2,"total":3}'
    [row] = merge.jobs([_event(State.SUCCEEDED, 9, attempt=2), _event(State.SUCCEEDED, 5)])
    assert row.finished_at == T0 + timedelta(seconds=5)


@given(st.permutations([*range(5)] * 2), st.integers(1, 10), st.integers(0, 10**15))
def test_of_reports_a_microsecond_apart_the_newest_stays(order: list[int], size: int, start: int) -> None:
    at = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(microseconds=start)
    reports = [_event(State.RUNNING, 0, progress=Progress(done, 5) if done else None) for done in range(5)]
    told = [
        replace(one, event=msgspec.structs.replace(one.event, at=at + timedelta(microseconds=done), started_at=at))
        for done, one in enumerate(reports)
    ]
    one_recorder, other = Table(), Table()
    for begin in range(0, len(order), size):
        one_recorder.record([told[number] for number in order[begin : begin + size]])
    for number in reversed(order):
        other.record([told[number]])
    assert one_recorder.jobs == other.jobs
    assert msgspec.json.decode(one_recorder.jobs[IDS[0]].progress or "") == {"done": 4, "total": 5}


def test_a_job_without_a_time_is_as_old_as_its_first_start() -> None:
    report = _event(State.RUNNING, 9, started_at=T0 + timedelta(seconds=1))
    assert [row.created_at for row in merge.jobs([report])] == [T0 + timedelta(seconds=1)]


def test_a_job_that_is_given_back_is_retrying_until_it_starts_and_has_no_attempt() -> None:
    back = [_event(State.RETRYING, second, attempt=0, given_back=True) for second in (1, 2)]
    for order in permutations([*back, _event(State.QUEUED, 3, attempt=0)]):
        [row] = merge.jobs(order)
        assert (row.state, row.attempt, row.tie) == ("retrying", 0, merge.job_row(back[1]).tie), "the later one's"
        assert merge.attempts(order) == []
    for order in permutations([*back, _event(State.RUNNING, 0)]):
        [row] = merge.jobs(order)
        assert (row.state, row.attempt) == ("running", 1)


@pytest.mark.parametrize("delivery", [0, 3])
def test_a_give_back_takes_nothing_from_what_is_told_of_the_attempt_before(delivery: int) -> None:
    failed = _event(State.RETRYING, 1, error=Error("Failed", "boom"), started_at=T0, delivery=delivery)
    back = _event(State.RETRYING, 5, given_back=True, error=Error("UnknownType", "no handler"))
    for order in permutations([failed, back]):
        [row], [attempt] = merge.jobs(order), merge.attempts(order)
        assert (row.state, row.attempt, row.started_at) == ("retrying", 1, T0)
        assert row.error == attempt.error == '{"reason":"Failed","message":"boom"}'
        assert attempt.finished_at == T0 + timedelta(seconds=1)


def test_only_a_retry_without_a_message_is_due_again_and_a_later_report_makes_that_void() -> None:
    at = T0 + timedelta(hours=2)
    waits = _event(State.RETRYING, 1, publish_at=at, payload=msgspec.Raw(b" 7"), reply_to="r", priority=300)
    assert [row.due_at for row in merge.jobs([waits])] == [at]
    assert [row.due_at for row in merge.jobs([waits, _event(State.RUNNING, 2, delivery=1)])] == [None]
    assert [row.due_at for row in merge.jobs([_event(State.RUNNING, 2, attempt=2), waits])] == [None]
    assert [row.due_at for row in merge.jobs([_event(State.DEAD, 2, publish_at=at)])] == [None]
    [message] = messages.messages([waits, waits])
    assert message == MessageRow(IDS[0], " 7", None, "r", 255, None, None)
    assert messages.messages([_event(State.RETRYING, 1, payload=msgspec.Raw(b"7"))]) == []
    assert not messages.needs_message(waits.event)
    assert messages.needs_message(_event(State.RETRYING, 1, publish_at=at).event)


def test_a_message_that_waits_for_its_time_is_no_attempt() -> None:
    waits = _event(State.RETRYING, 1, attempt=0, publish_at=T0 + timedelta(hours=1), payload=msgspec.Raw(b"7"))
    start = _event(State.RUNNING, 2)
    for order in permutations([waits, start]):
        [row], [attempt] = merge.jobs(order), merge.attempts(order)
        assert (row.state, row.due_at, attempt.attempt) == ("running", None, 1)
    assert merge.attempts([waits]) == []


NO_HEADERS = [{}, {"x-mine": 1, "CC": "q", "leveret-attempt": 3, "leveret-reason": "r", "leveret-run-at": "t"}]
ODD_HEADERS = {"n" * 256: 1, "é" * 200: 1, "list": [1], "none": None, "far": 1 << 63, "large": "x" * 70_000, "f": 1e300}


@pytest.mark.parametrize("headers", [*NO_HEADERS, ODD_HEADERS], ids=["none", "not the sender's", "no message has such"])
def test_of_headers_only_what_a_message_can_have_is_stored(headers: dict[str, object]) -> None:
    for more, kept in (({}, None), ({"mine": 1, "a": "\0"}, '{"mine":1,"a":"\\u0000"}')):
        waits = _event(State.RETRYING, 1, publish_at=T0, payload=msgspec.Raw(b"7"), headers=headers | more)
        assert [one.headers for one in messages.messages([waits])] == [kept]


def test_the_consumers_word_on_a_dead_letter_counts_whichever_came_first() -> None:
    told = _event(State.DEAD, 9, error=Error("GaveUp", "boom"), started_at=T0)
    copies = [replace(_event(State.DEAD, at, error=Error("GaveUp", "")), letter=LETTER) for at in (8, 10)]
    for order in permutations([told, *copies]):
        [row] = merge.jobs(order)
        assert (row.finished_at, row.started_at, row.dead_reason) == (T0 + timedelta(seconds=9), T0, "GaveUp")
        assert [one.finished_at for one in merge.attempts(order)] == [T0 + timedelta(seconds=9)]
    [first] = merge.jobs(copies[::-1])
    assert first.finished_at == T0 + timedelta(seconds=8)
    assert merge.attempts(copies) == []
    [row] = merge.jobs([*copies, told, _event(State.SUCCEEDED, 30)])
    assert (row.state, row.dead_reason) == ("succeeded", None)


LATE = Error("DeadlineExceeded", "too late")
LETTERS = [
    pytest.param(_event(State.DEAD, 1, error=LATE, reply_to="r"), False, id="answered for its deadline"),
    pytest.param(_event(State.DEAD, 1, error=LATE), True, id="nobody waits for it"),
    pytest.param(_event(State.DEAD, 1, error=Error("GaveUp", ""), reply_to="r"), True, id="dead for another reason"),
    pytest.param(_event(State.DEAD, 1, reply_to="r"), True, id="for none"),
    pytest.param(_event(State.RETRYING, 1, error=LATE, reply_to="r"), True, id="not dead"),
    pytest.param(
        replace(_event(State.DEAD, 1, error=LATE, reply_to="r"), letter=LETTER),
        True,
        id="the broker's: it has the message",
    ),
]


@pytest.mark.parametrize(("report", "has_letter"), LETTERS)
def test_a_job_that_is_dead_by_its_deadline_is_no_dead_letter_if_it_is_answered(
    report: Report, has_letter: bool
) -> None:
    [row] = merge.jobs([report])
    assert row.purged_at == (None if has_letter else row.finished_at)


@pytest.mark.parametrize("payload", [b"\xff\xfe", b'"a\0b"'])
def test_a_payload_that_is_no_text_is_kept_as_bytes(payload: bytes) -> None:
    letter = replace(_event(State.DEAD, 1, payload=msgspec.Raw(payload)), letter=LETTER)
    [message] = messages.messages([letter, letter])
    assert (message.body, message.raw) == ("", payload)
    too_large = replace(letter, letter=replace(LETTER, keeps_body=False))
    assert messages.messages([too_large]) == []


def test_text_is_cleaned_and_cut() -> None:
    error = Error("r\0", "m" * 10_000 + "\0", "T", "first\0" + "x" * 100_000 + "last")
    row = merge.job_row(_event(State.DEAD, 1, error=error, attempt=1 << 50, correlation_id="c\0" * 300))
    told = msgspec.json.decode(row.error or "", type=Error)
    assert (told.reason, len(told.message), (told.traceback or "")[-4:]) == ("r", 8_192, "last")
    assert row.attempt == (1 << 31) - 1
    assert row.correlation_id == "c" * 255


def test_the_times_of_an_attempt_are_its_own() -> None:
    start = T0 + timedelta(seconds=1)
    running = _event(State.RUNNING, 1, started_at=start)
    [open_row] = merge.attempts([running])
    assert (open_row.started_at, open_row.finished_at, open_row.outcome) == (start, None, None)
    [row] = merge.attempts([_event(State.RETRYING, 3, started_at=start), running])
    assert (row.started_at, row.finished_at, row.outcome) == (start, T0 + timedelta(seconds=3), "retrying")


def test_a_job_that_two_queues_claim_is_split_by_who_came_first() -> None:
    one, other = _event(State.RUNNING, 1), _event(State.SUCCEEDED, 2)
    foreign = Report("z", other.event)
    assert rounds([one, foreign, other]) == [[one, other], [foreign]]
