"""The URL checker as a system: fronts with a real PostgreSQL, a real producer, real consumers, and kills between them."""

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from containers import Server, free_port
from processes import Start, pg_variables
from producers import TOKEN, Producer, eventually_true, known, operating, producing, ready

from examples.url_check.collect import Collector
from examples.url_check.store import Claimed, Result, Store
from leveret.client import AsyncClient
from leveret.client.outbox import Relay
from leveret.settings import Broker, Database

QUEUE, REPORTS = "leveret.url-check", "leveret.url-check-reports"
ROOT = Path(__file__).resolve().parents[3]
RETRY = '{"maxAttempts": 2, "backoff": {"initial": "0s", "factor": 2, "max": "0s", "jitter": "none"}}'


@pytest.fixture
async def leveret(broker: Broker, database: Database) -> AsyncIterator[Producer]:
    async with operating(broker, QUEUE, REPORTS), producing(broker, database) as producer:
        await ready(producer)
        await known(producer, QUEUE)
        yield producer


async def front(start: Start, kept: str, leveret_url: str) -> tuple[subprocess.Popen[bytes], httpx.AsyncClient]:
    port = free_port()
    process = start(
        "examples.url_check.front",
        DATABASE_URL=kept, PORT=str(port), LEVERET_URL=leveret_url, LEVERET_TOKEN=TOKEN,
    )  # fmt: skip
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)

    async def answers() -> bool:
        assert process.poll() is None
        try:
            return (await client.get("/readyz")).is_success
        except httpx.TransportError:
            return False

    await eventually_true(answers, "the front answers")
    return process, client


async def finished(client: httpx.AsyncClient, id: str) -> dict[str, Any]:
    async def all_done() -> bool:
        check = (await client.get(f"/checks/{id}")).json()
        return bool(check["done"] == check["total"])

    await eventually_true(all_done, "the check has ended", 120)
    found: dict[str, Any] = (await client.get(f"/checks/{id}")).json()
    return found


async def test_a_check_survives_the_kill_of_its_front_and_each_url_has_one_result(
    leveret: Producer, broker: Broker, kept: str, start: Start
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    start("examples.url_check.targets", "--host", "127.0.0.1", "--port", str(port))
    common = {"LEVERET_BROKER_URL": broker.url(), "LEVERET_RETRY": RETRY, "URL_CHECK_ALLOWED_HOSTS": "127.0.0.1"}
    start("leveret_consumer", LEVERET_QUEUE=QUEUE, LEVERET_HANDLERS="examples.url_check.handlers:handlers",
          LEVERET_PROBE_PORT=str(free_port()), **common)  # fmt: skip
    reporter = free_port()
    start("leveret_consumer", LEVERET_QUEUE=REPORTS, LEVERET_HANDLERS="examples.url_check.reports:handlers",
          LEVERET_SOURCE_QUEUE=f"{QUEUE}.dead", LEVERET_PROBE_PORT=str(reporter), **pg_variables(kept), **common)  # fmt: skip

    fine = [f"{base}/ok?i={i}" for i in range(40)] + [f"HTTP{base[4:]}/status/404", "http://10.0.0.1"]
    dead = [f"{base}/status/503", "http://127.0.0.1:1/"]
    doomed, first = await front(start, kept, "http://127.0.0.1:1")  # its submits get nowhere
    answer = await first.post("/checks", json={"urls": [*fine, *dead, *fine[:10]]})
    assert answer.status_code == 202
    id = answer.json()["id"]  # noqa: A001
    assert answer.headers["location"] == f"/checks/{id}"
    assert (await first.get(f"/checks/{id}")).json() == {"total": 44, "done": 0, "cancelled_at": None, "results": []}
    doomed.send_signal(signal.SIGKILL)
    await first.aclose()
    # The kill leaves a lease; a test doesn't wait for its end.
    await released(kept)

    (_, one), (_, other) = await asyncio.gather(*(front(start, kept, str(leveret.http.base_url)) for _ in range(2)))
    check = await finished(one, id)
    assert (check["total"], check["done"]) == (44, 44)
    results = {result["url"]: result for result in check["results"]}
    assert [result["url"] for result in check["results"]] == [*fine, *dead], "as sent, in their order, each once"
    assert all(results[url]["status"] == 200 for url in fine[:40])
    assert results[fine[40]]["status"] == 404
    assert results["http://10.0.0.1"]["error"].startswith("refused by policy")
    assert "503" in results[dead[0]]["error"]
    assert (await other.get(f"/checks/{id}")).json() == check
    async with httpx.AsyncClient(trust_env=False) as client:
        seen = (await client.get(f"{base}/seen")).json()
    assert {seen[f"/ok?i={i}"] for i in range(40)} == {1}, "nothing was submitted twice"

    async def reported() -> bool:
        return len((await one.get("/reports")).json()["reports"]) == 2

    await eventually_true(reported, "the failing sites are reported")
    reports = {report["url"]: report for report in (await one.get("/reports")).json()["reports"]}
    assert set(reports) == set(dead)
    assert reports[dead[0]]["times"] == 1
    assert "503" in reports[dead[0]]["reason"]
    assert re.match(r"20\d\d-\d\d-\d\dT.*(Z|\+00:00)$", reports[dead[0]]["last"])

    page = await one.get(f"/checks/{id}", headers={"accept": "text/html"})
    assert "Finished." in page.text
    assert page.text.index(dead[0]) < page.text.index("/ok?i=0")
    form = await one.post("/checks", data={"urls": f"{base}/ok?form"}, headers={"accept": "text/html"})
    assert (form.status_code, form.headers["location"][:8]) == (303, "/checks/")
    await asyncio.gather(one.aclose(), other.aclose())


class Counting(httpx.AsyncHTTPTransport):
    requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return await super().handle_async_request(request)


async def test_a_look_at_a_check_of_10_000_is_10_requests_and_a_view_of_it_takes_a_moment(
    leveret: Producer, kept: str, start: Start
) -> None:
    """No consumer runs: a look is at all of them."""
    urls, id = [f"http://example.com/{i}?{'x' * 100}" for i in range(10_000)], uuid4()  # noqa: A001
    store, transport = Store(kept), Counting()
    async with AsyncClient(str(leveret.http.base_url), TOKEN, transport=transport) as jobs:
        collector = Collector(store, jobs, QUEUE)
        await store.add(id, urls)
        assert await store.claim() is None, "its jobs are not sent yet"

        async def is_sent() -> bool:
            taken.append(await store.claim())
            return taken[-1] is not None

        taken: list[Claimed | None] = []
        async with Relay(store, str(leveret.http.base_url), TOKEN):
            await eventually_true(is_sent, "all are sent")
        await collector.carry_on(Claimed(id))
        assert transport.requests == 10
        assert [job for _, _, job in await store.pending(id) if job is None] == []
    assert len({job for _, _, job in await store.pending(id)}) == 10_000
    await store.keep(
        id, [Result(n, json.dumps({"url": urls[n - 1], "error": "no"}), n % 2 == 0) for n in range(1, 9_001)]
    )
    _, client = await front(start, kept, "http://127.0.0.1:1")
    check = (await client.get(f"/checks/{id}")).json()
    assert (check["total"], check["done"], len(check["results"])) == (10_000, 9_000, 9_000)
    took = []
    for page in (1, 2, 50, 100) * 3:
        began = perf_counter()
        answer = await client.get(f"/checks/{id}?page={page}", headers={"accept": "text/html"})
        took.append(perf_counter() - began)
        assert answer.status_code == 200
        assert len(answer.content) < 300 * 1024
    assert min(took) < 0.1, "the best: others may use this machine, too"
    await client.aclose()
    await store.close()


async def test_without_its_database_it_says_so_and_goes_on_when_it_is_back(
    postgres: Server, kept: str, start: Start
) -> None:
    _, client = await front(start, kept, "http://127.0.0.1:1")
    id = (await client.post("/checks", json={"urls": ["http://a/"]})).json()["id"]  # noqa: A001
    postgres.kill()
    try:
        for method, path in (("POST", "/checks"), ("GET", f"/checks/{id}"), ("GET", "/reports")):
            answer = await client.request(method, path, json={"urls": ["http://a/"]})
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text
            assert "stored" in answer.json()["detail"]
    finally:
        postgres.start()

    async def back() -> bool:
        return (await client.get(f"/checks/{id}")).status_code == 200

    await eventually_true(back, "it goes on")
    await client.aclose()


async def released(kept: str) -> None:
    connection = await asyncpg.connect(kept)
    await connection.execute("UPDATE checks SET next_look = now()")
    await connection.close()
