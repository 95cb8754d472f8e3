"""Dead letters are looked at, redriven and purged over HTTP, while producers are killed and jobs run."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import uuid_utils.compat
from aio_pika.abc import AbstractIncomingMessage
from containers import Server, free_port
from producers import (
    QUEUE,
    TOKEN,
    Producer,
    database_url,
    eventually_true,
    known,
    operating,
    process_environment,
    producing,
    ready,
    tell,
)

from leveret import topology, wire
from leveret.events import Error, JobEvent, QueueRemoved
from leveret.jobs import Envelope, State
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database
from leveret_producer.dead_letters.selection import DeadLetterFilter, DeadLetterSelection
from leveret_producer.store.operations import CHUNK, Operations
from leveret_producer.store.postgres import Postgres

LETTERS = f"/v1/queues/{QUEUE}/dead-letters"
FAILED = Error("AttemptsExhausted", "boom", "ValueError", "Traceback (most recent call last): …")
Found = dict[str, Any]


async def _die(publisher: Publisher, job: Envelope, error: Error = FAILED) -> str:
    """Do what a consumer does with a job that it gives up."""
    headers: dict[str, str | int] = {wire.REASON: error.reason, wire.ERROR: msgspec.json.encode(error).decode()}
    await publisher.publish(topology.DEAD, job.queue, wire.to_message(job, headers))
    return str(job.id)


def _job(type: str = "free", body: bytes = b'{"a": 1}', queue: str = QUEUE, attempt: int = 5) -> Envelope:
    return Envelope(uuid_utils.compat.uuid7(), queue, type, body, attempt=attempt)


async def _many(publisher: Publisher, number: int, type: str = "free") -> list[str]:
    found: list[str] = []
    for start in range(0, number, 100):
        found += await asyncio.gather(*(_die(publisher, _job(type)) for _ in range(start, min(start + 100, number))))
    return found


@asynccontextmanager
async def _sql(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url(database))
    try:
        yield connection
    finally:
        await connection.close()


async def _stored(database: Database, number: int, type: str = "free", queue: str = QUEUE) -> list[str]:
    """Store dead letters without any message on the broker; return their ids, in order."""
    ids = sorted(str(uuid_utils.compat.uuid7()) for _ in range(number))
    async with _sql(database) as connection:
        await connection.execute(
            "INSERT INTO jobs (id, queue, type, state, merge_key, generation, attempt, created_at, finished_at, error, "
            "dead_reason, published_at) SELECT id, $2, $3, 'dead', (1::bigint << 33) + (3::bigint << 31), 1, 5, now(), "
            "now(), $4, 'AttemptsExhausted', now() FROM unnest($1::uuid[]) AS new (id)",
            ids, queue, type, msgspec.json.encode(FAILED).decode(),
        )  # fmt: skip
        await connection.execute("INSERT INTO payloads (id, body) SELECT unnest($1::uuid[]), '{\"a\": 1}'", ids)
    return ids


async def _listed(http: httpx.AsyncClient, query: str = "limit=500", queue: str = QUEUE) -> list[Found]:
    answer = await http.get(f"/v1/queues/{queue}/dead-letters?{query}")
    assert answer.status_code == 200, answer.text
    found: list[Found] = answer.json()["dead_letters"]
    return found


async def _known_dead(producer: Producer, number: int) -> None:
    """Wait until the store knows of so many dead letters."""

    async def are() -> bool:
        return await _count(producer.http) == number

    await eventually_true(are, f"{number} dead letters are known", seconds=60)


async def _count(http: httpx.AsyncClient, query: str = "limit=500") -> int:
    counted, before = 0, ""
    while True:
        answer = (await http.get(f"{LETTERS}?{query}{before}")).json()
        counted += len(answer["dead_letters"])
        if answer["next"] is None:
            return counted
        before = f"&before={answer['next']}"


async def _ask(http: httpx.AsyncClient, action: str, selection: object, queue: str = QUEUE) -> Found:
    answer = await http.post(f"/v1/queues/{queue}/dead-letters/{action}", json=selection)
    assert answer.status_code == 202, answer.text
    made: Found = answer.json()
    assert answer.headers["location"] == f"/v1/queues/{queue}/dead-letters/operations/{made['id']}"
    return made


async def _finished(http: httpx.AsyncClient, operation: Found, seconds: float = 60) -> Found:
    latest: Found = {}

    async def is_done() -> bool:
        nonlocal latest
        answer = await http.get(f"/v1/queues/{operation['queue']}/dead-letters/operations/{operation['id']}")
        assert answer.status_code == 200, answer.text
        latest = answer.json()
        return bool(latest["state"] == "done")

    await eventually_true(is_done, "the operation is done", seconds)
    return latest


def _numbers(operation: Found) -> tuple[int, int, int, str]:
    return operation["total"], operation["done"], operation["skipped"], operation["state"]


async def _messages(broker: Broker, queue: str, number: int, seconds: float = 60) -> list[AbstractIncomingMessage]:
    """Take so many messages of a queue, and whatever more there is."""
    found: list[AbstractIncomingMessage] = []
    async with await open_connection(broker, "test look") as connection:
        channel = await connection.channel()
        handle = await channel.get_queue(queue, ensure=False)

        async def take(message: AbstractIncomingMessage) -> None:
            found.append(message)

        await handle.consume(take, no_ack=True)
        await eventually_true(lambda: _at_least(found, number), f"{number} messages are in {queue}", seconds)
        await asyncio.sleep(1)
    return found


async def _at_least(found: Sequence[object], number: int) -> bool:
    return len(found) >= number


async def test_they_are_listed_and_shown_with_all_they_have(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        job, at = _job(), datetime.now(UTC)
        ended = JobEvent(UUID(str(job.id)), "free", State.DEAD, at, "pod-1", 5, started_at=at, error=FAILED)
        await tell(operator, f"job.{QUEUE}", [ended])
        whole = await _die(operator, job)
        broken = await _die(operator, _job("t", b"{not JSON"), Error("NotJson", "it is not JSON"))
        binary = await _die(operator, _job("t", b"\xff\x00\xfe"), Error("NotJson", "it is not UTF-8"))
        rest = [await _die(operator, _job("other")) for _ in range(4)]
        await _known_dead(producer, 7)

        listed = await _listed(producer.http)
        assert {one["id"] for one in listed} == {whole, broken, binary, *rest}
        places = [(one["died_at"], one["id"]) for one in listed]
        assert places == sorted(places, reverse=True)
        first = next(one for one in listed if one["id"] == whole)
        del first["created_at"], first["died_at"]
        assert first == {
            "id": whole, "queue": QUEUE, "type": "free", "reason": "AttemptsExhausted", "message": "boom",
            "error_type": "ValueError", "attempts": 5, "max_attempts": 5, "generation": 1, "correlation_id": None,
        }  # fmt: skip
        assert {one["id"] for one in await _listed(producer.http, "reason=NotJson")} == {broken, binary}
        assert {one["id"] for one in await _listed(producer.http, "type=other")} == set(rest)
        assert await _listed(producer.http, "type=other&reason=NotJson") == []

        before = ""
        pages: list[list[str]] = []
        while len(pages) < 9:
            page = (await producer.http.get(f"{LETTERS}?limit=3{before}")).json()
            pages.append([one["id"] for one in page["dead_letters"]])
            if page["next"] is None:
                break
            before = f"&before={page['next']}"
        assert pages == [[one["id"] for one in listed[start : start + 3]] for start in (0, 3, 6)]

        shown = (await producer.http.get(f"{LETTERS}/{whole}")).json()
        assert shown["error"] == {
            "reason": "AttemptsExhausted", "message": "boom", "type": "ValueError", "traceback": FAILED.traceback,
        }  # fmt: skip
        assert [(one["attempt"], one["consumer"], one["outcome"]) for one in shown["attempts"]] == [
            (5, "pod-1", "dead")
        ]
        assert (shown["payload"], shown["body"], shown["redrivable"]) == ({"a": 1}, None, True)
        shown = (await producer.http.get(f"{LETTERS}/{broken}")).json()
        assert (shown["payload"], shown["body"]) == (None, {"encoding": "utf-8", "content": "{not JSON"})
        shown = (await producer.http.get(f"{LETTERS}/{binary}")).json()
        assert (shown["payload"], shown["body"]) == (None, {"encoding": "base64", "content": "/wD+"})
        for one in (broken, binary):
            assert (await producer.job(one))["payload"] is None


async def test_what_is_not_there_is_refused_in_words(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE, "leveret.other"):
        await ready(producer)
        await known(producer)
        await known(producer, "leveret.other")
        [alive] = [(await producer.submit({"type": "free", "payload": 1})).json()["id"]]
        [dead] = await _stored(database, 1)
        for path, slug, words in (
            (f"{LETTERS}/{UUID(int=5)}", "unknown-job", "There is no job"),
            (f"{LETTERS}/{alive}", "unknown-job", "is no dead letter: it is "),
            (f"/v1/queues/leveret.other/dead-letters/{dead}", "unknown-job", f"is of the queue {QUEUE}"),
            (f"{LETTERS}/seven", "invalid-request", "is not a job's id"),
            (f"{LETTERS}/operations/{UUID(int=5)}", "not-found", "There is no operation"),
            (f"{LETTERS}?reason=Bored", "invalid-request", "must be one of AttemptsExhausted"),
            ("/v1/queues/leveret.tset/dead-letters", "unknown-queue", QUEUE),
            ("/v1/queues/leveret%00/dead-letters", "unknown-queue", "There is no queue"),
        ):
            problem = (await producer.http.get(path)).json()
            assert problem["type"] == f"https://leveret.dev/problems/{slug}", problem
            assert words in problem["detail"]
        for body, status in ((b"{}", 422), (b"{", 400), (b'{"all": true, "ids": []}', 422)):
            answer = await producer.http.post(
                f"{LETTERS}/redrive", content=body, headers={"Content-Type": "application/json"}
            )
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert (await producer.http.post(f"{LETTERS}/purge", content=b'{"all": true}')).status_code == 415
        assert (
            await producer.http.post("/v1/queues/leveret.tset/dead-letters/purge", json={"all": True})
        ).status_code == 404
        assert await _count(producer.http) == 1


async def test_a_redrive_by_filter_while_jobs_run_touches_what_is_meant_and_nothing_else(
    broker: Broker, database: Database
) -> None:
    async with (
        producing(broker, database) as producer,
        producing(broker, database, "producer-b") as other,
        operating(broker, QUEUE) as operator,
    ):
        await ready(producer)
        await ready(other)
        await known(producer)
        meant = await _many(operator, 1_200, "meant")
        others = await _many(operator, 100, "other")
        await _known_dead(producer, 1_300)
        submitted: list[str] = []
        going = True

        async def submit() -> None:
            while going:
                answer = await other.submit(*({"type": "meant", "payload": 1} for _ in range(10)))
                submitted.extend(one["id"] for one in answer.json()["jobs"])
                await asyncio.sleep(0.02)

        running = asyncio.create_task(submit())
        operation = await _ask(producer.http, "redrive", {"filter": {"type": "meant"}})
        assert (operation["total"], operation["state"]) == (1_200, "running")
        late = [await _die(operator, _job("meant")) for _ in range(20)]  # these die after it was asked for
        finished = await _finished(other.http, operation)
        going = False
        await running
        assert _numbers(finished) == (1_200, 1_200, 0, "done")
        assert finished["finished_at"] is not None

        messages = await _messages(broker, QUEUE, 1_200 + len(submitted))
        seen = Counter(message.message_id for message in messages)
        assert set(seen) == {*meant, *submitted}
        redriven = [message for message in messages if message.message_id in set(meant)]
        assert {(one.headers[wire.GENERATION], one.headers[wire.ATTEMPT]) for one in redriven} == {(2, 1)}
        assert {one.body for one in redriven} == {b'{"a": 1}'}
        await _known_dead(producer, 120)
        assert {one["id"] for one in await _listed(producer.http)} == {*others, *late}

        async def is_queued() -> bool:  # marked after it is published, in groups
            return (await producer.job(meant[0]))["state"] == "queued"

        await eventually_true(is_queued, "it is queued again", seconds=60)
        again = await producer.job(meant[0])
        assert (again["state"], again["generation"], again["error"], again["finished_at"]) == ("queued", 2, None, None)

        repeated = await _finished(
            producer.http, await _ask(producer.http, "redrive", {"ids": [*meant[:700], others[0]]})
        )
        assert _numbers(repeated) == (701, 1, 700, "done")


async def test_a_producer_that_is_killed_in_the_middle_is_followed_by_another(
    broker: Broker, database: Database
) -> None:
    async with operating(broker, QUEUE), _process(broker, database) as (process, http):
        await _serves(http)
        ids = await _stored(database, 1_200)
        async with _sql(database) as connection:
            in_the_way = connection.transaction()
            await in_the_way.start()
            await connection.execute("SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE", ids[700])  # of the second chunk
            operation = await _ask(http, "redrive", {"all": True})

            async def is_in_the_middle() -> bool:
                now = (await http.get(f"{LETTERS}/operations/{operation['id']}")).json()
                return bool(now["done"] == 500)

            await eventually_true(is_in_the_middle, "the first chunk is done", seconds=60)
            async with producing(broker, database, "producer-b") as other:
                await ready(other)
                process.kill()
                process.wait()
                await in_the_way.rollback()
                finished = await _finished(other.http, operation)
                assert _numbers(finished) == (1_200, 1_200, 0, "done")
                messages = await _messages(broker, QUEUE, 1_200)
                assert {one.message_id for one in messages} == set(ids)
                assert {one.headers[wire.GENERATION] for one in messages} == {2}
                generations = await connection.fetch("SELECT DISTINCT generation FROM jobs")
                assert [row["generation"] for row in generations] == [2]
                assert await connection.fetchval("SELECT count(*) FROM dead_letter_chunks") == 0


@asynccontextmanager
async def _process(
    broker: Broker, database: Database
) -> AsyncIterator[tuple[subprocess.Popen[bytes], httpx.AsyncClient]]:
    port = free_port()
    environment = process_environment(broker, database, port, free_port())
    process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
        [sys.executable, "-m", "leveret_producer"], env=environment, stderr=subprocess.DEVNULL
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as http:
            yield process, http
    finally:
        process.kill()
        process.wait()


async def _serves(http: httpx.AsyncClient) -> None:
    async def does() -> bool:
        try:
            return (await http.get(f"/v1/queues/{QUEUE}")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually_true(does, "the process serves", seconds=60)


async def test_a_purge_puts_away_and_the_jobs_stay_dead(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        await known(producer)
        ids = await _stored(database, 1_200)
        finished = await _finished(producer.http, await _ask(producer.http, "purge", {"all": True}))
        assert _numbers(finished) == (1_200, 1_200, 0, "done")
        assert await _listed(producer.http) == []
        job = await producer.job(ids[0])
        assert (job["state"], job["generation"]) == ("dead", 1)
        shown = await producer.http.get(f"{LETTERS}/{ids[0]}")
        assert shown.status_code == 404
        assert "it was purged" in shown.json()["detail"]
        again = await _ask(producer.http, "redrive", {"ids": ids[:10]})
        assert _numbers(again) == (10, 0, 10, "done")
        nothing = await _ask(producer.http, "purge", {"all": True})
        assert _numbers(nothing) == (0, 0, 0, "done")


async def test_what_is_meant_is_settled_page_by_page(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        await known(producer)
        ids = await _stored(database, 700) + await _stored(database, 700)
        rest = await _stored(database, 5, type="rest")
        store = Postgres(lambda: database, connections=1, name="test")
        try:
            all_free = DeadLetterSelection(filter=DeadLetterFilter(type="free"))
            made = await Operations(store, page=CHUNK).create(uuid_utils.compat.uuid7(), QUEUE, "purge", all_free)
        finally:
            await store.close()
        assert (made.total, made.state) == (1_400, "running")
        finished = await _finished(producer.http, {"id": str(made.id), "queue": QUEUE})
        assert _numbers(finished) == (len(ids), len(ids), 0, "done")
        assert sorted(one["id"] for one in await _listed(producer.http)) == rest


async def test_what_has_no_payload_in_the_store_is_skipped_and_stays(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        await known(producer)
        ids = await _stored(database, 3)
        async with _sql(database) as connection:
            await connection.execute("DELETE FROM payloads WHERE id = $1", ids[1])
        finished = await _finished(producer.http, await _ask(producer.http, "redrive", {"all": True}))
        assert _numbers(finished) == (3, 2, 1, "done")
        assert [one["id"] for one in await _listed(producer.http)] == [ids[1]]
        assert (await producer.http.get(f"{LETTERS}/{ids[1]}")).json()["redrivable"] is False


async def test_a_body_that_is_no_text_is_redriven_as_it_came(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        await _die(operator, _job(body=b"\xff\x00\xfe"), Error("NotJson", "it is not UTF-8"))
        await _known_dead(producer, 1)
        await _finished(producer.http, await _ask(producer.http, "redrive", {"filter": {"reason": "NotJson"}}))
        [message] = await _messages(broker, QUEUE, 1)
        assert message.body == b"\xff\x00\xfe"


async def test_a_queue_whose_jobqueue_is_gone_is_listed_and_purged_but_not_redriven(
    broker: Broker, database: Database
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        ids = await _stored(database, 3)
        await tell(operator, f"queue.{QUEUE}", QueueRemoved(datetime.now(UTC)))

        async def is_gone() -> bool:
            return (await producer.http.get(f"/v1/queues/{QUEUE}")).status_code == 404

        await eventually_true(is_gone, "the queue is not known any more")
        refused = await producer.http.post(f"{LETTERS}/redrive", json={"all": True})
        assert refused.status_code == 404
        assert refused.json()["type"] == "https://leveret.dev/problems/unknown-queue"
        assert "No JobQueue has the queue" in refused.json()["detail"]
        assert len(await _listed(producer.http)) == 3
        assert (await producer.http.get(f"{LETTERS}/{ids[0]}")).status_code == 200
        finished = await _finished(producer.http, await _ask(producer.http, "purge", {"all": True}))
        assert _numbers(finished) == (3, 3, 0, "done")


async def test_a_redrive_waits_while_the_outbox_is_full(broker: Broker, database: Database, rabbitmq: Server) -> None:
    async with producing(broker, database, outbox_limit=50) as producer, operating(broker, QUEUE):
        await ready(producer)
        await known(producer)
        ids = await _stored(database, 1_100)
        await asyncio.to_thread(rabbitmq.pause)
        try:
            for _ in range(50):
                assert (await producer.submit({"type": "free", "payload": 1})).status_code == 202
            operation = await _ask(producer.http, "redrive", {"all": True})
            await asyncio.sleep(4)
            waiting = (await producer.http.get(f"{LETTERS}/operations/{operation['id']}")).json()
        finally:
            await asyncio.to_thread(rabbitmq.unpause)
        assert _numbers(waiting) == (1_100, 0, 0, "running")
        assert _numbers(await _finished(producer.http, operation)) == (1_100, 1_100, 0, "done")
        redriven = {one.message_id for one in await _messages(broker, QUEUE, 1_150)}
        assert set(ids) <= redriven
