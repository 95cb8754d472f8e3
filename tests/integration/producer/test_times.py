"""Jobs that wait for a time: asked for with run_at or delay, or between two attempts."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from producers import (
    QUEUE,
    Producer,
    eventually_true,
    known,
    message_ids,
    message_taken,
    operating,
    producing,
    ready,
    tell,
)
from sqlalchemy import text

from leveret import topology
from leveret.events import NO_RESULT, Error, JobEvent
from leveret.jobs import Envelope, State
from leveret.settings import Broker, Database
from leveret_producer.dead_letters.selection import DeadLetterSelection
from leveret_producer.recorder.merge import Report
from leveret_producer.store import outbox
from leveret_producer.store.jobs import Jobs, NewJob
from leveret_producer.store.migrate import migrate
from leveret_producer.store.operations import Operations
from leveret_producer.store.outbox import OutboxRows, Publication
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.queues import Queues
from leveret_producer.store.recording import Recording
from leveret_producer.store.returning import Returning

_MANY = text(
    """
    INSERT INTO jobs (id, queue, type, state, merge_key, created_at, lease_until)
    SELECT gen_random_uuid(), :queue, 't', 'accepted', 65536, now(), now() - interval '1 hour' FROM generate_series(1, 10000)
    """
)
FAILED = Error("Failed", "boom", "ValueError", "…")


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Postgres]:
    one = Postgres(lambda: database, connections=2, name="test")
    await migrate(one)
    yield one
    await one.close()


async def _in_state(producer: Producer, id: object, state: State) -> None:
    async def is_so() -> bool:
        answer = await producer.http.get(f"/v1/jobs/{id}")
        return answer.status_code == 200 and answer.json()["state"] == state

    await eventually_true(is_so, f"the job is {state}")


async def test_a_scheduled_job_is_published_at_its_time_and_not_before(broker: Broker, database: Database) -> None:
    async with (
        producing(broker, database, "producer-a") as producer,
        producing(broker, database, "producer-b") as other,
        operating(broker, QUEUE),
    ):
        await ready(producer)
        await ready(other)
        await known(producer)
        before = datetime.now(UTC)
        answer = await producer.submit(
            {"type": "free", "payload": 1, "delay": "15s"},  # all that is looked at before may take a while
            {"type": "free", "payload": 2},
            {"type": "free", "payload": 3, "run_at": "2001-02-03T04:05:06+01:00"},
            {"type": "free", "payload": 4, "run_at": (before + timedelta(days=100)).isoformat()},
        )
        assert answer.status_code == 202, answer.text
        soon, plain, past, far = answer.json()["jobs"]
        assert [one["state"] for one in (soon, plain, past, far)] == ["scheduled", "accepted", "accepted", "scheduled"]
        listed = (await producer.http.get("/v1/jobs?state=scheduled")).json()["jobs"]
        assert {one["id"] for one in listed} == {soon["id"], far["id"]}
        await _in_state(producer, plain["id"], State.QUEUED)
        await _in_state(producer, past["id"], State.QUEUED)
        assert (await producer.job(plain["id"]))["run_at"] is None
        assert (await producer.job(past["id"]))["run_at"] == "2001-02-03T03:05:06Z"
        run_at = datetime.fromisoformat(str((await producer.job(soon["id"]))["run_at"]))
        assert before + timedelta(seconds=15) <= run_at <= datetime.now(UTC) + timedelta(seconds=15)
        assert sorted(await message_ids(broker, QUEUE)) == sorted([plain["id"], past["id"]])

        message = await message_taken(broker)
        late = (datetime.now(UTC) - run_at).total_seconds()
        assert 0 <= late < 15
        assert message.message_id == soon["id"]
        assert message.headers["leveret-attempt"] == 1
        assert message.timestamp is not None
        assert abs((message.timestamp - run_at).total_seconds()) <= 1  # its wait begins then
        await _in_state(producer, soon["id"], State.QUEUED)
        await asyncio.sleep(1)
        assert await message_ids(broker, QUEUE) == []  # once, though two replicas look
        assert (await producer.job(far["id"]))["state"] == "scheduled"

        one = await producer.submit({"type": "free", "payload": 5, "delay": "2h"})
        assert (one.json()["state"], one.json()["attempt"]) == ("scheduled", 0)
        assert one.json()["run_at"] is not None
        refused = await producer.submit({"type": "free", "payload": 5, "delay": "2h", "run_at": "2001-02-03T04:05:06Z"})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/delay")


async def test_what_is_not_due_is_not_counted_and_not_looked_through(store: Postgres) -> None:
    rows, now = OutboxRows(store), datetime.now(UTC)
    async with store.transaction(60) as connection:
        await connection.execute(text("INSERT INTO queues (name, defined_at) VALUES (:queue, now())"), {"queue": QUEUE})
        for first in range(1, 100_001, 10_000):  # in parts: each has the store's time-out for a statement
            await connection.execute(
                text(
                    """
                    INSERT INTO jobs (id, queue, type, state, merge_key, created_at, run_at, due_at, lease_until)
                    SELECT gen_random_uuid(), :queue, 't', 'scheduled', 65536, now(), due, due, due
                    FROM generate_series(CAST(:first AS int), CAST(:first AS int) + 9999) AS n,
                        LATERAL (SELECT now() + interval '1 hour' + n * interval '1 minute' AS due)
                    """
                ),
                {"queue": QUEUE, "first": first},
            )
        await connection.execute(text("ANALYZE jobs"))
    assert await rows.take(500) == []
    assert await rows.pending() == {}
    assert await Queues(store).oldest_waiting() == {QUEUE: None}

    past = now - timedelta(seconds=30)
    due = NewJob(Envelope(uuid4(), QUEUE, "t", b"1", submitted_at=now), 5, past, past)
    await Jobs(store).insert([due], now - timedelta(hours=1), lease_seconds=0)
    assert await rows.pending() == {QUEUE: 1}
    assert await Queues(store).oldest_waiting() == {QUEUE: past}  # since it could run, not since it was submitted
    [taken] = await rows.take(500)
    assert (taken.job.id, taken.job.attempt, taken.job.submitted_at, taken.arrived) == (due.job.id, 1, past, True)
    assert await rows.pending() == {QUEUE: 1}  # leased, and not confirmed
    await rows.release([taken.lease])
    [again] = await rows.take(500)
    assert not again.arrived
    assert await rows.mark([Publication(due.job.id, 1, 1)]) == {due.job.id}
    assert await rows.pending() == {}
    async with store.transaction() as connection:
        plan = "\n".join(
            str(row[0])
            for row in await connection.execute(
                text(
                    "EXPLAIN SELECT id FROM jobs WHERE published_at IS NULL AND lease_until <= now()"
                    " ORDER BY lease_until, id LIMIT 500"
                )
            )
        )
    assert "lease_until_id_idx" in plan
    for holding_rows in ("jobs_default", "jobs_by_day_rest"):  # the days' partitions are empty
        assert f"Seq Scan on {holding_rows}" not in plan


def _waits(id: UUID, at: datetime, publish_at: datetime, attempt: int = 1, payload: bytes = b"7") -> JobEvent:
    raw = msgspec.Raw(payload) if payload else NO_RESULT
    return JobEvent(
        id, "t", State.RETRYING, at, "pod", attempt=attempt, started_at=at, run_seconds=1.0, error=FAILED,
        publish_at=publish_at, payload=raw, reply_to="answers", priority=3, traceparent="00-1-1-00",
    )  # fmt: skip


async def test_a_long_wait_ends_with_the_next_attempt_on_the_queue(broker: Broker, database: Database) -> None:
    """Once for a job of ours and once for a foreign one, each told three times."""
    async with (
        producing(broker, database, "producer-a") as producer,
        producing(broker, database, "producer-b") as other,
        operating(broker, QUEUE) as operator,
    ):
        await ready(producer)
        await ready(other)
        await known(producer)
        ours = (await producer.submit({"type": "t", "payload": {"a": 1}})).json()["id"]
        assert (await message_taken(broker)).message_id == ours
        foreign, at = uuid4(), datetime.now(UTC)
        for job_id, payload in ((UUID(ours), b""), (foreign, b'{ "b": 1.50 }')):
            publish_at = at + timedelta(seconds=15)
            event = _waits(job_id, at, publish_at, payload=payload)
            running = JobEvent(job_id, "t", State.RUNNING, at - timedelta(seconds=1), "pod", started_at=at)
            for one in ([running, event], [event], [running], [event]):
                await tell(operator, f"job.{QUEUE}", one)
            await _in_state(producer, job_id, State.RETRYING)
        assert await message_ids(broker, QUEUE) == []
        assert (await producer.job(str(foreign)))["payload"] == {"b": 1.5}

        found = {}
        for _ in range(2):
            message = await message_taken(broker)
            found[str(message.message_id)] = message
        late = (datetime.now(UTC) - publish_at).total_seconds()
        assert 0 <= late < 15
        assert set(found) == {ours, str(foreign)}
        assert [one.headers["leveret-attempt"] for one in found.values()] == [2, 2]
        message = found[str(foreign)]
        assert (message.body, message.type, message.reply_to) == (b'{ "b": 1.50 }', "t", "answers")
        assert (message.priority, message.headers["traceparent"]) == (3, "00-1-1-00")
        for job_id in found:
            await _in_state(producer, job_id, State.QUEUED)
        await tell(operator, f"job.{QUEUE}", [_waits(foreign, at, publish_at)])  # once more, too late to matter
        await asyncio.sleep(1.5)
        assert await message_ids(broker, QUEUE) == []

        done = JobEvent(foreign, "t", State.SUCCEEDED, datetime.now(UTC), "pod", attempt=2)
        await tell(operator, f"job.{QUEUE}", [done])
        await _in_state(producer, foreign, State.SUCCEEDED)


async def test_what_is_redriven_and_what_is_put_back_waits_since_it_was_due(store: Postgres) -> None:
    """It waited since it was submitted, days ago: the age of the oldest waiting job was told with that."""
    operations, rows, now = Operations(store), OutboxRows(store), datetime.now(UTC)
    died = NewJob(Envelope(uuid4(), QUEUE, "t", b"1", submitted_at=now), 5)
    await Jobs(store).insert([died], now - timedelta(days=3), lease_seconds=0)
    async with store.transaction() as connection:
        await connection.execute(text("INSERT INTO queues (name, defined_at) VALUES (:queue, now())"), {"queue": QUEUE})
        await connection.execute(
            text("UPDATE jobs SET state = 'dead', published_at = now(), finished_at = now(), dead_reason = 'Rejected'")
        )
    await operations.create(uuid4(), QUEUE, "redrive", DeadLetterSelection(all=True))
    claimed = await operations.claim()
    assert claimed is not None
    assert (await operations.step(claimed)).jobs == 1
    since = (await Queues(store).oldest_waiting())[QUEUE]
    assert since is not None
    assert since >= now
    [taken] = await rows.take(10)
    assert taken.arrived  # so that it's told of as an arrival
    assert await rows.mark([Publication(died.job.id, 2, 1)]) == {died.job.id}
    assert await Returning(store).put_back([taken.job]) == []
    assert (await Queues(store).oldest_waiting())[QUEUE] == since


async def test_a_count_is_of_one_moment(store: Postgres) -> None:
    """What leaves or comes while it goes on is in it, or isn't: that must be known, or it's subtracted twice."""
    rows, now = OutboxRows(store), datetime.now(UTC)
    jobs = [NewJob(Envelope(uuid4(), QUEUE, "t", b"1", submitted_at=now), 5) for _ in range(5)]
    await Jobs(store).insert(jobs[:3], now, lease_seconds=0)

    @contextlib.asynccontextmanager
    async def moment() -> AsyncIterator[None]:
        await Jobs(store).insert(jobs[3:], now, lease_seconds=0)
        yield
        await rows.mark([Publication(one.job.id, 1, 1) for one in jobs[:3]])

    assert await rows.pending(moment()) == {QUEUE: 5}
    assert await rows.pending() == {QUEUE: 2}


async def test_what_the_dead_have_taken_is_free_in_seconds_and_what_the_living_have_is_not(database: Database) -> None:
    """A lease of 6 s in the place of 30; all but one have sessions that are older."""
    async with contextlib.AsyncExitStack() as stack:

        async def replica(name: str) -> tuple[Postgres, OutboxRows]:
            one = Postgres(lambda: database, connections=1, name=name)
            stack.push_async_callback(one.close)
            async with one.transaction() as connection:
                await connection.execute(text("SELECT 1"))
            return one, OutboxRows(one, lease=6)

        first, now = Postgres(lambda: database, connections=1, name="first"), datetime.now(UTC)
        await migrate(first)
        (dead, of_dead), (_, of_slow), (_, of_other) = [await replica(name) for name in ("dead", "slow", "other")]
        await asyncio.sleep(6.1)
        jobs = [NewJob(Envelope(uuid4(), QUEUE, "t", b"1", submitted_at=now), 5) for _ in range(2)]
        await Jobs(first).insert(jobs, now, lease_seconds=0)
        await first.close()
        [left], [kept] = await of_dead.take(1), await of_slow.take(1)
        assert await of_other.take(10) == []

        await dead.close()
        await replica("dead")  # a container that starts again has the name of the one that was killed
        assert await of_other.take(10) == [], "it may be back in a moment"
        await asyncio.sleep(1.1)
        _, of_young = await replica("young")
        assert await of_young.take(10) == [], "to whom everybody may seem dead"
        [again] = await of_other.take(10)
        assert (again.job, again.arrived) == (left.job, False)
        assert await of_dead.renew([left.lease]) == {}
        assert (await of_slow.renew([kept.lease])).keys() == {kept.lease}


async def test_any_order_of_events_leaves_the_same_row_in_the_outbox(store: Postgres) -> None:
    recording, rows = Recording(store), OutboxRows(store)
    at = datetime.now(UTC) - timedelta(hours=1)
    due = at + timedelta(minutes=30)
    left: dict[int, int] = {}
    for length in (3, 4):  # with the end of the second attempt, and without
        ids = []
        for order in itertools.permutations(range(length)):
            ids.append(job_id := uuid4())
            events = [
                JobEvent(job_id, "t", State.RUNNING, at, "pod", started_at=at),
                _waits(job_id, at + timedelta(seconds=1), due),
                JobEvent(job_id, "t", State.RUNNING, at - timedelta(seconds=5), "pod", progress=None),
                JobEvent(job_id, "t", State.RUNNING, due, "pod", attempt=2),
            ]
            for number in (*order, order[0]):
                await recording.record([Report(QUEUE, events[number])])
        taken = await rows.take(500)
        left[length] = len({one.job.id for one in taken} & set(ids))
        assert {(one.job.attempt, one.job.body) for one in taken} <= {(2, b"7")}
    assert left == {3: 6, 4: 0}


async def test_a_confirm_that_is_noted_late_does_not_end_the_wait_for_the_next_attempt(store: Postgres) -> None:
    recording, rows, now = Recording(store), OutboxRows(store), datetime.now(UTC)
    job = NewJob(Envelope(uuid4(), QUEUE, "t", b"1", submitted_at=now), 5)
    await Jobs(store).insert([job], now, lease_seconds=0)
    [first] = await rows.take(10)
    due = now + timedelta(hours=2)
    await recording.record([Report(QUEUE, _waits(job.job.id, now, due, payload=b""))])
    assert await rows.mark([Publication(job.job.id, 1, first.job.attempt)]) == set()
    await rows.release([first.lease])
    assert await rows.take(10) == []
    async with store.transaction() as connection:
        row = (await connection.execute(text("SELECT * FROM jobs"))).one()
    assert (row.published_at, row.lease_until, row.next_attempt) == (None, row.due_at, 2)
    assert timedelta(0) <= row.due_at - due <= timedelta(seconds=0.5), "the wait counts from when it's recorded"


async def test_an_event_that_can_not_be_honoured_is_set_aside_whole(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        lost, fine, at = uuid4(), uuid4(), datetime.now(UTC)
        event = _waits(lost, at, at, payload=b"")
        await tell(operator, f"job.{QUEUE}", [event, JobEvent(fine, "t", State.RUNNING, at, "pod")])
        message = await message_taken(broker, topology.EVENTS_DEAD)
        assert "payload" in str(message.headers["leveret-reason"])
        assert message.headers["leveret-routing-key"] == f"job.{QUEUE}"
        assert [one["id"] for one in json.loads(message.body)] == [str(lost)]
        await _in_state(producer, fine, State.RUNNING)
        assert (await producer.http.get(f"/v1/jobs/{lost}")).status_code == 404


async def test_a_transaction_that_stays_open_holds_up_no_look_for_what_comes_due(store: Postgres) -> None:
    """Published jobs leave dead entries at the front of the index; a dump keeps the database from removing them."""
    rows, read = OutboxRows(store), {}
    hour = 3_600.0
    async with store.transaction(60) as dump:
        await dump.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        await dump.execute(text("SELECT 1 FROM jobs LIMIT 1"))
        for _ in range(3):
            async with store.transaction(60) as connection:
                await connection.execute(_MANY, {"queue": QUEUE})
            async with store.transaction(60) as connection:
                await connection.execute(text("UPDATE jobs SET published_at = now() WHERE published_at IS NULL"))
        for reach in (10 * 366 * 24 * hour, 60.0):
            async with store.transaction(60) as connection:
                explained = await connection.scalar(
                    text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {outbox._TAKE.text}"),
                    {"most": 500, "lease": 30.0, "except_queues": [], "reach": reach},
                )
                read[reach] = explained[0]["Plan"]["Shared Hit Blocks"] + explained[0]["Plan"]["Shared Read Blocks"]
        assert read[60.0] <= max(read.values()) / 10
        now = datetime.now(UTC)
        await Jobs(store).insert(
            [NewJob(Envelope(uuid4(), QUEUE, "t", b"1", submitted_at=now), 5)], now, lease_seconds=0
        )
        assert len(await rows.take(500, reach=60.0)) == 1
