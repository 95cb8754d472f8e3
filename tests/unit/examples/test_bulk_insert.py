"""bulk-insert's front without its database and without Leveret: what it refuses, and how it says so."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from containers import free_port

from examples.bulk_insert import front
from examples.bulk_insert.front import create_app
from examples.bulk_insert.store import Store
from examples.fronts.database import Away
from leveret import marks
from leveret.client import AsyncClient, Patience

ONE = UUID(int=7)
Answer = Callable[[httpx.Request], httpx.Response]


def leveret_of(answer: Answer) -> Callable[[], AsyncClient]:
    transport = httpx.MockTransport(answer)
    return lambda: AsyncClient("http://leveret", "token", transport=transport, patience=Patience(attempts=1))


def away(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


async def asked(answer: Answer, *paths: str) -> list[httpx.Response]:
    """Ask a front whose database is away, and whose Leveret answers so."""
    app = create_app(
        lambda: Store(f"postgresql://nobody@127.0.0.1:{free_port()}/none"), leveret_of(answer), "leveret.q"
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front") as client,
    ):
        return [await client.get(path) for path in paths]


BAD = [
    "0",
    "1000001",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "1_000",
    "x",
    "%20",
    "0x10",
    "９",
    "%00",
    "1%0a",
    "9" * 5_000,
    "null",
    "true",
]


@pytest.mark.parametrize("path", ["/insert", "/dpd_insert"])
async def test_no_other_number_of_rows_is_taken(path: str) -> None:
    for answer in await asked(away, *(f"{path}/{n}" for n in BAD)):
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), answer.url
        assert "Nothing was" in answer.json()["detail"]
        assert len(answer.content) < 4_096


@pytest.mark.parametrize("path", ["/insert", "/dpd_insert"])
@pytest.mark.parametrize(("n", "rows"), [("", 100_000), ("/1", 1), ("/007", 7), ("/1000000", 1_000_000)])
async def test_what_is_taken_is_submitted(path: str, n: str, rows: int) -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/jobs/get":
            return httpx.Response(200, json={"jobs": [{"id": str(ONE), "state": "running"}]})
        assert (request.url.path, json.loads(request.content)) == (
            "/v1/queues/leveret.q/jobs", {"type": "insert-rows", "payload": {"rows": rows}},
        )  # fmt: skip
        return httpx.Response(202, json={"id": str(ONE), "state": "accepted"})

    app = create_app(lambda: Store("postgresql://127.0.0.1:1/none"), leveret_of(answers), "leveret.q", wait=0)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front") as client,
    ):
        answer = await client.get(path + n)
    if path == "/insert":
        assert (answer.status_code, answer.json()) == (202, {"id": str(ONE)})
    else:
        assert (answer.status_code, answer.json()["id"]) == (504, str(ONE))
        assert f"It goes on: /status/{ONE}" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/status/7", 422), ("/stop/7", 422), ("/stop/%00", 422), ("/get_data?limit=10001", 422), ("/get_data?limit=-1", 422),
        ("/get_data?limit=", 422), ("/get_data?limit=1.5", 422), ("/get_data?offset=-1", 422), ("/get_data?more=1", 422),
        (f"/get_data?offset={2**63}", 422), ("/get_data?limit=1_0", 422), ("/insert/", 404), ("/insert/1/2", 404), ("/nothing", 404),
    ],
)  # fmt: skip
async def test_so_are_other_addresses_and_parameters(path: str, status: int) -> None:
    (answer,) = await asked(away, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow")


def unknown(request: httpx.Request) -> httpx.Response:
    return httpx.Response(404, json={"type": "https://leveret.dev/problems/unknown-queue", "detail": "No such queue."})


@pytest.mark.parametrize(
    ("answer", "path", "said"),
    [
        pytest.param(away, "/insert", "Nothing was done", id="away"),
        pytest.param(lost, "/insert", "It is not known whether it was done", id="an answer is lost"),
        pytest.param(unknown, "/dpd_insert", "No such queue. Nothing was done", id="no JobQueue"),
        pytest.param(away, f"/status/{ONE}", "does not do it now", id="no status"),
        pytest.param(away, "/get_data", "is kept", id="no rows"),
        pytest.param(away, "/get_data/count", "is kept", id="no count"),
        pytest.param(away, "/delete_all", "Nothing was deleted", id="nothing to delete"),
        pytest.param(away, "/readyz", "is kept", id="not ready yet"),
    ],
)
async def test_who_is_away_is_told_and_what_was_done(answer: Answer, path: str, said: str) -> None:
    (came,) = await asked(answer, path)
    assert (came.status_code, came.headers["retry-after"]) == (503, "2")
    assert said in came.json()["detail"]


async def test_what_needs_nobody_is_there_and_the_blocking_ones_are_called_deprecated() -> None:
    *answers, described = await asked(away, "/", "/healthz", "/docs", "/openapi.json")
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "/insert/{n}" in answers[0].json()["message"]
    paths = described.json()["paths"]
    assert sorted(paths) == [
        "/", "/delete_all", "/dpd_insert", "/dpd_insert/{n}", "/get_data", "/get_data/count", "/insert", "/insert/{n}",
        "/status/{id}", "/stop/{id}",
    ]  # fmt: skip
    assert [path for path, one in sorted(paths.items()) if one["get"].get("deprecated")] == [
        "/dpd_insert",
        "/dpd_insert/{n}",
    ]
    (n,) = paths["/insert/{n}"]["get"]["parameters"]
    assert (n["schema"]["minimum"], n["schema"]["maximum"]) == (1, 1_000_000)


def test_the_tables_have_the_marks_as_this_version_of_leveret_wants_them() -> None:
    schema = (Path(__file__).resolve().parents[3] / "examples/bulk_insert/schema.sql").read_text()
    assert marks.DDL in schema


async def test_tables_are_made_once_the_database_is_there_though_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, made = iter([Away("no"), Away("no")]), asyncio.Event()

    class Late(Store):
        async def ping(self) -> None:
            if raised := next(answers, None):
                raise raised
            made.set()

    monkeypatch.setattr(front, "LOOK_EVERY", 0.01)
    app = create_app(
        lambda: Late("postgresql://127.0.0.1:1/none"), leveret_of(lambda _: httpx.Response(503)), "leveret.q"
    )
    async with app.router.lifespan_context(app), asyncio.timeout(60):
        await made.wait()
