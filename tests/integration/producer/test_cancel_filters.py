"""Many jobs are cancelled at once: named one by one, and beyond 10,000 by a rule, which stands for no job that isn't meant."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import uuid_utils.compat
from containers import Server
from control_stream import Stream, reading, told
from producers import QUEUE, Producer, database_url, eventually, eventually_true, known, operating, producing, ready

from leveret.settings import Broker, Database

MANY = 10_500
PATH = f"/v1/queues/{QUEUE}"
INSERT = """
    INSERT INTO jobs (id, queue, type, state, merge_key, generation, created_at, published_at, over_amqp, run_at)
    SELECT id, $2, $3, $4, (CAST($5 AS bigint) << 33) + 1, $5, $6, now(), $7, $8 FROM unnest($1::uuid[]) AS new (id)
"""


class World:
    def __init__(self, producer: Producer, stream: Stream, sql: asyncpg.Connection) -> None:
        self.producer, self.stream, self.sql = producer, stream, sql

    async def insert(
        self, number: int, state: str = "queued", ago: float = 60, *, generation: int = 1, foreign: bool = False,
        run_at: datetime | None = None, type: str = "t",
    ) -> set[UUID]:  # fmt: skip
        ids = [uuid4() if foreign else uuid_utils.compat.uuid7() for _ in range(number)]
        at = datetime.now(UTC) - timedelta(seconds=ago)
        await self.sql.execute(INSERT, ids, QUEUE, type, state, generation, at, foreign, run_at)
        return set(ids)

    async def cancel(self, selection: object) -> dict[str, Any]:
        """Return the operation once it is done."""
        answer = await self.producer.http.post(f"{PATH}/jobs/cancel", json=selection)
        assert answer.status_code == 202, answer.text
        operation: dict[str, Any] = answer.json()
        assert answer.headers["location"] == f"{PATH}/operations/{operation['id']}"

        async def is_done() -> bool:
            operation.update((await self.producer.http.get(answer.headers["location"])).json())
            return bool(operation["state"] == "done")

        await eventually_true(is_done, "the operation is done")
        return operation

    async def snapshot(self) -> UUID:
        """Have one written, and return it."""
        before = len(self.stream.whole())
        await self.sql.execute("UPDATE turns SET until = now() WHERE name = 'control'")
        await eventually(lambda: len(self.stream.whole()) > before, "another snapshot is whole")
        return self.stream.whole()[-1]

    def named(self) -> set[UUID]:
        return {job for _, job, _ in self.stream.named()}


@asynccontextmanager
async def _world(broker: Broker, database: Database) -> AsyncIterator[World]:
    async with producing(broker, database) as producer, operating(broker, QUEUE), reading(broker) as stream:
        await ready(producer)
        await known(producer)
        sql = await asyncpg.connect(database_url(database))
        yield World(producer, stream, sql)
        await sql.close()


async def test_a_filter_names_what_is_stored_and_has_not_ended(broker: Broker, database: Database) -> None:
    async with _world(broker, database) as world:
        queued, running = await world.insert(700), await world.insert(30, "running")
        old, other = await world.insert(5, ago=7200), await world.insert(5, type="other")
        ended = await world.insert(5, "succeeded")
        body = [{"type": "t", "payload": 0, "delay": "1h"} for _ in range(3)]
        later = {UUID(one["id"]) for one in (await world.producer.submit(*body)).json()["jobs"]}
        hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        done = await world.cancel({"filter": {"type": "t", "since": hour_ago}})
        assert (done["total"], done["done"], done["skipped"], done["action"]) == (733, 733, 0, "cancel")
        await told(world.stream, *((QUEUE, job, 1) for job in queued | running))
        assert (world.named(), world.stream.rules()) == (queued | running, [])
        listed = (await world.producer.http.get("/v1/jobs?state=cancelled")).json()["jobs"]
        assert {UUID(one["id"]) for one in listed} == later
        metric = world.producer.metrics.registry.get_sample_value
        assert metric("leveret_jobs_finished_total", {"queue": QUEUE, "outcome": "cancelled"}) == 3

        some = [str(one) for one in [*old, *ended, uuid4()]]
        done = await world.cancel({"ids": some})
        assert (done["total"], done["done"], done["skipped"]) == (11, 5, 6)
        await told(world.stream, *((QUEUE, job, 1) for job in old))
        assert not other & world.named()
        done = await world.cancel({"filter": {"state": "queued", "until": hour_ago, "type": "other"}})
        assert (done["total"], done["state"]) == (0, "done")
        await world.cancel({"all": True})
        await told(world.stream, *((QUEUE, job, 1) for job in other))


async def test_a_broker_that_restarts_amid_an_operation_has_every_job_named_afterwards(
    broker: Broker, database: Database, rabbitmq: Server
) -> None:
    async with _world(broker, database) as world:
        queued = await world.insert(9_000)
        begun = asyncio.create_task(world.cancel({"all": True}))
        await eventually(lambda: bool(world.stream.named()), "the first are named")
        await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "stop_app")
        await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "start_app")
        assert (await begun)["done"] == 9_000
        outbox = "SELECT count(*) = 0 FROM outbox"
        await eventually_true(lambda: world.sql.fetchval(outbox), "the broker has all of it", seconds=60)
        async with reading(broker) as stream:
            await told(stream, *((QUEUE, job, 1) for job in queued))


async def test_a_rule_stands_for_what_waits_and_all_others_are_named(broker: Broker, database: Database) -> None:
    async with _world(broker, database) as world:
        covered = await world.insert(MANY)
        named = {
            *await world.insert(3, "running"),
            *await world.insert(3, generation=2),
            *await world.insert(3, foreign=True),
            *await world.insert(3, run_at=datetime.now(UTC) - timedelta(minutes=1)),
            *await world.insert(3, ago=0),
        }
        begun = datetime.now(UTC)
        done = await world.cancel({"filter": {"type": "t"}})
        assert (done["total"], done["done"]) == (MANY + 15, MANY + 15)
        await eventually(lambda: named <= world.named(), "the others are named")
        assert world.named() == named
        [rule] = world.stream.rules()
        assert (rule.queue, rule.type, rule.since) == (QUEUE, "t", None)
        assert begun - timedelta(seconds=10) < rule.before < datetime.now(UTC) - timedelta(seconds=2)
        assert rule.before.microsecond == 0
        marked = "SELECT count(*) FROM jobs WHERE cancel_requested_at IS NOT NULL AND state = 'queued'"
        assert await world.sql.fetchval(marked) == MANY + 12
        snapshot = await world.snapshot()
        assert len(world.stream.rules()) == 2
        assert {job for _, job, _ in world.stream.named(in_snapshot=snapshot)} == named

        # One that runs after all, which a rule does not stop, is named.
        [runs, *rest] = sorted(covered)
        await world.sql.execute("UPDATE jobs SET state = 'running' WHERE id = $1", runs)
        await world.snapshot()
        await told(world.stream, (QUEUE, runs, 1))

        await world.sql.execute("UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = ANY($1)", rest)
        await world.snapshot()
        await world.snapshot()
        rules = len(world.stream.rules())
        await world.snapshot()
        assert len(world.stream.rules()) == rules, "nothing is left that it stands for"
        assert await world.sql.fetchval("SELECT count(*) FROM cancel_rules") == 0


async def test_no_rule_reaches_a_job_that_was_put_off_from_before_it(broker: Broker, database: Database) -> None:
    async with _world(broker, database) as world:
        meant = await world.insert(MANY)
        since = datetime.now(UTC) - timedelta(minutes=10)
        late = await world.insert(1, ago=3600, run_at=since + timedelta(minutes=1))
        done = await world.cancel({"filter": {"since": since.isoformat()}})
        assert done["done"] == MANY
        await told(world.stream, *((QUEUE, job, 1) for job in meant))
        assert (world.named(), world.stream.rules(), late & meant) == (meant, [], set())


async def test_what_can_not_be_meant(broker: Broker, database: Database) -> None:
    async with _world(broker, database) as world:
        http = world.producer.http
        for path, body, status, slug in (
            (f"{PATH}/jobs/cancel", {"filter": {"state": "dead"}}, 422, "invalid-request"),
            (f"{PATH}/jobs/cancel", {}, 422, "invalid-request"),
            ("/v1/queues/leveret.tset/jobs/cancel", {"all": True}, 404, "unknown-queue"),
        ):
            answer = await http.post(path, json=body)
            assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (status, slug)
        assert (await http.get(f"{PATH}/operations/{uuid4()}")).status_code == 404


async def test_operations_of_versions_before_are_not_theirs(broker: Broker, database: Database) -> None:
    """A producer of 0.1.0 takes what is `running` and no redrive for a purge."""
    async with _world(broker, database) as world:
        await world.insert(1)
        answer = await world.producer.http.post(f"{PATH}/jobs/cancel", json={"all": True})
        stored = "SELECT state FROM dead_letter_operations WHERE id = $1"
        assert await world.sql.fetchval(stored, UUID(answer.json()["id"])) != "running"
        assert answer.json()["state"] == "running"
