"""What the broker gives up, and what it has no queue for, is known to the store, whole, and answered."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import msgspec
import pytest
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from containers import Server, free_port
from producers import QUEUE, Producer, eventually_true, known, operating, process_environment, producing, ready, tell
from sqlalchemy import text

from leveret import topology, wire
from leveret.events import Error, JobEvent, QueueRemoved
from leveret.jobs import Envelope, State, merge_key
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database
from leveret_producer.recorder.merge import Report
from leveret_producer.store.jobs import Jobs, NewJob
from leveret_producer.store.migrate import migrate
from leveret_producer.store.outbox import Lease, OutboxRows, Publication
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.recording import Recording
from leveret_producer.store.returning import Returning

GONE = "leveret.gone"
NOBODYS = "leveret.nobodys"
LONG = 60.0  # s; this may run beside a lot


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Postgres]:
    found = Postgres(lambda: database, connections=2, name="test look")
    yield found
    await found.close()


@pytest.fixture
async def client(broker: Broker) -> AsyncIterator[AbstractConnection]:
    """A client of the broker that is not Leveret's."""
    async with await open_connection(broker, "test client") as connection:
        yield connection


async def _row(store: Postgres, id: UUID | str) -> dict[str, Any] | None:
    query = text(
        "SELECT jobs.*, payloads.body, payloads.raw, payloads.reply_to, payloads.priority, payloads.traceparent"
        " FROM jobs LEFT JOIN payloads USING (id) WHERE id = CAST(:id AS uuid)"
    )
    async with store.transaction() as connection:
        row = (await connection.execute(query, {"id": str(id)})).mappings().one_or_none()
    return dict(row) if row else None


async def _dead(store: Postgres, id: UUID | str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    async def is_dead() -> bool:
        row = await _row(store, id)
        found[:] = [row] if row and row["state"] == "dead" else []
        return bool(found)

    await eventually_true(is_dead, f"{id} is dead", LONG)
    return found[0]


async def _count(store: Postgres, where: str = "true") -> int:
    async with store.transaction() as connection:
        query = text(f"SELECT count(*) FROM jobs WHERE {where}")  # noqa: S608 - a constant of a test
        return int((await connection.execute(query)).scalar_one())


async def _callback(client: AbstractConnection) -> tuple[str, list[AbstractIncomingMessage]]:
    """Return the name of an exclusive queue, and the list to which its messages are added."""
    heard: list[AbstractIncomingMessage] = []
    queue = await (await client.channel()).declare_queue(exclusive=True)

    async def hear(message: AbstractIncomingMessage) -> None:
        heard.append(message)

    await queue.consume(hear, no_ack=True)
    return queue.name, heard


async def _arrive(client: AbstractConnection, queue: str, number: int) -> list[AbstractIncomingMessage]:
    """Take messages of a queue until there are so many different ones."""
    found: dict[str, AbstractIncomingMessage] = {}

    async def take(message: AbstractIncomingMessage) -> None:
        found[message.message_id or ""] = message

    async def all_there() -> bool:
        return len(found) >= number

    async with client.channel() as channel:
        await (await channel.get_queue(queue, ensure=False)).consume(take, no_ack=True)
        await eventually_true(all_there, f"{number} messages are in {queue}", LONG)
    return list(found.values())


async def _delete(rabbitmq: Server, broker: Broker, queue: str) -> None:
    await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", "delete_queue", "-p", broker.vhost, queue)


def _finished(producer: Producer, queue: str, outcome: str) -> float | None:
    return producer.metrics.registry.get_sample_value(
        "leveret_jobs_finished_total", {"queue": queue, "outcome": outcome}
    )


async def test_what_the_broker_gives_up_is_a_dead_letter_with_its_payload(
    broker: Broker, database: Database, store: Postgres, client: AbstractConnection
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        await known(producer)
        reply_to, replies = await _callback(client)
        publisher = await Publisher.open(client)
        crashing, binary, refused, late = (uuid4() for _ in range(4))
        own = (await producer.submit({"type": "free", "payload": {"n": 1}})).json()["id"]
        foreign = Envelope(crashing, QUEUE, "free", b' {"n": 2}', attempt=3, priority=4, reply_to=reply_to)
        await publisher.publish(topology.JOBS, QUEUE, wire.to_message(foreign))
        await publisher.publish(topology.JOBS, QUEUE, wire.to_message(Envelope(binary, QUEUE, "free", b"\xff\0")))
        channel = await client.channel()
        queue = await channel.get_queue(QUEUE, ensure=False)
        dead: set[str] = set()

        async def give_back(message: AbstractIncomingMessage) -> None:
            await message.reject(requeue=True)

        tag = await queue.consume(give_back)
        for one in (own, crashing, binary):
            row = await _dead(store, one)
            dead.add(row["dead_reason"])
            assert json.loads(row["error"])["reason"] == "DeliveryLimit"
            assert "21 times" in json.loads(row["error"])["message"]
        await queue.cancel(tag)
        assert dead == {"DeliveryLimit"}
        shown = await producer.job(own)
        assert (shown["state"], shown["payload"], shown["attempts"]) == ("dead", {"n": 1}, [])
        row = await _row(store, crashing) or {}
        assert (row["body"], row["attempt"], row["priority"], row["over_amqp"]) == (' {"n": 2}', 3, 4, True)
        row = await _row(store, binary) or {}
        assert (row["body"], row["raw"]) == ("", b"\xff\0")

        # Nobody else answers.
        await eventually_true(lambda: _are(replies, 1), "the reply is there", LONG)
        assert replies[0].correlation_id == str(crashing)
        assert replies[0].headers["leveret-outcome"] == "dead"
        assert json.loads(replies[0].body)["reason"] == "DeliveryLimit"

        await publisher.publish(topology.JOBS, QUEUE, wire.to_message(Envelope(refused, QUEUE, "free", b"1")))
        await (await queue.get()).reject(requeue=False)
        assert (await _dead(store, refused))["dead_reason"] == "Rejected"
        message = wire.to_message(Envelope(late, QUEUE, "free", b"1"))
        message.expiration = 0.001
        await publisher.publish(topology.JOBS, QUEUE, message)
        assert (await _dead(store, late))["dead_reason"] == "DeadlineExceeded"

        async def counted() -> bool:  # after it is stored
            return (_finished(producer, QUEUE, "dead") or 0) >= 5

        await eventually_true(counted, "all five are counted", LONG)
        assert _finished(producer, QUEUE, "dead") == 5
        assert len(await _arrive(client, topology.dead_queue(QUEUE), 5)) == 5


async def _are(found: list[AbstractIncomingMessage], number: int) -> bool:
    return len(found) >= number


async def test_a_consumers_copy_and_its_event_are_one_dead_letter(
    broker: Broker, database: Database, store: Postgres, client: AbstractConnection
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        at = datetime.now(UTC).replace(microsecond=0)
        error = Error("GaveUp", "boom", "ValueError", "…")
        why = {wire.REASON: "GaveUp", wire.ERROR: msgspec.json.encode(error).decode()}
        ids = [uuid4() for _ in range(4)]
        for number, one in enumerate(ids):
            job = Envelope(one, QUEUE, "free", b"7", attempt=2, reply_to="nobody")
            event = JobEvent(
                one, "free", State.DEAD, at, "pod", attempt=2, delivery=1, started_at=at, max_attempts=3, error=error
            )
            order = "cec" if number % 2 else "ece"
            if number == 3:  # it died between the two, and the job succeeded when it was delivered again
                order = "cs"
            for what in order:
                if what == "c":
                    await operator.publish(topology.DEAD, QUEUE, wire.to_message(job, why))
                else:
                    done = {"state": State.SUCCEEDED, "error": None, "result": msgspec.Raw(b"8")} if what == "s" else {}
                    await tell(operator, f"job.{QUEUE}", [msgspec.structs.replace(event, **done)])

        async def all_final() -> bool:
            rows = [await _row(store, one) for one in ids]
            if not all(row and row["max_attempts"] == 3 for row in rows):
                return False
            return [row["state"] for row in rows if row] == ["dead"] * 3 + ["succeeded"]

        await eventually_true(all_final, "every job has its last state", LONG)
        rows = [await _row(store, one) or {} for one in ids]
        assert {(row["dead_reason"], row["finished_at"], row["started_at"]) for row in rows[:3]} == {("GaveUp", at, at)}
        assert {(row["body"], row["reply_to"]) for row in rows} == {("7", "nobody")}
        assert (rows[3]["dead_reason"], rows[3]["result"]) == (None, "8")
        attempts = (await producer.job(str(ids[0])))["attempts"]
        assert [one["outcome"] for one in attempts] == ["dead"]  # type: ignore[attr-defined]
        finished = [_finished(producer, QUEUE, outcome) or 0 for outcome in ("dead", "succeeded")]
        assert sum(finished) == 4


async def test_a_message_for_a_queue_that_nobody_has_is_kept_as_a_dead_letter(
    broker: Broker, database: Database, store: Postgres, client: AbstractConnection
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        reply_to, replies = await _callback(client)
        publisher = await Publisher.open(client)
        good, large, taken = uuid4(), uuid4(), uuid4()
        job = Envelope(good, NOBODYS, "free", b'{"a":1}', correlation_id="c", reply_to=reply_to, traceparent="t")
        await publisher.publish(topology.JOBS, NOBODYS, wire.to_message(job))
        await publisher.publish(topology.JOBS, NOBODYS, wire.to_message(job))
        for _ in range(2):  # delivered twice, or sent twice: that can't be told apart
            await publisher.publish(topology.JOBS, NOBODYS, aio_pika.Message(b"\xfe", message_id="none", type="t"))
        await publisher.publish(topology.JOBS, "odd\0name", aio_pika.Message(b"", message_id="none"))
        await publisher.publish(
            topology.JOBS, NOBODYS, wire.to_message(Envelope(large, NOBODYS, "free", b"x" * (wire.LARGEST_BODY + 1)))
        )
        row = await _dead(store, good)
        assert (row["dead_reason"], row["queue"], row["body"]) == ("QueueGone", NOBODYS, '{"a":1}')
        assert (row["correlation_id"], row["reply_to"], row["traceparent"]) == ("c", reply_to, "t")
        row = await _dead(store, large)
        assert (row["dead_reason"], row["body"]) == ("QueueGone", None)
        [aside] = await _arrive(client, topology.EVENTS_DEAD, 1)  # the only copy of that body
        assert (aside.message_id, len(aside.body)) == (str(large), wire.LARGEST_BODY + 1)
        assert await _count(store, "state = 'dead' AND dead_reason = 'QueueGone'") == 4
        assert await _count(store) == 4
        await eventually_true(lambda: _are(replies, 1), "the reply is there", LONG)
        assert replies[0].correlation_id == "c"
        assert json.loads(replies[0].body)["reason"] == "QueueGone"
        # As after a recorder that was killed before it could acknowledge: it may have been killed before it replied.
        await publisher.publish(topology.JOBS, NOBODYS, wire.to_message(job))
        await eventually_true(lambda: _are(replies, 2), "the reply is repeated", LONG)
        assert await _count(store) == 4

        # Another queue's job of that id is neither changed nor lost.
        await publisher.publish(topology.JOBS, QUEUE, wire.to_message(Envelope(taken, QUEUE, "free", b"1")))
        await tell(publisher, f"job.{QUEUE}", [JobEvent(taken, "free", State.RUNNING, datetime.now(UTC), "pod")])
        await eventually_true(lambda: _is_there(store, taken), "the job is known", LONG)
        await publisher.publish(topology.JOBS, NOBODYS, wire.to_message(Envelope(taken, NOBODYS, "free", b"2")))
        [aside] = await _arrive(client, topology.EVENTS_DEAD, 1)
        assert (aside.body, aside.headers["leveret-reason"]) == (b"2", "the job's id belongs to another queue")
        assert (await _row(store, taken) or {})["state"] == "running"


async def _is_there(store: Postgres, id: UUID) -> bool:
    return await _row(store, id) is not None


async def test_jobs_and_retries_of_a_deleted_queue_arrive_when_it_is_there_again(
    broker: Broker, database: Database, store: Postgres, client: AbstractConnection, rabbitmq: Server
) -> None:
    async with producing(broker, database) as producer, operating(broker, GONE, QUEUE):
        await ready(producer)
        await known(producer, GONE)
        await _delete(rabbitmq, broker, GONE)
        publisher = await Publisher.open(client)
        accepted = [one["id"] for one in (await producer.submit(*[_free()] * 100, queue=GONE)).json()["jobs"]]
        foreign, retry, others_retry = uuid4(), uuid4(), uuid4()
        await publisher.publish(topology.JOBS, GONE, wire.to_message(Envelope(foreign, GONE, "free", b"\xff")))
        level = topology.delay_exchange(0)
        # A level that kept what it can't route would try again after 180 s, and hold up everybody behind the first 32.
        crowd = [uuid4() for _ in range(99)]
        for one in (*crowd, retry):
            waits = Envelope(one, GONE, "free", b"3", attempt=2, correlation_id="c")
            await publisher.publish(level, GONE, wire.to_message(waits))
        waits = Envelope(others_retry, QUEUE, "free", b"4", attempt=2)
        await publisher.publish(level, QUEUE, wire.to_message(waits))
        assert [one.message_id for one in await _arrive(client, QUEUE, 1)] == [str(others_retry)]

        async def back() -> bool:
            return await _count(store, "published_at IS NULL AND returned > 0") == 201

        await eventually_true(back, "all are in the outbox again", LONG)
        # What was told before the retry, and arrives after it, is no word on the retry.
        late = JobEvent(retry, "free", State.RETRYING, datetime.now(UTC), "pod", retry_at=datetime.now(UTC))
        await tell(publisher, f"job.{GONE}", [late])
        shown = (await producer.submit(*[_free()] * 200)).json()["jobs"]
        assert {one.message_id for one in await _arrive(client, QUEUE, 200)} == {one["id"] for one in shown}
        assert await _count(store, f"queue = '{GONE}' AND published_at IS NULL") == 201
        async with operating(broker, GONE):
            arrived = {one.message_id: one for one in await _arrive(client, GONE, 201)}
        assert set(arrived) == {*accepted, str(foreign), str(retry), *map(str, crowd)}
        assert arrived[str(foreign)].body == b"\xff"
        again = wire.from_message(arrived[str(retry)], GONE)
        assert isinstance(again, Envelope)
        assert (again.attempt, again.body, again.correlation_id) == (2, b"3", "c")
        await eventually_true(lambda: _none_waits(store), "every confirm is noted", LONG)
        assert await _count(store, "state = 'queued'") == 401


async def _none_waits(store: Postgres) -> bool:
    return await _count(store, "published_at IS NULL") == 0


def _free() -> dict[str, object]:
    return {"type": "free", "payload": 1}


async def test_a_job_whose_jobqueue_is_gone_meanwhile_does_not_wait_for_ever(
    broker: Broker, database: Database, store: Postgres, rabbitmq: Server
) -> None:
    async with producing(broker, database) as producer, operating(broker, GONE) as operator:
        await ready(producer)
        await known(producer, GONE)
        await _delete(rabbitmq, broker, GONE)
        job = (await producer.submit(_free(), queue=GONE)).json()["id"]

        async def back() -> bool:
            return await _count(store, "returned > 0") == 1

        await eventually_true(back, "it is in the outbox again", LONG)
        await tell(operator, f"queue.{GONE}", QueueRemoved(datetime.now(UTC)))
        assert (await _dead(store, job))["dead_reason"] == "QueueGone"


async def test_a_confirm_that_is_written_after_the_return_does_not_count(store: Postgres) -> None:
    await migrate(store)
    rows, returning = OutboxRows(store), Returning(store)
    now = datetime.now(UTC)
    job = Envelope(uuid4(), QUEUE, "t", b"1", submitted_at=now)
    until = (await Jobs(store).insert([NewJob(job, 5)], now, lease_seconds=30)).until
    assert await returning.put_back([job]) == []
    assert await rows.mark([Publication(job.id, 1, 1, 0)]) == set()
    await rows.release([Lease(job.id, until)])
    assert await rows.take(10) == []  # whoever published it before has no say in when it is published again
    async with store.transaction() as connection:
        await connection.execute(text("UPDATE jobs SET lease_until = now()"))
    [taken] = await rows.take(10)
    assert (taken.job.id, taken.returned) == (job.id, 1)
    assert await rows.mark([Publication(job.id, 1, 1, 1)]) == {job.id}
    assert (await _row(store, job.id) or {})["state"] == "queued"
    # And one that was written before is void.
    assert await returning.put_back([job, job]) == []
    row = await _row(store, job.id) or {}
    assert (row["published_at"], row["state"], row["returned"], row["next_attempt"]) == (None, "queued", 2, 1)


async def test_what_has_gone_on_is_not_put_back(store: Postgres) -> None:
    await migrate(store)
    recording, returning = Recording(store), Returning(store)
    at = datetime.now(UTC)

    async def told(state: State, attempt: int = 1, generation: int = 1, *, given_back: bool = False) -> UUID:
        job_id = uuid4()
        event = JobEvent(job_id, "t", state, at, "pod", attempt=attempt, generation=generation, given_back=given_back)
        await recording.record([Report(QUEUE, event)])
        return job_id

    for job_id, attempt, generation, back in (
        (await told(State.RUNNING), 1, 1, False),  # another message of this attempt arrived
        (await told(State.RETRYING), 1, 1, False),
        (await told(State.RETRYING), 2, 1, True),
        (await told(State.RUNNING, 2), 1, 1, False),
        (await told(State.SUCCEEDED), 2, 1, False),
        (await told(State.DEAD), 2, 1, False),
        (await told(State.DEAD), 1, 2, True),  # it was redriven
        (await told(State.RETRYING, 0, given_back=True), 1, 1, True),
        (await told(State.RETRYING, given_back=True), 2, 1, True),
        (await told(State.RETRYING, given_back=True), 1, 1, False),
        (await told(State.RUNNING, generation=2), 5, 1, False),
    ):
        job = Envelope(job_id, QUEUE, "t", b"1", attempt=attempt, generation=generation)
        assert await returning.put_back([job]) == []
        row = await _row(store, job_id) or {}
        assert (row["published_at"] is None) is back, (attempt, generation)
        if back:
            expected = ("queued", attempt, generation, None, None)
            columns = ("state", "next_attempt", "generation", "dead_reason", "finished_at")
            assert tuple(row[name] for name in columns) == expected
            # What was told before, and arrives after it, is no word on the message that is in the outbox.
            late = JobEvent(job_id, "t", State.RETRYING, at, "p", attempt=attempt - 1, generation=generation)
            await recording.record([Report(QUEUE, msgspec.structs.replace(late, given_back=True))])
            assert (await _row(store, job_id) or {})["published_at"] is None
    other = Envelope(job_id, "leveret.other", "t", b"1", attempt=9)
    assert await returning.put_back([other]) == [other]


async def test_recorders_that_put_back_and_record_the_same_jobs_do_not_deadlock(store: Postgres) -> None:
    await migrate(store)
    recording, returning, rows = Recording(store), Returning(store), OutboxRows(store)
    now = datetime.now(UTC)
    jobs = [Envelope(uuid4(), QUEUE, "t", b"1", submitted_at=now) for _ in range(300)]
    events = [Report(QUEUE, JobEvent(job.id, "t", State.RUNNING, now, "pod")) for job in jobs]
    await Jobs(store).insert([NewJob(job, 5) for job in jobs], now, lease_seconds=0)
    await asyncio.gather(
        *(returning.put_back(jobs[::step]) for step in (1, -1, 2)),
        recording.record(events[::-1]),
        rows.mark([Publication(job.id, 1, 1) for job in jobs]),
        recording.record(events),
    )


async def test_a_recorder_that_is_killed_loses_no_dead_letter_and_makes_none_twice(
    broker: Broker, database: Database, store: Postgres, client: AbstractConnection, rabbitmq: Server
) -> None:
    def start() -> subprocess.Popen[bytes]:
        environment = process_environment(broker, database, free_port(), free_port())
        return subprocess.Popen([sys.executable, "-m", "leveret_producer"], env=environment)

    async with operating(broker, GONE) as operator:
        await migrate(store)
        process = await asyncio.to_thread(start)
        try:
            defined = text("SELECT count(*) FROM queues WHERE defined_at IS NOT NULL")

            async def told() -> bool:
                async with store.transaction() as connection:
                    return bool((await connection.execute(defined)).scalar_one())

            await eventually_true(told, "the queue is known", LONG)
            await _delete(rabbitmq, broker, GONE)
            dead, late = [uuid4() for _ in range(600)], [uuid4() for _ in range(300)]
            why = {wire.REASON: "GaveUp"}
            died = 0
            for number in range(600):
                if number % 200 == 50:  # in the middle of its work
                    process.send_signal(signal.SIGKILL)
                    await asyncio.to_thread(process.wait)
                    process = await asyncio.to_thread(start)
                    died += 1
                job = Envelope(dead[number], QUEUE, "free", b"1")
                await operator.publish(topology.JOBS, NOBODYS, wire.to_message(job))
                if number % 2:
                    again = Envelope(late[number // 2], GONE, "free", b"2", attempt=2)
                    await operator.publish(topology.JOBS, GONE, wire.to_message(again))
                else:
                    noid = aio_pika.Message(b"%d" % number, message_id="none", headers=dict(why))
                    await operator.publish(topology.DEAD, GONE, noid)
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            process = await asyncio.to_thread(start)

            async def all_recorded() -> bool:
                return await _count(store, "state = 'dead'") == 900

            await eventually_true(all_recorded, "every dead letter is recorded", 2 * LONG)
            async with operating(broker, GONE):
                arrived = {one.message_id for one in await _arrive(client, GONE, 300)}
            assert arrived == {str(one) for one in late}
            assert await _count(store) == 1_200
            assert await _count(store, "dead_reason = 'QueueGone'") == 600
            assert await _count(store, "dead_reason = 'GaveUp'") == 300
            assert died == 3
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)


async def test_a_dead_letter_that_is_redriven_is_published_as_it_came(
    broker: Broker, database: Database, store: Postgres, client: AbstractConnection
) -> None:
    redrive = text(
        """
        UPDATE jobs SET generation = generation + 1, state = 'accepted', merge_key = :key, tie = 0, attempt = 0,
            next_attempt = 1, published_at = NULL, due_at = NULL, lease_until = now(), error = NULL, result = NULL,
            progress = NULL, started_at = NULL, finished_at = NULL, dead_reason = NULL
        WHERE id = :id
        """
    )
    async with producing(broker, database) as producer, operating(broker, GONE) as operator:
        await ready(producer)
        publisher = await Publisher.open(client)
        job_id, body = uuid4(), b'\xff\0{"a":\xe4}'
        job = Envelope(job_id, NOBODYS, "free", body, attempt=4, priority=2, correlation_id="c", reply_to="r")
        await publisher.publish(topology.JOBS, NOBODYS, wire.to_message(job))
        await _dead(store, job_id)
        async with operating(broker, NOBODYS):
            await known(producer, NOBODYS)
            async with store.transaction() as connection:
                await connection.execute(redrive, {"id": job_id, "key": merge_key(State.ACCEPTED, generation=2)})
            [message] = await _arrive(client, NOBODYS, 1)
        read = wire.from_message(message, NOBODYS)
        assert isinstance(read, Envelope)
        assert (read.body, read.attempt, read.generation) == (body, 1, 2)
        assert (read.priority, read.correlation_id, read.reply_to) == (2, "c", "r")
        # What is left of the first generation comes late, and changes nothing.
        await operator.publish(topology.DEAD, NOBODYS, wire.to_message(job, {wire.REASON: "GaveUp"}))
        await tell(operator, f"job.{NOBODYS}", [_running(job_id)])

        async def runs() -> bool:
            return await _count(store, "state = 'running'") == 1

        await eventually_true(runs, "the second generation runs", LONG)
        assert (await _row(store, job_id) or {})["dead_reason"] is None


def _running(id: UUID) -> JobEvent:
    at = datetime.now(UTC) + timedelta(seconds=1)
    return JobEvent(id, "free", State.RUNNING, at, "pod", generation=2, started_at=at)
