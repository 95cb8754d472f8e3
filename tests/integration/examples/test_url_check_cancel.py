"""A check of url_check that is cancelled: what came in stays, nothing runs on forgotten, wherever its front was killed."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from containers import free_port
from processes import Start
from producers import TOKEN, Producer, eventually_true, known, operating, producing, ready

from examples.url_check.collect import Collector
from examples.url_check.front import create_app
from examples.url_check.store import Store
from leveret.client import AsyncClient, Patience
from leveret.settings import Broker, Database

QUEUE = "leveret.url-check"
NEVER = "cancelled before it was checked"


@pytest.fixture
async def leveret(broker: Broker, database: Database) -> AsyncIterator[Producer]:
    async with operating(broker, QUEUE), producing(broker, database) as producer:
        await ready(producer)
        await known(producer, QUEUE)
        yield producer


@pytest.fixture
async def store(kept: str) -> AsyncIterator[Store]:
    store = Store(kept)
    yield store
    await store.close()


@asynccontextmanager
async def front(kept: str, leveret_url: object) -> AsyncIterator[httpx.AsyncClient]:
    client = AsyncClient(str(leveret_url), TOKEN, patience=Patience(timeout=1))
    app = create_app(lambda: Store(kept), lambda: client, QUEUE)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://a") as http:
        yield http


def consumer(start: Start, broker: Broker) -> None:
    start("leveret_consumer", LEVERET_QUEUE=QUEUE, LEVERET_HANDLERS="examples.url_check.handlers:handlers",
          LEVERET_PROBE_PORT=str(free_port()), LEVERET_BROKER_URL=broker.url(), URL_CHECK_ALLOWED_HOSTS="127.0.0.1")  # fmt: skip


def targets(start: Start) -> str:
    port = free_port()
    start("examples.url_check.targets", "--host", "127.0.0.1", "--port", str(port))
    return f"http://127.0.0.1:{port}"


async def seen(base: str) -> dict[str, int]:
    async with httpx.AsyncClient(trust_env=False) as client:
        found: dict[str, int] = (await client.get(f"{base}/seen")).json()
    return found


async def check_with(http: httpx.AsyncClient, id: object, done: int) -> dict[str, Any]:
    """Return a check once so many of its URLs are done."""
    found: dict[str, Any] = {}

    async def has() -> bool:
        found.update((await http.get(f"/checks/{id}")).json())
        return bool(found["done"] >= done)

    await eventually_true(has, f"{done} are done", 120)
    return found


async def test_what_came_in_stays_and_the_rest_is_interrupted_or_never_starts(
    leveret: Producer, broker: Broker, kept: str, start: Start
) -> None:
    base = targets(start)
    consumer(start, broker)  # it has 10 slots
    async with front(kept, leveret.http.base_url) as http:
        urls = [f"{base}/slow/1?i={i}" for i in range(400)]  # 40 s of work
        id = (await http.post("/checks", json={"urls": urls})).json()["id"]  # noqa: A001
        before = await check_with(http, id, 3)
        answer = await http.post(f"/checks/{id}/cancel")
        assert (answer.status_code, answer.json(), answer.headers["location"]) == (202, {"id": id}, f"/checks/{id}")
        assert (await http.post(f"/checks/{id}/cancel")).status_code == 202, "twice is as good as once"
        check = await check_with(http, id, 400)
        assert all(result in check["results"] for result in before["results"])
        assert {(result["status"], result["error"]) for result in check["results"]} == {(200, None), (None, NEVER)}
        assert datetime.fromisoformat(check["cancelled_at"]).tzinfo
        asked = await seen(base)
        assert set(asked.values()) == {1}, "what was interrupted is not asked again"
        assert len(asked) < 400, "what waited never started"

        page = {"accept": "text/html"}
        assert "Cancelled." in (await http.get(f"/checks/{id}", headers=page)).text
        assert (await http.post(f"/checks/{id}/cancel")).status_code == 202
        other = (await http.post("/checks", json={"urls": [f"{base}/ok"]})).json()["id"]
        await check_with(http, other, 1)
        answer = await http.post(f"/checks/{other}/cancel")
        assert (answer.status_code, answer.json()["type"]) == (409, "https://leveret.dev/problems/check-finished")
        answer = await http.post(f"/checks/{other}/cancel", headers=page)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/checks/{other}")
        assert (await http.get(f"/checks/{other}")).json()["cancelled_at"] is None
        assert (await http.post(f"/checks/{UUID(int=7)}/cancel")).status_code == 404


class Killed(Exception):
    pass


class KilledAfterSubmit(httpx.AsyncHTTPTransport):
    """Whoever submits is no more when the answer comes."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await super().handle_async_request(request)
        raise Killed


async def test_jobs_that_a_killed_front_submitted_and_did_not_note_are_cancelled(
    leveret: Producer, broker: Broker, kept: str, store: Store, start: Start
) -> None:
    base, id = targets(start), uuid4()  # noqa: A001
    await store.add(id, [f"{base}/ok?i={i}" for i in range(50)])
    async with AsyncClient(str(leveret.http.base_url), TOKEN, transport=KilledAfterSubmit()) as doomed:
        taken = await store.claim()
        assert taken
        with suppress(Killed):
            await Collector(store, doomed, QUEUE).carry_on(taken)
    async with front(kept, "http://127.0.0.1:1") as http:  # Leveret is away, and the dead front's lease is there
        assert (await http.post(f"/checks/{id}/cancel")).status_code == 202
        assert (await http.get(f"/checks/{id}")).json()["done"] == 0
    await released(kept)
    async with front(kept, leveret.http.base_url) as http:

        async def asked_for() -> bool:
            jobs = (await leveret.http.get("/v1/jobs", params={"queue": QUEUE, "limit": 500})).json()["jobs"]
            assert len(jobs) == 50, "it was submitted once"
            shown = [(await leveret.http.get(f"/v1/jobs/{job['id']}")).json() for job in jobs]
            return all(job["cancel_requested_at"] for job in shown)

        await eventually_true(asked_for, "Leveret has the cancel")
        consumer(start, broker)
        check = await check_with(http, id, 50)
    assert {result["error"] for result in check["results"]} == {NEVER}
    assert await seen(base) == {}


async def test_what_is_being_submitted_as_it_is_cancelled_is_cancelled_then(kept: str, store: Store) -> None:
    """By whoever takes it up next; Leveret is told once, and looked at until all has ended."""
    api, id = Api(), uuid4()  # noqa: A001
    await store.add(id, ["http://a/", "http://b/"])
    async with AsyncClient("http://api", "t", transport=httpx.MockTransport(api)) as client:
        collector = Collector(store, client, QUEUE)
        taken = await store.claim()
        assert taken
        assert await store.cancel(id)
        assert await store.claim() is None, "the lease of the one that submits holds"
        for _ in range(3):
            await collector.carry_on(taken)
            await released(kept)
            taken = await store.claim()
            assert taken
        assert api.asked == ["jobs", "get", "cancel", "get", "get"]
        api.state = "cancelled"
        await collector.carry_on(taken)
        assert await store.claim() is None
    check, rows = await store.view(id, 1) or (None, [])
    assert check
    assert (check["finished_at"] is None, check["cancelled_at"] is None) == (False, False)
    assert [json.loads(row["result"])["error"] for row in rows] == [NEVER] * 2


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow")


def killed(request: httpx.Request) -> httpx.Response:
    raise Killed


@pytest.mark.parametrize(
    ("first", "later"),
    [
        pytest.param([], [], id="nobody took it up"),
        pytest.param([refused], [], id="Leveret was away"),
        pytest.param([refused, refused], [], id="twice"),
        pytest.param([lost], ["jobs", "cancel", "get"], id="an answer was lost"),
        pytest.param([killed], ["jobs", "cancel", "get"], id="its front was killed"),
        pytest.param([killed, refused], ["jobs", "cancel", "get"], id="and then Leveret was away"),
    ],
)
async def test_nothing_is_submitted_for_a_cancelled_check_where_surely_nothing_was(
    kept: str, store: Store, first: list[Callable[[httpx.Request], httpx.Response]], later: list[str]
) -> None:
    id = uuid4()  # noqa: A001
    await store.add(id, ["http://a/", "http://b/"])

    async def carry_on(answer: Callable[[httpx.Request], httpx.Response]) -> None:
        patience, transport = Patience(attempts=1), httpx.MockTransport(answer)
        async with AsyncClient("http://api", "t", patience=patience, transport=transport) as client:
            taken = await store.claim()
            assert taken
            with suppress(Killed):
                await Collector(store, client, QUEUE).carry_on(taken)
        await released(kept)

    for answer in first:
        await carry_on(answer)
    assert await store.cancel(id)
    if later:
        await carry_on(refused)
        assert (await store.results(id) or (0, None, ["?"]))[2] == [], "it waits for Leveret"
    api = Api(state="cancelled")
    await carry_on(api)
    assert api.asked == later
    total, at, results = await store.results(id) or (0, None, [])
    assert (total, at is None, [json.loads(one)["error"] for one in results]) == (2, False, [NEVER] * 2)


class Api:
    """Takes jobs and cancels, and says that all jobs are in one state."""

    def __init__(self, state: str = "queued") -> None:
        self.asked: list[str] = []
        self.state = state

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path.rpartition("/")[2])
        body = json.loads(request.content)
        if self.asked[-1] == "cancel":
            return httpx.Response(202, json={"total": len(body["ids"]), "skipped": 0})
        ids = [str(UUID(int=n)) for n in range(len(body))] if self.asked[-1] == "jobs" else body["ids"]
        return httpx.Response(200, json={"jobs": [{"id": one, "state": self.state} for one in ids]})


async def released(kept: str) -> None:
    """Let the lease of whoever is dead be over: a test doesn't wait for that."""
    connection = await asyncpg.connect(kept)
    await connection.execute("UPDATE checks SET next_look = now()")
    await connection.close()
