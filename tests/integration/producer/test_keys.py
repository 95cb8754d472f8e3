"""Requests with a key, on a real PostgreSQL: whoever is killed and however many come at once, each is stored once."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import uuid_utils.compat
from containers import free_port
from producers import (
    QUEUE,
    TOKEN,
    Producer,
    eventually_true,
    known,
    operating,
    process_environment,
    producing,
    ready,
    tell,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret.events import QueueRemoved
from leveret.jobs import Envelope
from leveret.settings import Broker, Database
from leveret_producer.access.token import CALLER
from leveret_producer.idempotency import keyed
from leveret_producer.slices import at_once
from leveret_producer.store.jobs import Jobs, NewJob
from leveret_producer.store.postgres import Postgres

JOB: dict[str, Any] = {"type": "free", "payload": {"n": 1}}


@pytest.fixture
async def two(broker: Broker, database: Database) -> AsyncIterator[tuple[Producer, Producer]]:
    async with (
        producing(broker, database, "producer-a") as one,
        producing(broker, database, "producer-b") as other,
        operating(broker, QUEUE),
    ):
        for producer in (one, other):
            await ready(producer)
            await known(producer)
        yield one, other


async def send(producer: Producer, asked: object, key: str, queue: str = QUEUE) -> httpx.Response:
    return await producer.http.post(f"/v1/queues/{queue}/jobs", json=asked, headers={"Idempotency-Key": key})


def ids_of(answer: httpx.Response) -> list[str]:
    document = answer.json()
    return [job["id"] for job in document.get("jobs", [document])]


async def stored(producer: Producer) -> int:
    return len((await producer.http.get(f"/v1/jobs?queue={QUEUE}&limit=500")).json()["jobs"])


@pytest.mark.parametrize("asked", [JOB, [JOB] * 40], ids=["a job", "a list"])
async def test_of_twenty_at_once_at_two_producers_one_stores(two: tuple[Producer, Producer], asked: Any) -> None:
    jobs = 0
    for number in range(5):
        answers = await asyncio.gather(*(send(two[one % 2], asked, f"key-{number}") for one in range(20)))
        assert {answer.status_code for answer in answers} <= {202, 409}
        first = [answer for answer in answers if answer.status_code == 202]
        assert [answer.headers.get("idempotent-replayed") for answer in first].count(None) == 1
        assert len({answer.content for answer in first}) == 1
        assert len({answer.headers.get("location") for answer in first}) == 1
        for answer in answers:
            if answer.status_code == 409:
                assert answer.json()["type"].endswith("/request-in-progress")
                assert int(answer.headers["retry-after"]) > 0
        again = await send(two[0], asked, f'"key-{number}"')
        assert (again.status_code, again.content) == (202, first[0].content)
        jobs += len(ids_of(again))
        assert await stored(two[1]) == jobs


async def test_another_body_or_queue_is_refused_and_a_refusal_uses_no_key_up(two: tuple[Producer, Producer]) -> None:
    producer = two[0]
    for bad, status in (({"type": "free"}, 422), (JOB | {"delay": "x"}, 422), ([], 422)):
        assert (await send(producer, bad, "k")).status_code == status
    assert (await send(producer, JOB, "k", "leveret.nowhere")).status_code == 404
    first = await send(producer, JOB | {"delay": "1h"}, "k")
    assert (first.status_code, "idempotent-replayed" in first.headers) == (202, False)
    for other, queue in ((JOB, QUEUE), ([JOB], QUEUE), (JOB | {"delay": "1h"}, "leveret.nowhere")):
        refused = await send(two[1], other, "k", queue)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (422, "key-reused")
    again = await send(two[1], JOB | {"delay": "1h"}, "k")
    assert (again.content, again.headers["location"]) == (first.content, first.headers["location"])
    assert await stored(producer) == 1


async def test_a_queue_that_is_gone_is_answered_as_before(two: tuple[Producer, Producer], broker: Broker) -> None:
    first = await send(two[0], [JOB, JOB], "k")
    async with operating(broker) as operator:
        await tell(operator, f"queue.{QUEUE}", QueueRemoved(datetime.now(UTC)))

        async def is_gone() -> bool:
            return (await two[1].submit(JOB)).status_code == 404

        await eventually_true(is_gone, "the queue is gone")
    assert (await send(two[1], [JOB, JOB], "k")).content == first.content


class Slow(Postgres):
    """Of which what commits itself waits for a word before it does."""

    def __init__(self, database: Database) -> None:
        super().__init__(lambda: database, connections=1, name="slow")
        self.written, self.go = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def statement(self, timeout: float = 5.0) -> AsyncIterator[AsyncConnection]:
        async with self.transaction(30.0) as connection:
            yield connection
            self.written.set()
            await self.go.wait()


@pytest.mark.parametrize("ends", ["commits", "dies"])
async def test_what_another_is_storing_is_not_waited_for(
    two: tuple[Producer, Producer], database: Database, ends: str
) -> None:
    body = httpx.Request("POST", "http://x", json=JOB).content
    key, now = at_once(keyed(CALLER, "k", QUEUE, body)), datetime.now(UTC)
    slow = Slow(database)
    new = NewJob(Envelope(uuid_utils.compat.uuid7(), QUEUE, "free", b'{"n":1}', submitted_at=now), 5)
    storing = asyncio.create_task(Jobs(slow).insert([new], now, 0.0, key, None))
    await slow.written.wait()
    began = asyncio.get_running_loop().time()
    held = await asyncio.gather(*(send(two[one % 2], JOB, "k") for one in range(20)))
    assert {answer.status_code for answer in held} == {409}
    assert asyncio.get_running_loop().time() - began < 5
    assert (await send(two[0], JOB, "another")).status_code == 202  # nobody else is held up
    if ends == "commits":
        slow.go.set()
        await storing
    else:
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
    await slow.close()
    answer = await send(two[1], JOB, "k")
    assert answer.status_code == 202
    assert (ids_of(answer) == [str(new.job.id)]) is (ends == "commits")
    assert await stored(two[0]) == 2


async def test_a_producer_that_is_killed_has_stored_each_request_once_or_not_at_all(
    broker: Broker, database: Database
) -> None:
    """Whoever sends all of them again, to another one, has each job once, and the ids that were answered."""
    port = free_port()
    environment = process_environment(broker, database, port, free_port())
    async with producing(broker, database) as other, operating(broker, QUEUE):
        await ready(other)
        await known(other)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "leveret_producer", env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        answered: dict[int, list[str]] = {}
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
        ) as http:

            async def is_up() -> bool:
                try:
                    return (await http.get(f"/v1/queues/{QUEUE}")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually_true(is_up, "the process serves")

            async def submit(number: int) -> None:
                headers = {"Idempotency-Key": f"key-{number}"}
                try:
                    answer = await http.post(f"/v1/queues/{QUEUE}/jobs", json=JOB, headers=headers)
                except httpx.TransportError:
                    return
                if answer.status_code == 202:
                    answered[number] = ids_of(answer)
                if len(answered) == 100 and process.returncode is None:
                    process.send_signal(signal.SIGKILL)

            await asyncio.gather(*(submit(number) for number in range(300)))
        await process.wait()
        assert 100 <= len(answered) < 300
        found = Counter[str]()
        for number in range(300):

            async def is_stored(number: int = number) -> bool:
                answer = await send(other, JOB, f"key-{number}")
                if answer.status_code == 202:
                    assert answered.get(number, ids_of(answer)) == ids_of(answer)
                    found.update(ids_of(answer))
                return answer.status_code == 202

            await eventually_true(is_stored, f"request {number} is stored")
        assert (len(found), found.total(), await stored(other)) == (300, 300, 300)
