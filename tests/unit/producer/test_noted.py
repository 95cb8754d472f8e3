"""A dead letter that was set aside and is put back is read as it was the first time."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import aio_pika
import msgspec
import pytest
from pamqp.header import ContentHeader as Header

from leveret import topology, wire
from leveret.events import Error
from leveret_producer.recorder.batch import Batch, SetAside, read
from leveret_producer.recorder.merge import Report

JOB = UUID("6f1c1a52-6d3e-4c53-9f0a-0f4bb3a7d1ce")
QUEUE = "leveret.q"
DIED = datetime(2026, 9, 1, 12, tzinfo=UTC)
NOW = datetime(2026, 9, 2, tzinfo=UTC)
FRAME = 128 * 1024 - 1024  # bytes, and room for the properties


@dataclass
class Received:
    """What a client library hands over."""

    body: bytes = b"{}"
    headers: dict[str, Any] = field(default_factory=dict)
    exchange: str = topology.DEAD
    routing_key: str = QUEUE
    message_id: str | None = str(JOB)
    type: str | None = "t"
    timestamp: datetime | None = DIED
    priority: int | None = 3
    correlation_id: str | None = "c"
    reply_to: str | None = "r"
    content_type: str | None = "application/json"
    content_encoding: str | None = None
    app_id: str | None = None


def report(message: Received) -> Report:
    batch = Batch()
    read(message, batch, NOW)  # type: ignore[arg-type]
    (found,) = batch.reports
    return found


def put_back(aside: aio_pika.Message) -> Received:
    """What arrives of it at the recorder, through the default exchange."""
    names = Received.__dataclass_fields__.keys() - {"exchange", "routing_key"}
    return Received(**{name: getattr(aside, name) for name in names}, exchange="", routing_key=topology.EVENTS)


ERROR = Error("AttemptsExhausted", 'it said "no"\n', "ValueError", "Traceback …\n" * 1_000)
DEATH = {"queue": QUEUE, "reason": "rejected", "count": 1, "time": DIED, "exchange": topology.JOBS}
LETTERS = [
    pytest.param({"x-death": [DEATH]}, id="what the broker gave up"),
    pytest.param({"x-death": [DEATH | {"reason": "delivery_limit"}], "x-delivery-count": 21}, id="delivered too often"),
    pytest.param({"x-death": [DEATH | {"queue": "leveret.delay.3"}]}, id="it waited before"),
    pytest.param(
        {wire.REASON: ERROR.reason, wire.ERROR: msgspec.json.encode(ERROR).decode(), wire.ATTEMPT: 5},
        id="what a consumer gave up",
    ),
    pytest.param(
        {wire.REASON: "odd", wire.ERROR: "no JSON", "x-death": "odd", "theirs": "kept"}, id="what anybody wrote"
    ),
    pytest.param({}, id="what says nothing"),
]


@pytest.mark.parametrize("headers", LETTERS)
@pytest.mark.parametrize("message_id", [str(JOB), None], ids=["with an id", "without"])
def test_what_is_put_back_is_read_as_it_was(headers: dict[str, Any], message_id: str | None) -> None:
    first = report(Received(headers=headers, message_id=message_id))
    for _ in range(2):  # and may be set aside again
        again = report(put_back(SetAside.of_report(first, "the job's id belongs to another queue").message()))
        assert (again.queue, again.event) == (first.queue, first.event)
        assert again.letter is not None
        assert first.letter is not None
        assert (again.letter.keeps_body, again.letter.unanswered) == (True, first.letter.unanswered)
        first = again


def test_a_body_that_was_cut_is_not_taken_for_an_empty_one() -> None:
    large = report(Received(body=bytes(wire.LARGEST_BODY + 1)))
    aside = SetAside.of_report(large, "why").message()
    again = report(put_back(aside))
    assert again.letter is not None
    assert not again.letter.keeps_body
    assert bytes(again.event.payload) == b""
    assert "too large" in str(SetAside.of_report(again, "why").message().headers[wire.REASON])


TEXTS = [
    pytest.param("x", id="letters"),
    pytest.param('"', id="quotes"),
    pytest.param("\0", id="NULs"),
    pytest.param("𝄞", id="wide"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_headers_of_what_is_set_aside_fit_into_a_frame_whatever_was_in_them(text: str) -> None:
    """A larger one would end our connection, with each that follows."""
    much = text * (60_000 // len(text.encode()))
    error = Error(much[:100], much[:10_000], much[:10_000], much)
    for said in (msgspec.json.encode(error).decode(), much):
        headers = {
            wire.REASON: much,
            wire.ERROR: said,
            wire.DIED_AT: much,
            "theirs": much,
            "x-death": [DEATH | {"reason": much}],
        }
        aside = SetAside.of_report(report(Received(headers=headers)), much).message()
        size = sum(len(key.encode()) + len(str(value).encode()) + 10 for key, value in aside.headers.items())
        assert size < FRAME
        assert report(put_back(aside)).event.error is not None


@pytest.mark.parametrize(
    "noted", ["no JSON", '{"headers": 1}', "{" * 50_000, '{"headers":{"a":' + "[" * 9_000, 7, None]
)
def test_what_somebody_else_noted_is_no_trouble(noted: object) -> None:
    headers = {"leveret-exchange": topology.DEAD, "leveret-routing-key": QUEUE, "leveret-noted": noted}
    found = report(Received(headers=headers, exchange="", routing_key=topology.EVENTS))
    assert (found.queue, found.event.id) == (QUEUE, JOB)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"leveret-noted": '{"headers":{"x-delivery-count":1180591620717411303424}}'}, id="a large number"),
        pytest.param({"leveret-noted": '{"headers":{"theirs":"x"}}'}, id="a header of theirs"),
        pytest.param({"leveret-routing-key": "q" * 130_000}, id="a long key"),
    ],
)
def test_what_somebody_else_noted_can_be_set_aside_again(more: dict[str, Any]) -> None:
    headers = {"leveret-exchange": topology.DEAD, "leveret-routing-key": QUEUE, "leveret-noted": "{}"} | more
    batch = Batch()
    read(cast(Any, Received(headers=headers, exchange="", routing_key=topology.EVENTS, body=b"no events")), batch, NOW)
    some = [SetAside.of_report(one, "why") for one in batch.reports] + batch.aside
    [aside] = [one.message() for one in some]
    assert sum(len(key) + len(str(value)) for key, value in aside.headers.items()) < FRAME
    assert "theirs" not in aside.headers
    assert len(str(aside.headers["leveret-routing-key"])) <= 255
    Header(properties=aside.properties, body_size=0).marshal()
