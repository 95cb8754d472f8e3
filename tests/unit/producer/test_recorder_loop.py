"""A batch of events is read, merged and counted in slices: 4,000 stood the loop for 50 to 100 ms at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest
from standing import turns

from leveret import events, topology
from leveret.events import NO_RESULT, JobEvent
from leveret.jobs import State
from leveret_producer.metrics import Metrics
from leveret_producer.recorder.recorder import Recorder
from leveret_producer.recorder.writer import Writer
from leveret_producer.store import recording_sql as sql
from leveret_producer.store.cancels import Cancels
from leveret_producer.store.recording import Recording

NOW = datetime.now(UTC)
MOST = 4_000


@dataclass
class Taking:
    """In place of the database, the publisher and the replies: takes all, a turn of the loop later."""

    jobs: int = 0
    attempts: int = 0
    aside: list[Any] = field(default_factory=list)

    @asynccontextmanager
    async def transaction(self, timeout: float) -> AsyncIterator["Taking"]:
        yield self

    async def execute(self, statement: object, values: dict[str, Any]) -> list[Any]:
        await asyncio.sleep(0)
        if statement is sql.JOBS:
            self.jobs += len(values["id"])
            return [SimpleNamespace(id=one, cancel_requested_at=None) for one in values["id"]]
        self.attempts += len(values["job_id"]) if statement is sql.ATTEMPTS else 0
        return []

    async def answer(self, dead: list[object]) -> None:
        assert not dead

    async def publish(self, exchange: str, queue: str, message: object) -> None:
        self.aside.append(message)


def _event(number: int) -> JobEvent:
    ends = number % 2 == 1
    return JobEvent(
        id=UUID(int=number // 2), type="t", state=State.SUCCEEDED if ends else State.RUNNING, at=NOW, consumer="c",
        attempt=1, submitted_at=NOW - timedelta(seconds=1), started_at=NOW,
        result=msgspec.Raw(b'"' + b"r" * 100 + b'"') if ends else NO_RESULT,
    )  # fmt: skip


def _message(body: bytes) -> SimpleNamespace:
    return SimpleNamespace(exchange=topology.EVENTS, routing_key="job.leveret.a", body=body)


ALL = [_event(number) for number in range(MOST)]


@pytest.mark.parametrize("messages", [1, 40])
async def test_a_batch_of_four_thousand_events_leaves_the_loop_to_others(messages: int) -> None:
    each = MOST // messages
    batch = [_message(events.encode(ALL[start : start + each])) for start in range(0, MOST, each)]
    taking = Taking()
    await turns(lambda: _record(taking, batch))
    assert (taking.jobs % (MOST // 2), taking.attempts > 0, taking.aside) == (0, True, [])


BAD = {
    "one is bad": lambda: events.encode(ALL)[:-1] + b',{"id":7}]',
    "brackets": lambda: b"[" * (2 << 20),
    "commas": lambda: b"[" + b"," * (2 << 20),
    "strings": lambda: b"[" + b'"",' * (600 << 10) + b'""]',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
async def test_so_does_what_is_read_one_by_one_since_one_is_bad(body: Callable[[], bytes]) -> None:
    taking, made = Taking(), body()
    await turns(lambda: _record(taking, [_message(made)]))
    assert taking.aside


async def _record(taking: Taking, messages: list[SimpleNamespace]) -> None:
    played, metrics = cast(Any, taking), Metrics()
    recorder = Recorder(Writer(Recording(played), Cancels(played), metrics), metrics)
    await recorder._record(played, cast(Any, messages), played)
