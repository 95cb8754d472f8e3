"""Old messages of dead letters that are over leave the queue; the others stay, in their order, whoever is killed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec
import pytest
import uuid_utils.compat
from aio_pika.abc import AbstractIncomingMessage
from producers import QUEUE, Producer, database_url, eventually_true, known, operating, producing, ready

from leveret import topology, wire
from leveret.events import Error
from leveret.jobs import Envelope
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database
from leveret_producer.dead_letters.judging import Known
from leveret_producer.dead_letters.sweep import Sweep
from leveret_producer.recorder.merge import Report
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.recording import Recording
from leveret_producer.store.sweeping import Sweeping

LETTERS = f"/v1/queues/{QUEUE}/dead-letters"
FAILED = Error("AttemptsExhausted", "boom")
DEAD = topology.dead_queue(QUEUE)
KEPT = timedelta(days=30)


def _dead_message(id: UUID, body: bytes = b"1") -> tuple[Envelope, dict[str, str | int]]:
    headers: dict[str, str | int] = {wire.REASON: FAILED.reason, wire.ERROR: msgspec.json.encode(FAILED).decode()}
    return Envelope(id, QUEUE, "free", body, attempt=5), headers


async def _die(publisher: Publisher, number: int, body: bytes = b"1") -> list[UUID]:
    """Publish dead letters one after the other, so that their order is known; return their ids."""
    ids = [UUID(str(uuid_utils.compat.uuid7())) for _ in range(number)]
    for one in ids:
        job, headers = _dead_message(one, body)
        await publisher.publish(topology.DEAD, QUEUE, wire.to_message(job, headers))
    return ids


async def _recorded(producer: Producer, number: int) -> None:
    async def are() -> bool:
        return len((await producer.http.get(f"{LETTERS}?limit=500")).json()["dead_letters"]) == number

    await eventually_true(are, f"{number} dead letters are known", seconds=60)


async def _left(broker: Broker, number: int) -> list[UUID]:
    """Return the ids of the messages in the queue, in their order, and leave them there."""
    found: list[AbstractIncomingMessage] = []
    async with await open_connection(broker, "test look") as connection:
        channel = await connection.channel()
        handle = await channel.get_queue(DEAD, ensure=False)

        async def take(message: AbstractIncomingMessage) -> None:
            found.append(message)

        await handle.consume(take)

        async def there() -> bool:
            return len(found) >= number

        await eventually_true(there, f"{number} messages are in the queue of dead letters", seconds=60)
        await asyncio.sleep(1)
    return [UUID(one.message_id) for one in found]


async def _waiting(broker: Broker, number: int) -> None:
    """Wait until the broker has put back what was held."""

    async def are() -> bool:
        async with await open_connection(broker, "test look") as connection:
            found = await (await connection.channel()).declare_queue(DEAD, passive=True)
            return found.declaration_result.message_count == number

    await eventually_true(are, f"{number} messages wait in the queue of dead letters", seconds=60)


@asynccontextmanager
async def _sql(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url(database))
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _store(database: Database) -> AsyncIterator[Postgres]:
    store = Postgres(lambda: database, connections=2, name="test sweep")
    try:
        yield store
    finally:
        await store.close()


def _now() -> datetime:
    return datetime.now(UTC)


async def _untold(reports: Sequence[Report]) -> None:
    raise AssertionError(f"the store knows all of them, and was told of {len(reports)}")


async def test_what_was_redriven_or_purged_goes_by_itself_and_the_rest_keeps_its_order(
    broker: Broker, database: Database
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        ids = await _die(operator, 300)
        await _recorded(producer, 300)
        gone = [str(one) for one in ids[::3]]
        assert (await producer.http.post(f"{LETTERS}/redrive", json={"ids": gone})).status_code == 202

        async def is_swept() -> bool:
            async with _sql(database) as connection:
                return bool(await connection.fetchval("SELECT swept_at IS NOT NULL FROM dead_letter_operations"))

        await eventually_true(is_swept, "the queue is swept", seconds=150)
        kept = [one for one in ids if str(one) not in set(gone)]
        assert await _left(broker, len(kept)) == kept


async def test_what_stays_may_be_more_than_a_consumer_may_hold(
    broker: Broker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leveret_producer.dead_letters.sweep.NEXT", 20.0)  # a busy broker is no queue at its end
    async with _store(database) as store:
        async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
            await ready(producer)
            await known(producer)
            ids = await _die(operator, 250)
            await _recorded(producer, 250)
        async with _sql(database) as connection:
            purged = ids[100:110] + ids[200:205]
            await connection.execute("UPDATE jobs SET purged_at = now() WHERE id = ANY($1::uuid[])", purged)
        sweep = Sweep(Sweeping(store).known, _untold, _now, KEPT, prefetch=20)
        async with await open_connection(broker, "test sweep") as broker_connection:
            swept = await sweep.run(broker_connection, QUEUE)
            assert (swept.there, swept.seen, swept.gone, swept.complete) == (250, 250, 15, True)
            await _waiting(broker, 235)
            again = await sweep.run(broker_connection, QUEUE)
            assert (again.there, again.seen, again.gone) == (235, 235, 0)
        kept = [one for one in ids if one not in set(purged)]
        assert await _left(broker, len(kept)) == kept


async def test_what_a_sweep_held_when_it_ended_is_there_again(broker: Broker, database: Database) -> None:
    async with _store(database) as store:
        async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
            await ready(producer)
            await known(producer)
            ids = await _die(operator, 100)
            await _recorded(producer, 100)
        asked = 0

        async def fails_late(some: Sequence[UUID]) -> dict[UUID, Known]:
            nonlocal asked
            asked += len(some)
            if asked > 40:
                raise ZeroDivisionError
            return await Sweeping(store).known(some)

        async with await open_connection(broker, "test sweep") as broker_connection:
            with pytest.raises(ZeroDivisionError):
                await Sweep(fails_late, _untold, _now, KEPT, prefetch=20).run(broker_connection, QUEUE)
        left = await _left(broker, 100)
        assert sorted(left) == sorted(ids)


async def test_the_store_learns_what_it_never_saw(broker: Broker, database: Database) -> None:
    async with _store(database) as store, producing(broker, database) as producer:
        async with operating(broker, QUEUE) as operator:
            await ready(producer)
            await known(producer)
            ids = await _die(operator, 30, b'{"a": 1}')
            await _recorded(producer, 30)
        async with _sql(database) as connection:  # as after a backup was restored
            await connection.execute("DELETE FROM jobs WHERE id = ANY($1::uuid[])", ids[:10])
            await connection.execute("DELETE FROM payloads WHERE id = ANY($1::uuid[])", ids[:20])

        async def tell(reports: Sequence[Report]) -> None:
            await Recording(store).record(reports)

        sweep = Sweep(Sweeping(store).known, tell, _now, KEPT)
        async with await open_connection(broker, "test sweep") as broker_connection:
            swept = await sweep.run(broker_connection, QUEUE)
            assert (swept.seen, swept.gone, swept.told) == (30, 0, 20)
            await _waiting(broker, 30)
            again = await sweep.run(broker_connection, QUEUE)
            assert (again.seen, again.gone, again.told) == (30, 0, 0)
        await _recorded(producer, 30)
        for one in (ids[0], ids[10]):
            shown = (await producer.http.get(f"{LETTERS}/{one}")).json()
            assert (shown["payload"], shown["redrivable"], shown["reason"]) == ({"a": 1}, True, "AttemptsExhausted")
        assert await _left(broker, 30) == ids


async def test_what_retention_removed_is_not_told_again(broker: Broker, database: Database) -> None:
    """A purge whose sweep never came to its end: the messages are there yet, and the jobs' rows are gone."""
    async with _store(database) as store:
        async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
            await ready(producer)
            await known(producer)
            ids = await _die(operator, 10)
            await _recorded(producer, 10)
        async with _sql(database) as connection:
            for table in ("jobs", "payloads"):
                await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant
        sweep = Sweep(Sweeping(store).known, _untold, lambda: _now() + KEPT + timedelta(minutes=5), KEPT)
        async with await open_connection(broker, "test sweep") as broker_connection:
            swept = await sweep.run(broker_connection, QUEUE)
            assert (swept.seen, swept.gone, swept.told) == (10, 0, 0)
        assert await _left(broker, 10) == ids


async def test_another_consumer_of_the_dead_letters_is_left_alone(broker: Broker, database: Database) -> None:
    async with _store(database) as store:
        async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
            await ready(producer)
            await known(producer)
            await _die(operator, 10)
            await _recorded(producer, 10)
        taken: list[AbstractIncomingMessage] = []

        async def take(message: AbstractIncomingMessage) -> None:
            taken.append(message)

        sweep = Sweep(Sweeping(store).known, _untold, _now, KEPT)
        async with (
            await open_connection(broker, "test other") as other,
            await open_connection(broker, "test sweep") as ours,
        ):
            channel = await other.channel()
            await channel.set_qos(prefetch_count=3)
            handle = await channel.get_queue(DEAD, ensure=False)
            await handle.consume(take)

            async def has_some() -> bool:
                return len(taken) == 3

            await eventually_true(has_some, "the other consumer has its messages")
            swept = await sweep.run(ours, QUEUE)
            assert (swept.seen, swept.complete) == (0, False)
            assert len(taken) == 3


async def test_a_queue_that_is_not_there_is_swept(broker: Broker, database: Database) -> None:
    async with _store(database) as store, await open_connection(broker, "test sweep") as connection:
        swept = await Sweep(Sweeping(store).known, _untold, _now, KEPT).run(connection, "leveret.gone")
        assert (swept.there, swept.complete) == (0, True)
