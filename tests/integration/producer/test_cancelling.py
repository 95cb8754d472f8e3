"""A cancel from the request to the stream that consumers read: what is answered, what is told, and that it is told again."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import msgspec
from control_stream import reading, told
from producers import (
    QUEUE,
    Producer,
    database_url,
    eventually,
    eventually_true,
    known,
    operating,
    producing,
    ready,
    tell,
)

from leveret import topology
from leveret.events import CancelRequested, JobEvent, QueueObserved
from leveret.jobs import State
from leveret.rabbitmq.connection import open_connection
from leveret.reply import OUTCOME
from leveret.settings import Broker, Database
from leveret_producer.store.cancels import Cancels, Wanted
from leveret_producer.store.commands import CANCEL, Commands
from leveret_producer.store.migrate import migrate
from leveret_producer.store.outbox import LEASE
from leveret_producer.store.postgres import Postgres


async def _in_state(producer: Producer, id: str, state: State) -> dict[str, Any]:
    async def is_so() -> bool:
        answer = await producer.http.get(f"/v1/jobs/{id}")
        return answer.status_code == 200 and answer.json()["state"] == state

    await eventually_true(is_so, f"the job is {state}")
    return await producer.job(id)


async def _cancel(producer: Producer, id: object, status: int, queue: str | None = None) -> dict[str, Any]:
    answer = await producer.http.post(f"/v1/{f'queues/{queue}/' if queue else ''}jobs/{id}/cancel")
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _finished(producer: Producer) -> float:
    labels = {"queue": QUEUE, "outcome": "cancelled"}
    return producer.metrics.registry.get_sample_value("leveret_jobs_finished_total", labels) or 0


async def test_what_is_answered(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE, "leveret.other") as operator:
        await ready(producer)
        await known(producer)
        await known(producer, "leveret.other")
        later = (await producer.submit({"type": "t", "payload": 0, "delay": "1h"})).json()["id"]
        shown = await _cancel(producer, later, 202)
        assert (shown["state"], "warning" in shown) == ("cancelled", False)
        assert await _cancel(producer, later, 202, QUEUE) == shown == await producer.job(later)
        assert _finished(producer) == 1

        job = (await producer.submit({"type": "t", "payload": 0})).json()["id"]
        assert (await producer.job(job))["cancel_requested_at"] is None
        await _in_state(producer, job, State.QUEUED)
        shown = await _cancel(producer, job, 202)
        assert (shown["state"], shown["cancel_requested_at"] is not None, "warning" in shown) == ("queued", True, False)
        assert await _cancel(producer, job, 202) == shown
        async with reading(broker) as stream:
            await told(stream, (QUEUE, UUID(job), 1))
        await tell(operator, f"queue.{QUEUE}", QueueObserved(datetime.now(UTC), leveret_version="0.1.0"))

        async def warned() -> bool:
            return "run Leveret 0.1.0" in (await _cancel(producer, job, 202)).get("warning", "")

        await eventually_true(warned, "it is told that consumers are older")
        await tell(operator, f"job.{QUEUE}", [JobEvent(UUID(job), "t", State.SUCCEEDED, datetime.now(UTC), "pod")])
        await _in_state(producer, job, State.SUCCEEDED)
        assert (await _cancel(producer, job, 409))["type"].endswith("/job-finished")

        for one, queue, status, slug in (
            (uuid4(), None, 404, "unknown-job"),
            (later, "leveret.other", 404, "unknown-job"),
            (uuid4(), "leveret.tset", 404, "unknown-queue"),
            ("seven", None, 422, "invalid-request"),
        ):
            assert (await _cancel(producer, one, status, queue))["type"].endswith(f"/{slug}")


async def test_what_the_store_has_not_seen(broker: Broker, database: Database) -> None:
    by_event, by_http, other = uuid4(), uuid4(), uuid4()
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        await tell(operator, f"cancel.{QUEUE}", CancelRequested(by_event))
        shown = await _cancel(producer, by_http, 202, QUEUE)
        assert (shown["state"], shown["type"]) == ("queued", "")
        async with reading(broker) as stream:
            await told(stream, (QUEUE, by_event, 1), (QUEUE, by_http, 1))
        await tell(operator, "cancel.leveret.another", CancelRequested(by_http))
        await tell(operator, f"job.{QUEUE}", [JobEvent(other, "t", State.SUCCEEDED, datetime.now(UTC), "pod")])
        await _in_state(producer, str(other), State.SUCCEEDED)  # what came before it has been read
        assert producer.metrics.registry.get_sample_value("leveret_events_set_aside_total") == 1
        await tell(operator, f"job.{QUEUE}", [JobEvent(by_event, "mine", State.CANCELLED, datetime.now(UTC), "pod")])
        assert (await _in_state(producer, str(by_event), State.CANCELLED))["type"] == "mine"


async def test_snapshots_have_what_is_wanted_still_and_one_of_two_producers_writes_each(
    broker: Broker, database: Database
) -> None:
    connection = await asyncpg.connect(database_url(database))
    async with (
        producing(broker, database) as producer,
        producing(broker, database, "producer-b") as other,
        operating(broker, QUEUE) as operator,
    ):
        await ready(producer)
        await ready(other)
        await known(producer)
        async with reading(broker) as stream:

            async def another(number: int) -> set[tuple[str, UUID, int]]:
                await eventually(lambda: len(stream.whole()) >= number, f"snapshot {number} is whole")
                return stream.named(in_snapshot=stream.whole()[-1])

            assert await another(1) == set(), "complete, though nothing is wanted"
            ids = [uuid4() for _ in range(2_500)]
            cancels = Cancels(postgres := Postgres(lambda: database, connections=1, name="test"))
            for start in range(0, len(ids), 500):
                await cancels.ask([Wanted(one, 1, QUEUE) for one in ids[start : start + 500]], unseen=True)
            await postgres.close()
            await told(stream, *((QUEUE, one, 1) for one in ids))
            assert max(sum(len(one.jobs) for one in message.commands) for message in stream.messages) <= 18 * 1_000  # type: ignore[union-attr]
            await connection.execute("UPDATE turns SET until = now() WHERE name = 'control'")
            assert await another(2) == {(QUEUE, one, 1) for one in ids}
            now = datetime.now(UTC)
            await tell(operator, f"job.{QUEUE}", [JobEvent(one, "t", State.CANCELLED, now, "pod") for one in ids[1:]])
            await _in_state(producer, str(ids[-1]), State.CANCELLED)
            await connection.execute("UPDATE turns SET until = now() WHERE name = 'control'")
            assert await another(3) == {(QUEUE, ids[0], 1)}
            assert len(stream.whole()) == 3, "one of them at a time"
            # What nobody reports on for a day is no message.
            await connection.execute(
                "UPDATE jobs SET cancel_requested_at = now() - interval '25 hours' WHERE id = $1", ids[0]
            )
            await connection.execute("UPDATE turns SET until = now() WHERE name = 'control'")
            assert await another(4) == set()
            await _in_state(other, str(ids[0]), State.CANCELLED)
            assert await connection.fetchval("SELECT count(*) FROM cancels") == 0
            assert await connection.fetchval("SELECT count(*) FROM outbox") == 0
    await connection.close()


async def test_a_stream_that_was_deleted_is_made_again_and_told(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        await known(producer)
        job = (await producer.submit({"type": "t", "payload": 0})).json()["id"]
        await _in_state(producer, job, State.QUEUED)
        async with await open_connection(broker, "test") as connection, connection.channel() as channel:
            await channel.queue_delete(topology.CONTROL)
        await _cancel(producer, job, 202)

        async def is_there() -> bool:
            try:
                async with await open_connection(broker, "test") as connection, connection.channel() as channel:
                    await channel.declare_queue(topology.CONTROL, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                return False
            return True

        await eventually_true(is_there, "it is declared again")
        async with reading(broker) as stream:
            await told(stream, (QUEUE, UUID(job), 1))


async def test_what_a_producer_took_that_died_is_told_by_another(broker: Broker, database: Database) -> None:
    store = Postgres(lambda: database, connections=1, name="dead")
    await migrate(store)
    await Cancels(store).ask([Wanted(job := uuid4(), 1, QUEUE)], unseen=True)
    assert len(await Commands(store).take((CANCEL,), 10)) == 1
    await store.close()
    connection = await asyncpg.connect(database_url(database))
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        await connection.execute("UPDATE outbox SET lease_until = lease_until - $1 * interval '1 second'", LEASE)
        async with reading(broker) as stream:
            await told(stream, (QUEUE, job, 1))
    await connection.close()


async def test_who_waits_for_an_answer_has_it_from_the_database_alone(broker: Broker, database: Database) -> None:
    async with (
        producing(broker, database) as producer,
        operating(broker, QUEUE) as operator,
        await open_connection(broker, "client") as client,
    ):
        await ready(producer)
        await known(producer)
        mine = await (await client.channel()).declare_queue(exclusive=True)
        at = datetime.now(UTC) + timedelta(hours=1)
        asked = JobEvent(
            uuid4(), "t", State.RETRYING, datetime.now(UTC), "pod", retry_at=at, publish_at=at, payload=msgspec.Raw(b"1"),
            reply_to=mine.name, correlation_id="c",
        )  # fmt: skip
        await tell(operator, f"job.{QUEUE}", [asked])
        await _in_state(producer, str(asked.id), State.RETRYING)
        assert (await _cancel(producer, asked.id, 202))["state"] == "cancelled"
        found: list[aio_pika.abc.AbstractIncomingMessage] = []

        async def is_there() -> bool:
            message = await mine.get(no_ack=True, fail=False)
            found.extend([message] if message else [])
            return bool(found)

        await eventually_true(is_there, "the reply is there")
        assert (found[0].headers[OUTCOME], found[0].correlation_id) == ("cancelled", "c")
        assert b"job-cancelled" in found[0].body
