"""What an answer says, whatever is in it; and that it's the consumers' own."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.client.rpc.errors import (
    CallError,
    Cancelled,
    Dead,
    DeadlineExceeded,
    Published,
    QueueGone,
    UnreadableReply,
)
from leveret.client.rpc.messages import Reply, read_reply, request
from leveret.events import Error
from leveret.jobs import DeadReason, State
from leveret.reply import OUTCOME, job_dead, reply

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_900, UTC)
ASKED = request("leveret.echo", "echo", {"value": "ä"}, 1.5, correlation_id="c", now=NOW)


def test_a_call_is_a_job_of_the_wire_contract_with_a_deadline() -> None:
    message = ASKED.message
    assert (message.message_id, message.type, message.correlation_id) == (str(ASKED.job), "echo", "c")
    assert (message.content_type, message.delivery_mode, message.timestamp) == ("application/json", 2, NOW)
    assert message.headers["leveret-deadline"] == "2026-01-02T03:04:07.178Z"
    assert json.loads(message.body) == {"value": "ä"}


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        pytest.param(DeadReason.QUEUE_GONE, QueueGone, id="no queue"),
        pytest.param(DeadReason.DEADLINE_EXCEEDED, DeadlineExceeded, id="late"),
        pytest.param(DeadReason.ATTEMPTS_EXHAUSTED, Dead, id="failed"),
    ],
)
def test_a_dead_job_is_an_error_with_its_problem(reason: DeadReason, error: type[CallError]) -> None:
    document = job_dead(ASKED.job, "leveret.echo", Error(reason=reason, type="ValueError", message="no such article"))
    sent = reply(State.DEAD, "c", document)
    read = read_reply(ASKED, sent.headers, sent.body)
    assert type(read) is error
    assert isinstance(read, CallError)
    assert (read.reason, read.job, read.published) == (reason, ASKED.job, Published.CONFIRMED)
    assert (read.problem, str(read)) == (json.loads(document), json.loads(document)["detail"])


def test_a_result_is_what_the_handler_returned() -> None:
    sent = reply(State.SUCCEEDED, "c", b'{"price":7}')
    assert read_reply(ASKED, sent.headers, sent.body) == Reply({"price": 7}, "c", ASKED.job)


@pytest.mark.parametrize(
    ("headers", "body", "error"),
    [
        pytest.param({}, b"1", UnreadableReply, id="no headers"),
        pytest.param({OUTCOME: 7}, b"1", UnreadableReply, id="a number"),
        pytest.param({OUTCOME: "succeeded"}, b"\xff", UnreadableReply, id="a result that is no JSON"),
        pytest.param({OUTCOME: "succeeded"}, b"", UnreadableReply, id="no body"),
        pytest.param({OUTCOME: "succeeded"}, b"[" * 100_000, UnreadableReply, id="a body that is too deep"),
        pytest.param({OUTCOME: "dead"}, b"\xff", Dead, id="dead without a document"),
        pytest.param({OUTCOME: "dead"}, b'{"reason":{},"detail":[]}', Dead, id="a document of other types"),
        pytest.param({OUTCOME: "cancelled"}, b"{}", Cancelled, id="cancelled"),
    ],
)
def test_an_answer_that_says_little(headers: dict[str, object], body: bytes, error: type[CallError]) -> None:
    read = read_reply(ASKED, headers, body)
    assert type(read) is error
    assert str(ASKED.job) in str(read)


@given(
    st.dictionaries(st.just(OUTCOME), st.one_of(st.sampled_from(State), st.text(), st.integers(), st.none())),
    st.one_of(st.binary(), st.recursive(st.none() | st.text(), st.lists).map(lambda body: json.dumps(body).encode())),
)
def test_no_answer_raises(headers: dict[str, object], body: bytes) -> None:
    assert isinstance(read_reply(ASKED, headers, body), Reply | CallError)


def test_an_error_says_whether_the_job_may_run() -> None:
    job = uuid4()
    said = {published: str(DeadlineExceeded("Late", published, job)) for published in Published}
    assert said == {
        Published.NO: "Late. The job was not sent, and can be called again.",
        Published.UNKNOWN: f"Late. Whether the broker has job {job} is not known: it may run.",
        Published.CONFIRMED: f"Late. The broker has job {job}: it may run, or have run.",
    }
