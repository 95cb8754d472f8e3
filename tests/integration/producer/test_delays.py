"""Waits that a consumer leaves to the store: none is early, whatever the clocks say, and the message is whole."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import msgspec
import pytest
from aio_pika.abc import AbstractIncomingMessage
from producers import QUEUE, eventually, eventually_true, known, operating, producing, ready, tell

from leveret import topology
from leveret.events import JobEvent
from leveret.jobs import State
from leveret.rabbitmq.connection import open_connection
from leveret.settings import Broker, Database

LATE = 2.0  # s, at most
HEADERS: dict[str, Any] = {"mine": 7, "text": "é\0", "half": 0.5, "yes": True}
NONE_OF_THE_SENDERS: dict[str, Any] = {
    "x-delay": 5, "CC": "q", "leveret-delay": "5s", "leveret-attempt": 9, "nested": {"a": 1}, "n" * 300: 1, "big": 10**30,
}  # fmt: skip


@asynccontextmanager
async def arrivals(broker: Broker) -> AsyncIterator[dict[str, tuple[float, AbstractIncomingMessage]]]:
    """What comes to the queue, and when."""
    found: dict[str, tuple[float, AbstractIncomingMessage]] = {}

    async def note(message: AbstractIncomingMessage) -> None:
        assert message.message_id not in found, "twice"
        found[message.message_id or ""] = time.time(), message

    async with await open_connection(broker, "test consumer") as connection:
        queue = await (await connection.channel()).get_queue(QUEUE, ensure=False)
        await queue.consume(note, no_ack=True)
        yield found


def waits(job: UUID, at: datetime, seconds: float, **fields: Any) -> JobEvent:
    until = at + timedelta(seconds=seconds)
    given: dict[str, Any] = {"attempt": 2, "started_at": at, "payload": msgspec.Raw(b'{"n": 1}')} | fields
    return JobEvent(job, "t", State.RETRYING, at, "pod", retry_at=until, publish_at=until, **given)


# How far the consumer's clock is ahead, the wait, and how much later the report comes; all in s.
CLOCKS = [
    (0.0, 2.1, 0.0),
    (0.0, 4.0, 0.0),
    (0.4, 3.0, 0.0),
    (-0.4, 3.0, 0.0),
    (3.0, 3.0, 0.0),
    (-30.0, 3.0, 0.0),  # by so much is no clock behind: a report that comes late, and it's due
    (0.0, 3.0, 1.5),
    (0.0, 2.5, 4.0),
]


async def test_no_wait_is_early_by_a_clock_and_what_comes_late_is_in_time_for_the_rest(
    broker: Broker, database: Database
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        async with arrivals(broker) as found:
            begun: dict[str, float] = {}

            async def one(ahead: float, wait: float, later: float) -> None:
                job, now = uuid4(), time.time()
                begun[str(job)] = now
                event = waits(
                    job, datetime.fromtimestamp(now + ahead, UTC), wait, headers=HEADERS | NONE_OF_THE_SENDERS
                )
                await asyncio.sleep(later)
                await tell(operator, f"job.{QUEUE}", [event])

            await asyncio.gather(*(one(*clock) for clock in CLOCKS))
            await eventually(lambda: len(found) == len(CLOCKS), "all are published")
        for (job, since), (ahead, wait, later) in zip(begun.items(), CLOCKS, strict=True):
            at, message = found[job]
            rest = 0.0 if ahead < -1 else max(wait, later)
            assert rest <= at - since <= rest + LATE, (ahead, wait, later)
            assert message.headers == HEADERS | {"leveret-attempt": 3, "leveret-generation": 1}


@pytest.mark.parametrize("declared", [True, False], ids=["there", "gone for a moment"])
async def test_a_message_for_later_is_no_attempt_and_is_published_then_without_its_header(
    broker: Broker, database: Database, declared: bool
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        job, at = uuid4(), datetime.now(UTC)
        if declared:  # then a consumer takes it, and tells this
            event = waits(job, at, 3, attempt=0, started_at=None, headers={"mine": 7})
            await tell(operator, f"job.{QUEUE}", [event])
        else:
            async with await open_connection(broker, "test") as connection, connection.channel() as channel:
                await channel.queue_delete(QUEUE)
            headers = {"mine": 7, "leveret-delay": "3s"}
            message = aio_pika.Message(b'{"n": 1}', message_id=str(job), type="t", headers=headers, delivery_mode=2)
            await operator.publish(topology.JOBS, QUEUE, message)

        async def retrying() -> bool:
            answer = await producer.http.get(f"/v1/jobs/{job}")
            return answer.status_code == 200 and answer.json()["state"] == "retrying"

        await eventually_true(retrying, "it waits")
        shown = await producer.job(str(job))
        assert (shown["attempt"], shown["attempts"], shown["payload"], shown["error"]) == (0, [], {"n": 1}, None)
        async with operating(broker, QUEUE), arrivals(broker) as found:
            await eventually(lambda: str(job) in found, "it is published")
        arrived, message_back = found[str(job)]
        assert arrived - at.timestamp() >= 3
        assert message_back.headers == {"mine": 7, "leveret-attempt": 1, "leveret-generation": 1}
        assert message_back.body == b'{"n": 1}'
