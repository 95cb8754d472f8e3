"""Servers and replicas are killed while jobs are submitted: what was answered with 202 is there, and is published."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest
import uuid_utils.compat
from containers import Server
from producers import QUEUE, Producer, eventually_true, known, message_ids, operating, producing, ready, tell

from leveret.events import JobEvent
from leveret.jobs import Envelope, State
from leveret.settings import Broker, Database
from leveret_producer.store.jobs import Jobs, NewJob
from leveret_producer.store.postgres import Postgres


class Submitter:
    """Submits all the time, and notes what was answered."""

    def __init__(self, *producers: Producer) -> None:
        self.producers = producers
        self.accepted: list[str] = []
        self.refused: list[dict[str, object]] = []
        self.retry_after: set[str | None] = set()
        self.going = True

    async def run(self) -> None:
        number = 0
        while self.going:
            number += 1
            producer = self.producers[number % len(self.producers)]
            answer = await producer.submit(*({"type": "free", "payload": [number, one]} for one in range(20)))
            if answer.status_code == 202:
                self.accepted += [job["id"] for job in answer.json()["jobs"]]
            else:
                self.refused.append(answer.json())
                self.retry_after.add(answer.headers.get("retry-after"))
            await asyncio.sleep(0.05)


async def _all_queued(producer: Producer) -> None:
    async def none_is_left() -> bool:
        answer = await producer.http.get("/v1/jobs?state=accepted&limit=1")
        return answer.status_code == 200 and not answer.json()["jobs"]

    await eventually_true(none_is_left, "everything is published", seconds=60)


async def test_the_database_is_killed_while_jobs_come(broker: Broker, database: Database, postgres: Server) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        await known(producer)
        submitter = Submitter(producer)
        task = asyncio.create_task(submitter.run())
        await asyncio.sleep(1)
        await asyncio.to_thread(postgres.kill)
        await asyncio.sleep(2)
        down = await producer.http.get("/readyz")
        await asyncio.to_thread(postgres.start)
        before = len(submitter.accepted)
        await eventually_true(lambda: _more_than(submitter, before + 40), "jobs are accepted again")
        submitter.going = False
        await task
        assert down.status_code == 200
        assert "database is away" in down.json()["says"]
        assert {problem["type"] for problem in submitter.refused} == {
            "https://leveret.dev/problems/database-unavailable"
        }
        assert None not in submitter.retry_after
        await _all_queued(producer)
        assert set(submitter.accepted) <= set(await message_ids(broker, QUEUE))


async def _more_than(submitter: Submitter, number: int) -> bool:
    return len(submitter.accepted) > number


async def test_a_database_that_hangs_is_answered_for_in_seconds(
    broker: Broker, database: Database, postgres: Server
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        await known(producer)
        await asyncio.to_thread(postgres.pause)
        try:
            async with asyncio.timeout(15):
                answers = await asyncio.gather(
                    *(producer.submit({"type": "free", "payload": 1}) for _ in range(20)),
                    *(producer.http.get("/v1/jobs") for _ in range(20)),
                )
            assert {answer.status_code for answer in answers} == {503}
        finally:
            await asyncio.to_thread(postgres.unpause)

        async def accepted() -> bool:
            return (await producer.submit({"type": "free", "payload": 1})).status_code == 202

        await eventually_true(accepted, "jobs are accepted again")


async def test_the_broker_is_killed_while_jobs_come(broker: Broker, database: Database, rabbitmq: Server) -> None:
    async with producing(broker, database) as producer:
        async with operating(broker, QUEUE):
            await ready(producer)
            await known(producer)
        submitter = Submitter(producer)
        task = asyncio.create_task(submitter.run())
        await asyncio.sleep(1)
        await asyncio.to_thread(rabbitmq.kill)
        before = len(submitter.accepted)
        await eventually_true(lambda: _more_than(submitter, before + 100), "jobs are accepted without a broker")

        async def says_so() -> bool:
            down = await producer.http.get("/readyz")
            return down.status_code == 200 and "broker is away" in down.json()["says"]

        await eventually_true(says_so, "it is ready, and says that the broker is away")
        await asyncio.to_thread(rabbitmq.start)
        submitter.going = False
        await task
        assert submitter.refused == []
        await _all_queued(producer)
        published = await message_ids(broker, QUEUE)
        assert set(submitter.accepted) <= set(published)


async def test_a_broker_that_hangs_delays_jobs_and_refuses_none(
    broker: Broker, database: Database, rabbitmq: Server
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        await known(producer)
        await asyncio.to_thread(rabbitmq.pause)
        try:
            answers = [await producer.submit({"type": "free", "payload": number}) for number in range(30)]
        finally:
            await asyncio.to_thread(rabbitmq.unpause)
        assert {answer.status_code for answer in answers} == {202}
        await _all_queued(producer)
        assert sorted(await message_ids(broker, QUEUE)) == sorted(answer.json()["id"] for answer in answers)


async def test_another_replica_publishes_what_one_that_died_had_accepted(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        store = Postgres(lambda: database, connections=1, name="died")
        now = datetime.now(UTC)
        ids = [uuid_utils.compat.uuid7() for _ in range(700)]
        jobs = [NewJob(Envelope(one, QUEUE, "free", b"1", submitted_at=now), 5) for one in ids]
        await Jobs(store).insert(jobs, now, lease_seconds=10)
        await store.close()
        await asyncio.sleep(1)
        assert await message_ids(broker, QUEUE) == []  # its lease is respected
        await _all_queued(producer)
        published = await message_ids(broker, QUEUE)
        assert sorted(published) == [str(one) for one in ids]
        assert set(published[:50]) <= {str(one) for one in ids[:500]}  # oldest first, but for those in flight at once


async def test_a_queue_that_was_deleted_by_hand_holds_up_itself_only(
    broker: Broker, database: Database, rabbitmq: Server
) -> None:
    gone = "leveret.gone"
    async with producing(broker, database) as producer, operating(broker, QUEUE, gone) as operator:
        await ready(producer)
        await known(producer, gone)
        await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", "delete_queue", "-p", broker.vhost, gone)
        lost = await producer.submit(*({"type": "free", "payload": 1} for _ in range(500)), queue=gone)
        fine = await producer.submit(*({"type": "free", "payload": 1} for _ in range(500)))
        assert (lost.status_code, fine.status_code) == (202, 202)

        async def published() -> bool:
            answer = await producer.http.get(f"/v1/jobs?state=accepted&queue={QUEUE}&limit=1")
            return not answer.json()["jobs"]

        await eventually_true(published, "the other queue's jobs are published", seconds=60)
        assert operator is not None
        arrived: set[str] = set()
        async with operating(broker, gone):

            async def all_arrived() -> bool:
                arrived.update(await message_ids(broker, gone))
                return len(arrived) >= 500

            await eventually_true(all_arrived, "the jobs of the queue that is there again are published", seconds=60)
        assert arrived == {job["id"] for job in lost.json()["jobs"]}


async def test_a_stop_publishes_what_was_accepted(
    broker: Broker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leveret_producer.running.FLUSH", 60.0)  # 5 s is no promise of 1,000 jobs on a busy machine
    async with operating(broker, QUEUE):
        async with producing(broker, database) as producer:
            await ready(producer)
            await known(producer)
            first = (await producer.submit({"type": "free", "payload": 1})).json()["id"]

            async def is_published() -> bool:
                return bool((await producer.http.get(f"/v1/jobs/{first}")).json()["state"] == "queued")

            await eventually_true(is_published, "this replica publishes")
            answer = await producer.submit(*({"type": "free", "payload": 1} for _ in range(1_000)))
        assert set(await message_ids(broker, QUEUE)) == {first, *(job["id"] for job in answer.json()["jobs"])}
        async with producing(broker, database, "producer-b") as other:
            await ready(other)
            assert (await other.http.get("/v1/jobs?state=accepted")).json()["jobs"] == []


async def test_a_producer_waits_for_its_servers(broker: Broker, database: Database, postgres: Server) -> None:
    await asyncio.to_thread(postgres.kill)
    async with producing(broker, database) as producer:
        try:
            assert (await producer.http.get("/healthz")).status_code == 200
            waiting = await producer.http.get("/readyz")
            refused = await producer.submit({"type": "free", "payload": 1})
        finally:
            await asyncio.to_thread(postgres.start)
        assert (waiting.status_code, refused.status_code) == (503, 503)
        assert "waiting for the database" in waiting.json()["says"]
        await ready(producer)


async def test_two_replicas_record_the_same_events_at_once(broker: Broker, database: Database) -> None:
    async with (
        producing(broker, database, "producer-a") as one,
        producing(broker, database, "producer-b") as two,
        operating(broker, QUEUE) as operator,
    ):
        await ready(one)
        await ready(two)
        ids = [uuid_utils.compat.uuid7() for _ in range(300)]
        at = datetime.now(UTC)
        for state in (State.SUCCEEDED, State.RUNNING, State.SUCCEEDED, State.RETRYING, State.RUNNING) * 4:
            ids.reverse()
            for start in range(0, 300, 50):
                batch = [
                    JobEvent(UUID(str(one_id)), "free", state, at, "pod", started_at=at)
                    for one_id in ids[start : start + 50]
                ]
                await tell(operator, f"job.{QUEUE}", batch)

        async def recorded() -> bool:
            found = (await one.http.get("/v1/jobs?state=succeeded&limit=500")).json()["jobs"]
            return len(found) == 300

        await eventually_true(recorded, "all are recorded")
        await asyncio.sleep(0.5)
        finished = [
            producer.metrics.registry.get_sample_value(
                "leveret_jobs_finished_total", {"queue": QUEUE, "outcome": "succeeded"}
            )
            or 0
            for producer in (one, two)
        ]
        assert 300 <= sum(finished) <= 310  # a job that neither has seen may be counted by both
