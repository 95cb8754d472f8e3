"""Service A of tasks without its database: what it refuses, and how it says so."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
from containers import free_port

from examples.tasks.front import LARGEST_BODY, create_app
from examples.tasks.store import Store
from leveret.client import AsyncClient
from leveret.client.outbox import Relay

ONE = f"/tasks/{UUID(int=7)}"
GOOD: dict[str, Any] = {"name": "x", "kind": "cpu", "seconds": 1}


@pytest.fixture
async def front() -> AsyncIterator[httpx.AsyncClient]:
    """A front whose database and whose Leveret are away."""
    nobody = free_port()
    app = create_app(
        lambda: Store(f"postgresql://nobody@127.0.0.1:{nobody}/none"),
        lambda: AsyncClient(f"http://127.0.0.1:{nobody}", "token"),
        partial(Relay, url=f"http://127.0.0.1:{nobody}", token="token"),
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front") as client,
    ):
        yield client


HOSTILE = [
    pytest.param(*one, id=name)
    for name, *one in (
        ("1e400", b"1e400", 422), ("a long number", b"1" * 5_000, 400), ("a deep list", b"[" * 150 + b"]" * 150, 422),
        ("a deeper one", b"[" * 3_000 + b"]" * 3_000, 400), ("an object", b'{"a":{}}', 422), ("half a letter", b'"\\udfff"', 400),
        ("half a letter in UTF-8", b'"\xed\xa0\x80"', 400), ("no UTF-8", b'"\xff"', 400), ("an overlong letter", b'"\xc0\x80"', 400),
        ("a NUL", b'"new\\u0000"', 422), ("nothing", b'""', 422), ("hexadecimal", b"0x10", 400),
    )
]  # fmt: skip
UNREADABLE = [
    pytest.param(b"", 400, "", id="no body"),
    pytest.param(b"{", 400, "EOF", id="half a body"),
    pytest.param(b"\xff\xfe", 400, "can't be read", id="no text"),
    pytest.param(b'{"name":"\\ud800"}', 400, "hex escape", id="half a letter"),
    pytest.param(b"[" * 10_000, 400, "recursion", id="a deep one"),
    pytest.param(b" " * (LARGEST_BODY + 1), 413, "16,384 bytes", id="a large body"),
    pytest.param(b"[]", 422, "", id="a list"),
    pytest.param(b"null", 422, "", id="null"),
    pytest.param(b"{}", 422, "", id="nothing"),
]
BAD_NAMES = [
    pytest.param({"name": ""}, "/name", id="an empty name"),
    pytest.param({"name": "x" * 201}, "/name", id="a long name"),
    pytest.param({"name": "a\0b"}, "no NUL", id="a NUL"),
    pytest.param({"name": 7}, "/name", id="a number for a name"),
    pytest.param({"name": None}, "/name", id="a null for a name"),
    pytest.param({"more": 1}, "/more", id="another field"),
]
BAD_TASKS = [
    *BAD_NAMES,
    pytest.param({"kind": "gpu"}, "/kind", id="another kind"),
    pytest.param({"kind": "CPU"}, "/kind", id="a kind in capitals"),
    pytest.param({"kind": None}, "/kind", id="a null for a kind"),
    pytest.param({"kind": ["cpu"]}, "/kind", id="a list of kinds"),
    pytest.param({"seconds": -0.001}, "/seconds", id="a time before"),
    pytest.param({"seconds": 3600.001}, "/seconds", id="more than an hour"),
    pytest.param({"seconds": "1"}, "/seconds", id="a text for a time"),
    pytest.param({"seconds": True}, "/seconds", id="a truth for a time"),
    pytest.param({"seconds": None}, "/seconds", id="a null for a time"),
    pytest.param({"seconds": float("nan")}, "/seconds", id="NaN"),
    pytest.param({"seconds": float("inf")}, "/seconds", id="infinity"),
    pytest.param({"status": "done"}, "/status", id="a status at once"),
]
BAD_CHANGES = [
    *BAD_NAMES,
    pytest.param({"status": "paused"}, "/status", id="no status"),
    pytest.param({"status": "NEW"}, "/status", id="a status in capitals"),
    pytest.param({"status": None}, "/status", id="a null for a status"),
    pytest.param({"status": 1}, "/status", id="a number for a status"),
    pytest.param({"kind": "cpu"}, "/kind", id="another kind"),
    pytest.param({"seconds": 1}, "/seconds", id="another time"),
    pytest.param({"name": "y", "status": "x"}, "/status", id="one that is right, and one that is wrong"),
]


async def refused(front: httpx.AsyncClient, method: str, body: bytes, status: int, said: str) -> None:
    path = {"POST": "/tasks", "PATCH": ONE}[method]
    answer = await front.request(method, path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert said in answer.text
    assert "Nothing was" in answer.json()["detail"]
    assert "pydantic" not in answer.text
    assert len(answer.content) < 4_096


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(("body", "status", "said"), UNREADABLE)
async def test_a_body_that_can_not_be_used(
    front: httpx.AsyncClient, method: str, body: bytes, status: int, said: str
) -> None:
    await refused(front, method, body, status, said)


@pytest.mark.parametrize(("wrong", "said"), BAD_TASKS)
async def test_a_field_that_can_not_be_used(front: httpx.AsyncClient, wrong: dict[str, Any], said: str) -> None:
    await refused(front, "POST", json.dumps({**GOOD, **wrong}).encode(), 422, said)


@pytest.mark.parametrize("field", [*GOOD, "status", "more"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(("value", "status"), HOSTILE)
async def test_ill_will_in_any_field(
    front: httpx.AsyncClient, value: bytes, status: int, method: str, field: str
) -> None:
    good = {name: json.dumps(text).encode() for name, text in (GOOD.items() if method == "POST" else [])}
    body = b",".join(b'"%s":%s' % (name.encode(), text) for name, text in (good | {field: value}).items())
    await refused(front, method, b"{" + body + b"}", status, f"/{field}" if status == 422 else "can't be read")


@pytest.mark.parametrize("left_out", list(GOOD))
async def test_a_field_that_is_needed(front: httpx.AsyncClient, left_out: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != left_out}
    await refused(front, "POST", json.dumps(body).encode(), 422, f"/{left_out}")


@pytest.mark.parametrize(("wrong", "said"), BAD_CHANGES)
async def test_a_change_that_can_not_be_used(front: httpx.AsyncClient, wrong: dict[str, Any], said: str) -> None:
    await refused(front, "PATCH", json.dumps(wrong).encode(), 422, said)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/tasks", {"content-type": "text/plain"}, 415),
        ("POST", "/tasks", {}, 415),
        ("PATCH", ONE, {}, 415),
        ("PATCH", "/tasks/7", {"content-type": "application/json"}, 422),
        ("GET", "/tasks/7", {}, 422),
        ("GET", "/tasks?status=paused", {}, 422),
        ("GET", "/tasks?status=", {}, 422),
        ("GET", "/tasks?limit=0", {}, 422),
        ("GET", "/tasks?limit=1001", {}, 422),
        ("GET", "/tasks?limit=x", {}, 422),
        ("GET", f"/tasks?limit={10**30}", {}, 422),
        ("GET", "/tasks?limit=1.5", {}, 422),
        ("GET", "/tasks?before=7", {}, 422),
        ("GET", "/tasks?before=%00", {}, 422),
        ("GET", "/tasks?limit=1&limit=x", {}, 422),
        ("GET", "/tasks?limit=x&limit=1", {}, 422),
        ("GET", "/tasks?status=new&status=done", {}, 422),
        ("GET", "/tasks?status=new%00", {}, 422),
        ("GET", "/tasks?status=%ed%a0%80", {}, 422),
        ("GET", f"/tasks?limit={'9' * 5_000}", {}, 422),
        ("GET", "/tasks?limit=1e400", {}, 422),
        ("GET", "/tasks/", {}, 404),
        ("GET", "/tasks/%00", {}, 422),
        ("GET", "/tasks/%ff", {}, 422),
        ("POST", "/tasks", [("content-type", "application/json"), ("content-type", "text/plain")], 415),
        ("GET", "/tasks?after=7", {}, 422),
        ("DELETE", ONE, {}, 405),
        ("PUT", "/tasks", {}, 405),
        ("GET", "/nothing", {}, 404),
    ],
)
async def test_so_are_bad_addresses_and_parameters(
    front: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await front.request(method, path, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("POST", "/tasks", GOOD, "Nothing was stored"),
        ("PATCH", ONE, {"name": "x"}, "Nothing was stored"),
        ("GET", ONE, None, "is kept"),
        ("GET", "/tasks", None, "is kept"),
        ("GET", "/readyz", None, "is kept"),
    ],
)
async def test_without_the_database_it_says_when_to_come_again_and_what_is_stored(
    front: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None, said: str
) -> None:
    answer = await front.request(method, path, json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert said in answer.text


@pytest.mark.parametrize(("path", "methods"), [("/tasks", "GET, POST"), (ONE, "GET, PATCH")])
async def test_a_method_that_is_not_there_is_told_those_that_are(
    front: httpx.AsyncClient, path: str, methods: str
) -> None:
    answer = await front.request("OPTIONS", path)
    assert (answer.status_code, answer.headers.get_list("allow")) == (405, [methods])


async def test_what_needs_no_database_is_there_and_the_documentation_too(front: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/docs", "/openapi.json"):
        assert (await front.get(path)).status_code == 200, path
    described = (await front.get("/openapi.json")).json()
    assert list(described["paths"]) == ["/tasks", "/tasks/{id}"]
    assert '"default": null' not in json.dumps(described)
    assert set(described["components"]["schemas"]) >= {"Status", "Task"}
