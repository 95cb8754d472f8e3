"""A check of url_check that is cancelled: what came in stays, nothing runs on forgotten, wherever its front was killed."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
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
from examples.url_check.store import Claimed, Store
from leveret.client import AsyncClient, NewJob, Patience
from leveret.client.outbox import Relay
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
    app = create_app(lambda: Store(kept), lambda: client, QUEUE, partial(Relay, url=str(leveret_url), token=TOKEN))
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


async def test_jobs_that_a_killed_relay_sent_and_did_not_note_are_cancelled(
    leveret: Producer, broker: Broker, kept: str, store: Store, start: Start
) -> None:
    base, id = targets(start), uuid4()  # noqa: A001
    await store.add(id, [f"{base}/ok?i={i}" for i in range(50)])
    await sent(kept, str(leveret.http.base_url))
    async with front(kept, "http://127.0.0.1:1") as http:  # Leveret is away
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


async def sent(kept: str, url: str) -> None:
    """Send all that is in the outbox, and die before it is noted."""
    connection = await asyncpg.connect(kept)
    rows = await connection.fetch("UPDATE leveret_outbox SET tries = 1 RETURNING id, payload")
    async with AsyncClient(url, TOKEN) as client:
        await client.submit_many(QUEUE, [NewJob("check-url", json.loads(text), id=id) for id, text in rows])  # noqa: A001
    await connection.close()


@pytest.mark.parametrize("tries", [0, 1], ids=["no relay had it", "a relay may have sent it"])
async def test_nothing_is_submitted_for_a_check_that_is_cancelled_before_its_jobs_were_sent(
    kept: str, store: Store, tries: int
) -> None:
    """Of what a relay may be sending just then Leveret is asked until that is sure, and what has come is cancelled."""
    id = uuid4()  # noqa: A001
    await store.add(id, ["http://a/", "http://b/", "http://c/"])
    connection = await asyncpg.connect(kept)
    assert await store.claim() is None, "its jobs are not sent yet"
    await connection.execute("UPDATE leveret_outbox SET tries = $1 WHERE payload NOT LIKE '%//c/%'", tries)
    came = await connection.fetchval("SELECT id FROM leveret_outbox WHERE payload LIKE '%//a/%'")
    assert await store.cancel(id)
    assert await connection.fetch("SELECT FROM leveret_outbox") == []
    api = Api()

    async def carry_on() -> int:
        """Return how many URLs have a result then."""
        await released(kept)
        async with AsyncClient("http://api", "t", transport=httpx.MockTransport(api)) as client:
            taken = await store.claim()
            assert taken
            await Collector(store, client, QUEUE).carry_on(taken)
        return len((await store.results(id) or (0, None, []))[2])

    if tries:
        assert await carry_on() == 1, "of the one that no relay had"
        assert api.asked == ["get"]
        api.jobs = {str(came)}
        assert await carry_on() == 1, "the other may be under way still"
        assert api.asked == ["get", "get", "cancel"]
        await connection.execute("UPDATE checks SET cancelled_at = now() - interval '1 minute'")
        assert await carry_on() == 2
        api.state = "cancelled"
    assert await carry_on() == 3
    assert await store.claim() is None
    assert api.asked == ["get", "get", "cancel", "get", "cancel", "get"] * tries
    check, rows = await store.view(id, 1) or (None, [])
    assert check
    assert (check["finished_at"] is None, check["cancelled_at"] is None) == (False, False)
    assert [json.loads(row["result"])["error"] for row in rows] == [NEVER] * 3
    await connection.close()


async def test_what_an_older_front_left_has_jobs_and_says_what_it_waits_for(kept: str, store: Store) -> None:
    id = uuid4()  # noqa: A001
    await store.ping()
    connection = await asyncpg.connect(kept)
    await connection.execute("INSERT INTO checks (id, total) VALUES ($1, 2)", id)
    await connection.execute("INSERT INTO urls VALUES ($1, 1, 'http://a/'), ($1, 2, 'http://b/')", id)
    for _ in range(2):
        assert await store.claim() is None
    rows = await connection.fetch("SELECT url, payload FROM urls JOIN leveret_outbox ON id = job ORDER BY place")
    assert [(url, json.loads(payload)) for url, payload in rows] == [
        (url, {"url": url}) for url in ("http://a/", "http://b/")
    ]
    await connection.execute("UPDATE leveret_outbox SET error = 'no answer', refused = payload LIKE '%//b/%'")
    assert ((await store.view(id, 1)) or [{}])[0]["trouble"].endswith("lost: no answer")
    await connection.execute("DELETE FROM leveret_outbox WHERE NOT refused")
    assert await store.claim() == Claimed(id), "what is refused holds up no other"
    assert [url for _, url, _ in await store.pending(id)] == ["http://a/"]
    await connection.close()


class Api:
    """Says that all jobs that it knows are in one state, and takes cancels."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.jobs: set[str] = set()
        self.state = "queued"

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path.rpartition("/")[2])
        ids = json.loads(request.content)["ids"]
        if self.asked[-1] == "cancel":
            return httpx.Response(202, json={"total": len(ids), "skipped": 0})
        return httpx.Response(200, json={"jobs": [{"id": one, "state": self.state} for one in ids if one in self.jobs]})


async def released(kept: str) -> None:
    """Let the lease of whoever is dead be over: a test doesn't wait for that."""
    connection = await asyncpg.connect(kept)
    await connection.execute("UPDATE checks SET next_look = now()")
    await connection.close()
