"""bulk-insert whole, with real servers: stops at random moments, kills around COMMIT, and a database that is restarted."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from containers import Server, free_port
from processes import Start, pg_variables
from producers import TOKEN, Producer, eventually_true, known, operating, producing, ready

from chaos.stopped_inserts import Asker, stop_inserts
from examples.bulk_insert.front import create_app
from examples.bulk_insert.store import Store
from leveret.client import AsyncClient, Patience
from leveret.settings import Broker, Database

QUEUE = "leveret.bulk-insert"
RETRY = '{"maxAttempts": 100, "backoff": {"initial": "1s", "factor": 1, "max": "1s", "jitter": "none"}}'


@dataclass
class Stage:
    """A front in this process, and consumers that can be killed."""

    front: httpx.AsyncClient
    producer: Producer
    start: Start
    broker: Broker
    kept: str
    consumers: list[Any]

    def consume(self, **variables: str) -> None:
        given = {"LEVERET_CONCURRENCY": "8", "LEVERET_TIMEOUT": "2m", "LEVERET_RETRY": RETRY, **pg_variables(self.kept)}
        process = self.start(
            "leveret_consumer", LEVERET_QUEUE=QUEUE, LEVERET_HANDLERS="examples.bulk_insert.handlers:handlers",
            LEVERET_BROKER_URL=self.broker.url(), LEVERET_PROBE_PORT=str(free_port()), **given, **variables,
        )  # fmt: skip
        self.consumers.append(process)

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.front.get(path)
        assert answer.status_code == status, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    async def ended(self, id: str) -> dict[str, Any]:
        async def final() -> bool:
            seen.update(await self.get(f"/status/{id}"))
            return seen["state"] in ("succeeded", "dead", "cancelled")

        seen: dict[str, Any] = {}
        await eventually_true(final, f"{id} has ended")
        return seen


@pytest.fixture
async def stage(broker: Broker, database: Database, empty: str, start: Start) -> AsyncIterator[Stage]:
    async with operating(broker, QUEUE, "leveret.other"), producing(broker, database) as producer:
        await ready(producer)
        await known(producer, QUEUE)
        await known(producer, "leveret.other")
        app = create_app(
            lambda: Store(empty),
            lambda: AsyncClient(str(producer.http.base_url), TOKEN, patience=Patience(timeout=20)),
            QUEUE,
            wait=30,
        )
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://f") as front,
        ):
            await front.get("/get_data/count")  # it makes the tables
            yield Stage(front, producer, start, broker, empty, [])


async def test_what_people_know_is_there(stage: Stage) -> None:
    assert "/insert/{n}" in (await stage.get("/"))["message"]
    id = (await stage.get("/insert/2500", 202))["id"]  # noqa: A001
    assert (await stage.get(f"/status/{id}"))["rows"] == 0
    stage.consume()
    assert await stage.ended(id) == {"id": id, "state": "succeeded", "rows": 2_500}
    waited = await stage.get("/dpd_insert/1")
    assert waited == {"id": waited["id"], "state": "succeeded", "rows": 1}
    assert (await stage.get("/dpd_insert"))["rows"] == 100_000
    assert await stage.get("/get_data/count") == {"count": 102_501}
    assert len((await stage.get("/get_data"))["rows"]) == 1_000
    page = (await stage.get("/get_data?limit=3&offset=2498"))["rows"]
    assert [(row["job"], row["number"]) for row in page] == [(id, 2_499), (id, 2_500), (waited["id"], 1)]
    assert await stage.get("/get_data?limit=0") == {"rows": []}
    assert await stage.get("/get_data?limit=10000&offset=9223372036854775807") == {"rows": []}
    assert await stage.get("/delete_all") == {"deleted": 102_501}
    assert await stage.get(f"/stop/{id}", 202) == {"id": id, "state": "succeeded", "rows": 0}, "it has ended before"
    assert await stage.get("/delete_all") == {"deleted": 0}
    other = (await stage.producer.submit({"type": "t", "payload": {}}, queue="leveret.other")).json()["id"]
    for path in (f"/status/{other}", f"/stop/{other}", f"/stop/{UUID(int=7)}", f"/status/{UUID(int=7)}"):
        answer = await stage.front.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "https://leveret.dev/problems/unknown-insert")
    assert (await stage.producer.job(other))["cancel_requested_at"] is None


async def test_all_is_deleted_beside_an_insert_that_goes_on(stage: Stage) -> None:
    stage.consume(BULK_INSERT_ROWS_PER_SECOND="1000")
    first = (await stage.get("/insert/1000", 202))["id"]
    assert (await stage.ended(first))["state"] == "succeeded"
    slow = (await stage.get("/insert/3000", 202))["id"]

    async def has_rows() -> bool:
        progress: Any = (await stage.producer.job(slow))["progress"]
        return bool(progress and progress["done"])

    await eventually_true(has_rows, "its transaction has rows")
    assert await stage.get("/delete_all") == {"deleted": 1_000}
    assert (await stage.ended(slow)) == {"id": slow, "state": "succeeded", "rows": 3_000}
    assert await stage.get("/get_data/count") == {"count": 3_000}


async def test_an_insert_that_waits_is_stopped_and_one_that_is_not_over_in_time_goes_on(stage: Stage) -> None:
    id = (await stage.get("/insert/1000", 202))["id"]  # noqa: A001
    stopped = await stage.get(f"/stop/{id}", 202)
    assert (stopped["id"], stopped["rows"]) == (id, 0)
    stage.consume()
    assert await stage.ended(id) == {"id": id, "state": "cancelled", "rows": 0}
    assert await stage.get(f"/stop/{id}", 202) == {"id": id, "state": "cancelled", "rows": 0}
    assert await stage.get("/get_data/count") == {"count": 0}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("stops", "rows", "rate", "kills"),
    [
        pytest.param(15, 100_000, "50000", False, id="of many rows"),
        pytest.param(36, 2_000, "1000", False, id="of few rows"),
        pytest.param(30, 2_000, "1000", True, id="of few rows while consumers are killed"),
    ],
)
async def test_a_stop_leaves_all_rows_or_none_and_the_status_says_which(
    stage: Stage, stops: int, rows: int, rate: str, kills: bool
) -> None:
    for _ in range(2):
        stage.consume(BULK_INSERT_ROWS_PER_SECOND=rate)
    drawn = random.Random(16)

    async def kill() -> None:
        process = stage.consumers.pop(drawn.randrange(2))
        process.kill()
        await asyncio.to_thread(process.wait)
        stage.consume(BULK_INSERT_ROWS_PER_SECOND=rate)

    found = await stop_inserts(
        Asker(stage.front),
        Asker(stage.producer.http),
        stops=stops,
        rows=rows,
        at_once=8,
        seed=16,
        kill=kill if kills else None,
        kill_every=5,
        share=1 / 3,
    )
    assert found.wrong == []
    assert set(found.states) <= {"succeeded", "cancelled"}
    assert found.met * 3 >= found.stops, (found.met, found.states, found.took)


@pytest.mark.timeout(180)
async def test_inserts_go_on_by_themselves_when_the_database_was_restarted(stage: Stage, own: Server) -> None:
    stage.consume(BULK_INSERT_ROWS_PER_SECOND="5000")
    ids = [(await stage.get("/insert/5000", 202))["id"] for _ in range(20)]
    assert (await stage.ended(ids[0]))["state"] == "succeeded"
    await asyncio.to_thread(own.kill)
    away = await stage.front.get("/get_data/count")
    assert (away.status_code, away.headers["retry-after"]) == (503, "2")
    gone = await stage.front.get("/delete_all")
    assert (gone.status_code, "Nothing was deleted" in gone.text) == (503, True)
    await asyncio.to_thread(own.start)

    async def answers() -> bool:
        return (await stage.front.get("/get_data/count")).is_success

    await eventually_true(answers, "the front has its database again")
    assert [await stage.ended(id) for id in ids] == [{"id": id, "state": "succeeded", "rows": 5_000} for id in ids]  # noqa: A001
    assert await stage.get("/get_data/count") == {"count": 100_000}
