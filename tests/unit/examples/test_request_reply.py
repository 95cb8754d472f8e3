"""The front of request_reply: what it takes, what it refuses, and how it says that a call had no answer."""

import ast
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from examples.request_reply.front import LARGEST_BODY, LARGEST_JSON, LONGEST, create_app, without_answer
from examples.request_reply.handlers import Asked, ask
from leveret import Context
from leveret.client.rpc import (
    CallError,
    Cancelled,
    Closed,
    ConnectionConfig,
    Dead,
    DeadlineExceeded,
    Disconnected,
    Published,
    QueueGone,
    Refused,
    UnreadableReply,
)

ROOT = Path(__file__).resolve().parents[3]
NOWHERE = ConnectionConfig(host="127.0.0.1", port=1)
JSON = {"content-type": "application/json"}
GOOD = {"message": "hello", "style": "direct"}


@pytest.fixture
def app() -> FastAPI:
    """The front beside a broker that is not there."""
    return create_app(lambda: NOWHERE, "leveret.request-reply", "pod-1", room=LARGEST_BODY + 100)


@pytest.fixture
async def front(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front") as client,
    ):
        yield client


def of(**fields: object) -> bytes:
    return json.dumps(GOOD | fields).encode()


async def in_parts(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


def told(answer: httpx.Response, slug: str) -> None:
    said = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert said["type"].endswith(f"/{slug}")
    assert said["status"] == answer.status_code
    assert said["title"]
    assert len(said["detail"]) < 500


FIELDS = [
    pytest.param(of(message=None), "/message", id="no message"),
    pytest.param(of(message=7), "/message", id="a number"),
    pytest.param(of(message=["a"]), "/message", id="a list"),
    pytest.param(of(message="x" * (LONGEST + 1)), "/message", id="a byte too long"),
    pytest.param(of(message="ä" * (LONGEST // 2 + 1)), "/message", id="too long in bytes alone"),
    pytest.param(of(message="\0" * LONGEST), "/message", id="too long as JSON alone"),
    pytest.param(b'{"style": "direct"}', "/message", id="message left out"),
    pytest.param(b'{"message": "a"}', "/style", id="style left out"),
    pytest.param(of(style=""), "/style", id="empty style"),
    pytest.param(of(style="DIRECT"), "/style", id="capitals"),
    pytest.param(of(style=["direct"]), "/style", id="a list of styles"),
    pytest.param(of(style=None), "/style", id="null style"),
    pytest.param(of(other=1), "/other", id="an unknown field"),
    pytest.param(of(**{"x" * 1000: 1}), "/" + "x" * 99, id="an unknown field with a long name"),
    pytest.param(b"[]", "", id="a list of nothing"),
    pytest.param(b"null", "", id="null"),
    pytest.param(b'"hello"', "", id="a text"),
]


@pytest.mark.parametrize(("body", "pointer"), FIELDS)
async def test_a_field_that_cannot_be_used_is_named(front: httpx.AsyncClient, body: bytes, pointer: str) -> None:
    answer = await front.post("/ask", content=body, headers=JSON)
    assert answer.status_code == 422
    told(answer, "invalid-request")
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


BODIES = [
    pytest.param(b"", JSON, 400, "invalid-json", id="no body"),
    pytest.param(b"{", JSON, 400, "invalid-json", id="half a body"),
    pytest.param(of()[:-1] + b',"x":NaN', JSON, 400, "invalid-json", id="what JSON has not"),
    pytest.param(b'{"message": "\xff", "style": "direct"}', JSON, 400, "invalid-json", id="no UTF-8"),
    pytest.param(b'{"message": "\\ud800", "style": "direct"}', JSON, 400, "invalid-json", id="half a surrogate pair"),
    pytest.param(b'{"\\ud800": 1}', JSON, 400, "invalid-json", id="half a surrogate pair as a name"),
    pytest.param(b"[" * 100_000, JSON, 400, "invalid-json", id="very deep"),
    pytest.param(of(message="x" * LARGEST_BODY), JSON, 413, "too-large", id="large"),
    pytest.param(of(), {}, 415, "unsupported-media-type", id="no content type"),
    pytest.param(of(), {"content-type": "text/plain"}, 415, "unsupported-media-type", id="text"),
    pytest.param(of(), {"content-type": "application/jsonp"}, 415, "unsupported-media-type", id="nearly JSON"),
]


@pytest.mark.parametrize(("body", "headers", "status", "slug"), BODIES)
@pytest.mark.parametrize("chunked", [False, True], ids=["at once", "in parts"])
async def test_a_body_that_cannot_be_read(
    front: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int, slug: str, chunked: bool
) -> None:
    answer = await front.post("/ask", content=in_parts(body) if chunked else body, headers=headers)
    assert answer.status_code == status
    told(answer, slug)


TAKEN = [
    pytest.param(of(), id="a word"),
    pytest.param(of(message=""), id="nothing"),
    pytest.param(of(message="x" * LONGEST), id="as long as it may be"),
    pytest.param(json.dumps({"message": "é" * (LONGEST // 2), "style": "fixed"}).encode(), id="all of it escaped"),
    pytest.param(of(message="\0" * ((LARGEST_JSON - 2) // 6)), id="as long as it may be as JSON"),
]


@pytest.mark.parametrize("body", TAKEN)
async def test_without_a_broker_what_could_be_sent_may_be_asked_again(front: httpx.AsyncClient, body: bytes) -> None:
    for _ in range(3):  # each would leave no room for the next if it were still held
        answer = await front.post(
            "/ask", content=in_parts(body), headers=JSON | {"content-type": "Application/JSON;x=y"}
        )
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        told(answer, "disconnected")
        assert answer.json()["published"] == "no"


async def test_bodies_that_no_room_is_left_for(front: httpx.AsyncClient, app: FastAPI) -> None:
    small = httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(lambda: NOWHERE, "q", "p", room=10)), base_url="http://front"
    )
    async with small:
        answer = await small.post("/ask", content=of(), headers=JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    told(answer, "overloaded")


async def test_paths_beside_it(front: httpx.AsyncClient) -> None:
    assert (await front.get("/healthz")).text == "ok\n"
    told(await front.get("/readyz"), "starting")
    told(await front.get("/nowhere"), "not-found")
    refused = await front.get("/ask")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    told(refused, "method-not-allowed")
    assert (await front.get("/")).headers["location"] == "/docs"
    for place in ("", "/swagger-ui-bundle.js", "/swagger-ui.css", "/favicon-32x32.png"):
        assert (await front.get(f"/docs{place}")).status_code == 200
    (post,) = (await front.get("/openapi.json")).json()["paths"]["/ask"].values()
    assert set(post["responses"]) == {"200", "400", "408", "413", "415", "422", "502", "503", "504"}
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["style"]["enum"] == ["direct", "exclusive", "fixed"]


async def test_a_new_front_serves_without_a_broker_once_its_time_is_over(
    front: httpx.AsyncClient, app: FastAPI
) -> None:
    app.state.began -= 60
    assert (await front.get("/readyz")).json() == {"connected": []}


JOB = UUID(int=7)
ENDS = [
    pytest.param(Dead("x", Published.CONFIRMED, JOB, {"reason": "Rejected"}), True, 502, "dead", id="dead"),
    pytest.param(QueueGone("x", Published.CONFIRMED, JOB), True, 502, "dead", id="queue gone"),
    pytest.param(Cancelled("x", Published.CONFIRMED, JOB), True, 502, "cancelled", id="cancelled"),
    pytest.param(UnreadableReply("x", Published.CONFIRMED, JOB), True, 502, "dead", id="unreadable"),
    pytest.param(DeadlineExceeded("x", Published.CONFIRMED, JOB), True, 504, "deadline-exceeded", id="late"),
    pytest.param(DeadlineExceeded("x", Published.NO, JOB), True, 503, "disconnected", id="late, and never sent"),
    pytest.param(DeadlineExceeded("x", Published.CONFIRMED, JOB), False, 503, "disconnected", id="broker away"),
    pytest.param(Disconnected("x", Published.UNKNOWN, JOB), True, 503, "disconnected", id="disconnected"),
    pytest.param(Refused("x"), True, 503, "disconnected", id="refused"),
    pytest.param(Closed("x"), False, 503, "disconnected", id="stopping"),
]


@pytest.mark.parametrize(("error", "connected", "status", "slug"), ENDS)
def test_how_a_call_without_an_answer_is_told(error: CallError, connected: bool, status: int, slug: str) -> None:
    problem = without_answer(error, connected=connected)
    assert (problem.status, problem.slug) == (status, slug)
    assert problem.more["published"] == error.published
    assert problem.more["job"] == (str(JOB) if error.job else None)


async def test_the_handler_answers() -> None:
    assert await ask(Context(), Asked(message="hello")) == "Consumer processed hello"


def test_it_is_small_and_imports_nothing_from_the_insides() -> None:
    imported, lines = set(), 0
    for path in (ROOT / "examples/request_reply").glob("*.py"):
        lines += len(path.read_text().splitlines())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module}:{one.name}" for one in node.names}
            elif isinstance(node, ast.Import):
                imported |= {one.name for one in node.names}
    ours = {name for name in imported if name.startswith("leveret")}
    assert ours == {"leveret:Context", "leveret:Handlers", "leveret.client:rpc"}
    assert lines <= 300
