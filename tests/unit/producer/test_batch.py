"""Events as they come: one that can't be read is set aside, and its neighbours are not."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from leveret import events, topology
from leveret.events import CancelRequested, JobEvent, Progress
from leveret.jobs import State
from leveret_producer.recorder.batch import Batch, cancel_rounds, read

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
NAN: Any = float("nan")


class Message:
    """As much of one as is read."""

    def __init__(self, routing_key: str, body: bytes) -> None:
        self.exchange, self.routing_key, self.body = topology.EVENTS, routing_key, body


def batch_of(body: bytes, key: str = "job.q") -> Batch:
    batch, message = Batch(), Message(key, body)
    read(message, batch, NOON)  # type: ignore[arg-type]
    return batch


def event(number: int, **more: Any) -> JobEvent:
    return JobEvent(UUID(int=number), "t", State.RUNNING, NOON, "pod", **more)


BAD = [
    pytest.param(event(2, progress=Progress(NAN, None)), id="NaN as progress, which is written as null"),
    pytest.param(event(2, progress=Progress("half", None)), id="text as progress"),  # type: ignore[arg-type]
    pytest.param(event(2, result=msgspec.Raw(b'{"a": NaN, "b]": "}, {"}')), id="a result that is no JSON"),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_event_is_set_aside_alone(bad: JobEvent) -> None:
    written = [events.encode([one])[1:-1] for one in (event(1), bad, event(3))]
    batch = batch_of(b" [" + b" ,\n".join(written) + b"] ")
    assert [(report.queue, report.event) for report in batch.reports] == [("q", event(1)), ("q", event(3))]
    (aside,) = batch.aside
    assert (aside.routing_key, aside.body) == ("job.q", b"[%b]" % written[1]), "as it can be published again"
    assert aside.because.startswith("the body is not that of job events: ")


WHOLE = [
    pytest.param("job.q", b'[{"id": 1}, {"id"', id="it breaks off"),
    pytest.param("job.q", b"[{}] x", id="something follows"),
    pytest.param("job.q", b"[{},]", id="a comma too many"),
    pytest.param("job.q", b"[" * 100_000, id="too deep"),
    pytest.param("job.q", b"\xff", id="no text"),
    pytest.param("job.q", b"{}", id="no list"),
    pytest.param("queue.q", b"[{}]", id="not of jobs"),
    pytest.param("odd", b"[]", id="no kind"),
]


@pytest.mark.parametrize(("key", "body"), WHOLE)
def test_what_has_no_events_in_it_is_set_aside_as_it_is(key: str, body: bytes) -> None:
    batch = batch_of(body, key)
    assert (batch.reports, batch.told) == ([], [])
    assert [(aside.routing_key, aside.body) for aside in batch.aside] == [(key, body)]


def test_no_events_are_no_error() -> None:
    assert batch_of(b"[]") == Batch()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" + b",".join([b"0"] * 1_000_000) + b"]", id="numbers"),
        pytest.param(b"[" + b",".join([b'{"a":1}'] * 100_000) + b"]", id="small objects"),
        pytest.param(b"[" + b",".join([b'{"a":"%b"}' % (b"x" * 100)] * 30_000) + b"]", id="larger than ours are"),
    ],
)
def test_what_can_be_no_list_of_events_is_set_aside_whole(body: bytes) -> None:
    batch = batch_of(body)
    assert [one.body for one in batch.aside] == [body]
    assert batch.reports == []


def test_requests_to_cancel_are_split_so_that_each_part_names_a_job_once() -> None:
    one, other = UUID(int=1), UUID(int=2)
    asked = [
        ("q", CancelRequested(one)),
        ("q", CancelRequested(one, generation=3)),
        ("q", CancelRequested(other)),
        ("r", CancelRequested(one)),
        ("q", CancelRequested(one, generation=2)),
    ]
    parts = cancel_rounds(asked)
    assert sorted(len(part) for part in parts) == [1, 2]
    assert {(queue, told.id, told.generation) for part in parts for queue, told in part} == {
        ("q", one, 3), ("q", other, 1), ("r", one, 1),
    }  # fmt: skip
