"""What the recorder makes of events: foreign jobs, bad ones, queues, and any order."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import aio_pika
import msgspec
import pytest
from aio_pika.abc import AbstractIncomingMessage
from containers import Server
from producers import QUEUE, Producer, eventually, eventually_true, known, operating, producing, ready, tell
from sqlalchemy import text

from leveret import topology
from leveret.events import (
    Error,
    JobEvent,
    Progress,
    QueueDecided,
    QueueDefined,
    QueueObserved,
    QueueRemoved,
)
from leveret.jobs import State
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database
from leveret_producer.recorder.merge import Report
from leveret_producer.store.jobs import Jobs
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import DatabaseUnavailable, Postgres, TryAgain
from leveret_producer.store.recording import Recording

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


async def _migrate(store: Postgres) -> None:
    """As a replica does it: until it has worked."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await migrate(store)
            except (DatabaseUnavailable, TryAgain):
                await asyncio.sleep(0.2)


@pytest.fixture
async def postgres_store(database: Database) -> AsyncIterator[Postgres]:
    store = Postgres(lambda: database, connections=8, name="test")  # as many as write at once here
    await asyncio.gather(*(_migrate(store) for _ in range(3)))  # as replicas do
    yield store
    await store.close()


def _at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _history(id: UUID) -> list[JobEvent]:
    failed = Error("Failed", "boom", "ValueError", "…")
    first = JobEvent(id, "t", State.RUNNING, _at(1), "a", attempt=1, started_at=_at(1), wait_seconds=1)
    second = JobEvent(id, "t", State.RUNNING, _at(5), "b", attempt=2, started_at=_at(5), wait_seconds=1)
    a, b = (msgspec.structs.replace(start, wait_seconds=None) for start in (first, second))  # told with the start alone
    return [
        first,
        msgspec.structs.replace(a, at=_at(2), progress=Progress(1, 2)),
        msgspec.structs.replace(a, state=State.RETRYING, at=_at(3), error=failed, run_seconds=2),
        second,
        msgspec.structs.replace(b, state=State.SUCCEEDED, at=_at(6), result=msgspec.Raw(b"7"), run_seconds=1),
        msgspec.structs.replace(b, state=State.SUCCEEDED, at=_at(8), result=msgspec.Raw(b"8"), delivery=1),
    ]


async def test_any_order_and_any_duplicates_give_the_same_row(postgres_store: Postgres) -> None:
    recording, jobs = Recording(postgres_store), Jobs(postgres_store)
    ids: list[UUID] = []
    for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 23):
        new_id = uuid4()
        ids.append(new_id)
        history = _history(new_id)
        for number in (*order, order[0], order[3]):
            await recording.record([Report(QUEUE, history[number])])
    shown = set()
    for one_id in ids:
        job = await jobs.get(one_id)
        assert job is not None
        shown.add(msgspec.json.encode(msgspec.structs.replace(job, id=ids[0])))
    assert len(shown) == 1
    job_as_json = json.loads(shown.pop())
    assert (job_as_json["state"], job_as_json["result"], job_as_json["attempt"]) == ("succeeded", 7, 2)
    assert datetime.fromisoformat(job_as_json["created_at"]) == _at(1)
    assert [one["outcome"] for one in job_as_json["attempts"]] == ["retrying", "succeeded", "succeeded"]


async def test_recorders_that_write_the_same_jobs_at_once_do_not_deadlock(postgres_store: Postgres) -> None:
    recording = Recording(postgres_store)
    ids = [uuid4() for _ in range(200)]

    async def write(step: int) -> None:
        reports = [Report(QUEUE, _history(one)[step]) for one in ids]
        await recording.record(reports if step % 2 else reports[::-1])

    await asyncio.gather(*(write(step) for step in (0, 1, 2, 3, 4, 4, 3, 2)))


async def _taken_aside(broker: Broker, number: int) -> list[AbstractIncomingMessage]:
    found: list[AbstractIncomingMessage] = []
    async with await open_connection(broker, "test look") as connection:
        queue = await (await connection.channel()).get_queue(topology.EVENTS_DEAD, ensure=False)

        async def all_there() -> bool:
            message = await queue.get(no_ack=True, fail=False)
            found.extend([message] if message else [])
            return len(found) >= number

        await eventually_true(all_there, f"{number} events are set aside")
    return found


async def _told(producer: Producer, id: UUID) -> dict[str, object]:
    async def is_there() -> bool:
        return (await producer.http.get(f"/v1/jobs/{id}")).status_code == 200

    await eventually_true(is_there, "the job is recorded")
    return await producer.job(str(id))


async def test_bad_events_are_set_aside_and_their_neighbours_recorded(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE, "leveret.other") as operator:
        await ready(producer)
        store = Postgres(lambda: database, connections=1, name="test")
        async with store.transaction() as connection:
            await connection.execute(text("ALTER TABLE jobs ADD CHECK (type <> 'poison')"))
        await store.close()
        good, nul, foreign, poison = (uuid4() for _ in range(4))
        messy = Error("Failed", "a\0b" + "x" * 20_000, "V\0E", "\0")
        batch = [
            JobEvent(good, "t", State.RUNNING, _at(1), "pod"),
            JobEvent(poison, "poison", State.RUNNING, _at(1), "pod"),
            JobEvent(nul, "t\0", State.DEAD, _at(1), "p\0od", attempt=1 << 40, error=messy),
        ]
        await tell(operator, f"job.{QUEUE}", batch)
        await tell(operator, f"job.{QUEUE}", [JobEvent(foreign, "t", State.RUNNING, _at(1), "pod", submitted_at=T0)])
        await tell(operator, "job.leveret.other", [JobEvent(good, "t", State.SUCCEEDED, _at(2), "pod")])
        for key, body in (("job.x", b"no"), ("odd", b"{}"), ("queue.x", b"[]"), ("job.x", b'[{"id":1}]')):
            await _publish(operator, key, body)
        reasons = sorted(str(message.headers["leveret-reason"]) for message in await _taken_aside(broker, 6))
        assert [reason.split(" ")[0] for reason in reasons] == ["IntegrityError:", "the", "the", "the", "the", "the"]
        assert sum("belongs to another queue" in reason for reason in reasons) == 1
        assert (await _told(producer, good))["state"] == "running"
        shown = await _told(producer, nul)
        assert (shown["type"], shown["state"]) == ("t", "dead")
        assert len(shown["error"]["message"]) == 8_192  # type: ignore[index]
        seen = await _told(producer, foreign)
        assert seen["payload"] is None
        assert datetime.fromisoformat(str(seen["created_at"])) == T0


async def _publish(publisher: Publisher, key: str, body: bytes) -> None:
    await publisher.publish(topology.EVENTS, key, aio_pika.Message(body))


async def test_what_is_told_of_a_queue_is_shown(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        shown = (await producer.http.get(f"/v1/queues/{QUEUE}")).json()
        assert shown["jobqueue"] == {"namespace": "leveret", "name": "test"}
        assert (shown["ready"], shown["replicas"], shown["observed_at"], shown["decisions"]) == (None, None, None, [])
        assert shown["leveret_version"] is None
        now = datetime.now(UTC)
        seen = QueueObserved(now, ready=3, unacked=0, replicas=2, arrival_rate=1.5, leveret_version="0.1.0")
        await tell(operator, f"queue.{QUEUE}", seen)
        await tell(operator, f"queue.{QUEUE}", QueueObserved(now - timedelta(seconds=9), ready=99))
        for number in range(120):
            at = now + timedelta(milliseconds=number)
            await tell(operator, f"queue.{QUEUE}", QueueDecided(at, number, number + 1, "Backlog", "more"))

        async def decided() -> bool:
            decisions = (await producer.http.get(f"/v1/queues/{QUEUE}")).json()["decisions"]
            return bool(decisions) and decisions[0]["from"] == 119

        await eventually_true(decided, "the decisions are shown")
        [listed] = (await producer.http.get("/v1/queues")).json()["queues"]
        assert (listed["ready"], listed["unacked"], listed["backlog"], listed["arrival_rate"]) == (3, 0, None, 1.5)
        assert (listed["leveret_version"], len(listed["decisions"])) == ("0.1.0", 10)

        await tell(operator, f"queue.{QUEUE}", QueueRemoved(datetime.now(UTC)))

        async def gone() -> bool:
            return (await producer.http.get(f"/v1/queues/{QUEUE}")).status_code == 404

        await eventually_true(gone, "the queue is gone")
        assert (await producer.submit({"type": "a", "payload": 1})).status_code in (202, 404)  # within 2 s
        await tell(operator, f"queue.{QUEUE}", QueueDefined("leveret", "test", datetime.now(UTC), "v2", 1, 1.0))
        await known(producer)


async def test_events_wait_for_a_database_that_is_away(broker: Broker, database: Database, postgres: Server) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        job_id = uuid4()
        await asyncio.to_thread(postgres.kill)
        for event in _history(job_id):
            await tell(operator, f"job.{QUEUE}", [event])
        samples = producer.metrics.registry.get_sample_value
        age = (datetime.now(UTC) - _at(6)).total_seconds()
        await eventually(lambda: (samples("leveret_recorder_lag_seconds") or 0) > age, "it's told how long they wait")
        await asyncio.to_thread(postgres.start)

        async def finished() -> bool:
            answer = await producer.http.get(f"/v1/jobs/{job_id}")
            return answer.status_code == 200 and answer.json()["state"] == "succeeded"

        await eventually_true(finished, "the job's end is recorded")
        assert samples("leveret_job_retries_total", {"queue": QUEUE}) == 1
        assert samples("leveret_job_wait_seconds_count", {"queue": QUEUE}) == 2
        assert samples("leveret_job_run_seconds_sum", {"queue": QUEUE}) == 3
