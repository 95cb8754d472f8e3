"""The front of url_check without its database: what it refuses, how it says so, what it keeps of a job, and its pages."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
from containers import free_port
from fastapi import Request

from examples.url_check.collect import LONGEST_REDIRECTS, result_of
from examples.url_check.front import LARGEST_BODY, MOST_URLS, create_app, parse
from examples.url_check.page import render, wants_page
from examples.url_check.store import PAGE_ROWS, Store
from leveret.client import AsyncClient, JobResult, State
from leveret.client.outbox import Relay
from leveret.client.values import JobError

JSON, FORM, HTML = "application/json", "application/x-www-form-urlencoded", "text/html,*/*;q=0.8"


@pytest.fixture
async def front() -> AsyncIterator[httpx.AsyncClient]:
    """A front whose database and whose Leveret are away."""
    nobody = free_port()
    app = create_app(
        lambda: Store(f"postgresql://nobody@127.0.0.1:{nobody}/none"),
        lambda: AsyncClient(f"http://127.0.0.1:{nobody}", "token"),
        "leveret.url-check",
        partial(Relay, url=f"http://127.0.0.1:{nobody}", token="token"),
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front") as client,
    ):
        yield client


def listed(*urls: object) -> bytes:
    return json.dumps({"urls": urls}).encode()


@pytest.mark.parametrize(
    ("body", "status", "slug", "said"),
    [
        pytest.param(b"", 400, "invalid-json", "EOF", id="no body"),
        pytest.param(b"{", 400, "invalid-json", "EOF", id="half a body"),
        pytest.param(b"\xff\xfe", 400, "invalid-json", "can't be read", id="no text"),
        pytest.param(b'{"urls":["http://a/\\ud800"]}', 400, "invalid-json", "hex escape", id="half a letter"),
        pytest.param(b"[" * 100_000, 400, "invalid-json", "recursion", id="a deep one"),
        pytest.param(b"[]", 422, "invalid-request", "", id="a list"),
        pytest.param(b"null", 422, "invalid-request", "", id="null"),
        pytest.param(b"{}", 422, "invalid-request", "/urls", id="no urls"),
        pytest.param(b'{"urls":null}', 422, "invalid-request", "/urls", id="urls are null"),
        pytest.param(b'{"urls":"http://a/"}', 422, "invalid-request", "/urls", id="urls are a text"),
        pytest.param(listed(), 422, "invalid-request", "/urls", id="none"),
        pytest.param(listed(*["http://a/"] * (MOST_URLS + 1)), 422, "invalid-request", "/urls", id="too many"),
        pytest.param(listed("http://a/", 1), 422, "invalid-request", "/urls/1", id="a number"),
        pytest.param(listed(None), 422, "invalid-request", "/urls/0", id="a null"),
        pytest.param(listed(["http://a/"]), 422, "invalid-request", "/urls/0", id="a list in it"),
        pytest.param(listed(""), 422, "invalid-request", "/urls/0", id="an empty one"),
        pytest.param(listed("example.com"), 422, "invalid-request", "/urls/0", id="no scheme"),
        pytest.param(listed("ftp://example.com/"), 422, "invalid-request", "/urls/0", id="another scheme"),
        pytest.param(listed("javascript:alert(1)"), 422, "invalid-request", "/urls/0", id="a script"),
        pytest.param(listed("http://"), 422, "invalid-request", "/urls/0", id="no host"),
        pytest.param(listed("http://a:99999/"), 422, "invalid-request", "/urls/0", id="no such port"),
        pytest.param(listed(" http://a/"), 422, "invalid-request", "/urls/0", id="a space before"),
        pytest.param(listed("http://a/\u0000"), 422, "invalid-request", "/urls/0", id="a NUL"),
        pytest.param(listed("http://a/\n"), 422, "invalid-request", "/urls/0", id="a line end"),
        pytest.param(listed("http://a/" + "x" * 2083), 422, "invalid-request", "/urls/0", id="a long one"),
        pytest.param(b'{"urls":["http://a/"],"more":1}', 422, "invalid-request", "/more", id="another field"),
        pytest.param(b" " * (LARGEST_BODY + 1), 413, "too-large", "8,388,608 bytes", id="a large body"),
    ],
)  # fmt: skip
async def test_bad_input_is_a_clear_problem(
    front: httpx.AsyncClient, body: bytes, status: int, slug: str, said: str
) -> None:
    answer = await front.post("/checks", content=body, headers={"content-type": JSON})
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert problem["type"] == f"https://leveret.dev/problems/{slug}"
    assert said in answer.text
    assert "Nothing was stored" in problem["detail"]
    assert "pydantic" not in answer.text
    assert len(answer.content) < 4_096


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/checks", {"content-type": "text/plain"}, 415),
        ("POST", "/checks", {}, 415),
        ("GET", "/checks", {}, 405),
        ("GET", "/checks/1", {}, 422),
        ("GET", f"/checks/{UUID(int=7)}?page=0", {}, 422),
        ("GET", f"/checks/{UUID(int=7)}?page=x", {}, 422),
        ("GET", f"/checks/{UUID(int=7)}?page={10**30}", {}, 422),
        ("DELETE", f"/checks/{UUID(int=7)}", {}, 405),
        ("GET", f"/checks/{UUID(int=7)}/cancel", {}, 405),
        ("POST", "/checks/1/cancel", {}, 422),
        ("GET", "/nothing", {}, 404),
        ("GET", "/static/../front.py", {}, 404),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", HTML], ids=["as JSON", "as a page"])
async def test_so_are_bad_addresses(
    front: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int, accept: str
) -> None:
    answer = await front.request(method, path, headers={**headers, "accept": accept})
    wanted = "text/html; charset=utf-8" if accept == HTML else "application/problem+json"
    assert (answer.status_code, answer.headers["content-type"]) == (status, wanted)


@pytest.mark.parametrize("accept", ["*/*", HTML], ids=["as JSON", "as a page"])
@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/checks", "Nothing was stored"),
        ("POST", f"/checks/{UUID(int=7)}/cancel", "Nothing was stored"),
        ("GET", f"/checks/{UUID(int=7)}", "is kept"),
        ("GET", "/reports", "is kept"),
        ("GET", "/readyz", "is kept"),
    ],
)
async def test_without_the_database_it_says_when_to_come_again_and_what_is_stored(
    front: httpx.AsyncClient, method: str, path: str, said: str, accept: str
) -> None:
    answer = await front.request(
        method, path, content=listed("http://a/"), headers={"content-type": JSON, "accept": accept}
    )
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert said in answer.text


async def test_what_needs_no_database_is_there_and_the_documentation_too(front: httpx.AsyncClient) -> None:
    for path in ("/", "/healthz", "/docs", "/openapi.json", "/static/page.css", "/static/page.js"):
        assert (await front.get(path)).status_code == 200, path
    assert list((await front.get("/openapi.json")).json()["paths"]) == [
        "/checks",
        "/checks/{id}/cancel",
        "/checks/{id}",
        "/reports",
    ]


def test_a_list_is_taken_as_it_was_sent_each_once() -> None:
    sent = ["HTTP://Example.com", "http://example.com/", "HTTP://Example.com", "http://ex.com/ä?q=%00"]
    assert parse(listed(*sent), form=False) == [sent[0], sent[1], sent[3]]


def test_a_form_has_one_a_line() -> None:
    assert parse(b"urls=http%3A%2F%2Fa%2F%0D%0A%0D%0A+http%3A%2F%2Fb%2F", form=True) == ["http://a/", "http://b/"]


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("", False), ("*/*", False), (JSON, False), ("text/html", True), (HTML, True), ("TEXT/HTML;q=0.5", True),
        ("text/html;q=0.5, application/json", False), ("application/json;q=0.5,text/html", True), ("text/html;q=x", False),
    ],
)  # fmt: skip
def test_a_page_is_for_those_who_ask_for_one(accept: str, page: bool) -> None:
    assert wants_page(Request({"type": "http", "headers": [(b"accept", accept.encode())]})) is page


REPORT = {"url": "x", "status": 200, "latency_seconds": 0.1, "redirects": ["http://a/1"], "error": None}


@pytest.mark.parametrize(
    ("job", "failed", "kept"),
    [
        pytest.param(("succeeded", REPORT, None), False, {**REPORT, "url": "http://A"}, id="fine"),
        pytest.param(("succeeded", {**REPORT, "status": 404}, None), True, {"status": 404, "error": None}, id="404"),
        pytest.param(("succeeded", {**REPORT, "status": None, "error": "refused by policy: \0"}, None), True,
                     {"status": None, "error": "refused by policy: \0"}, id="refused"),
        pytest.param(("succeeded", {**REPORT, "redirects": ["x" * LONGEST_REDIRECTS] * 2}, None), True,
                     {"redirects": [], "error": "answered; its redirects are too long to be kept"}, id="endless redirects"),
        pytest.param(("succeeded", "text", None), True, {"error": "its job ended without a report"}, id="another result"),
        pytest.param(("dead", None, JobError("AttemptsExhausted", "CheckFailed", "x answered 503")), True,
                     {"status": None, "latency_seconds": None, "redirects": [], "error": "x answered 503"}, id="dead"),
        pytest.param(("dead", None, JobError("DeliveryLimit")), True, {"error": "DeliveryLimit"}, id="dead without words"),
        pytest.param(("cancelled", None, None), True, {"error": "cancelled before it was checked"}, id="cancelled"),
        pytest.param(None, True, {"error": "its job was removed from Leveret before its result was kept"}, id="lost"),
    ],
)  # fmt: skip
def test_what_is_kept_of_a_job(
    job: tuple[str, object, JobError | None] | None, failed: bool, kept: dict[str, object]
) -> None:
    ended = job and JobResult(UUID(int=7), State(job[0]), job[1], job[2])
    result = result_of(7, "http://A", ended)
    assert result is not None
    assert (result.place, result.failed) == (7, failed)
    found = json.loads(result.text)
    assert {name: found[name] for name in kept} == kept
    assert list(found) == list(REPORT)
    assert "\0" not in result.text, "PostgreSQL can't hold it"


@pytest.mark.parametrize("state", [state for state in State if state not in ("succeeded", "dead", "cancelled")])
def test_nothing_is_kept_of_one_that_goes_on(state: State) -> None:
    assert result_of(1, "http://a/", JobResult(UUID(int=7), state)) is None


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("check", "says", "button"),
    [
        pytest.param({}, "Running.", True, id="open"),
        pytest.param({"trouble": "Its jobs wait"}, "Its jobs wait", True, id="open, in trouble"),
        pytest.param({"cancelled_at": NOW}, "Being cancelled.", False, id="being cancelled"),
        pytest.param({"cancelled_at": NOW, "trouble": "Its cancel waits"}, "Its cancel waits", False, id="and in trouble"),
        pytest.param({"cancelled_at": NOW, "finished_at": NOW}, "Cancelled.", False, id="cancelled"),
        pytest.param({"finished_at": NOW}, "Finished.", False, id="finished"),
    ],
)  # fmt: skip
def test_a_page_has_a_button_while_its_check_can_be_cancelled(check: dict[str, Any], says: str, button: bool) -> None:
    shown = {"total": 2, "done": 0, "failed": 0, "created_at": NOW, "cancelled_at": None, "finished_at": None}
    page = render(200, {}, id=UUID(int=7), check={**shown, "trouble": None, **check}, rows=[], page=1, page_rows=100)
    assert f'role="status">{says}</p>'.encode() in page.body
    assert (f'<form method="post" action="/checks/{UUID(int=7)}/cancel">'.encode() in page.body) is button


def test_the_largest_page_stays_small_and_shows_nothing_as_markup() -> None:
    """A check of 10,000 has PAGE_ROWS rows a page; the longest of each, of letters that HTML writes long."""
    long = "http://a/" + '<"' * 1037
    result = json.dumps({"url": long, "status": 200, "latency_seconds": 1.5, "redirects": [long], "error": '"<' * 250})
    check: dict[str, Any] = {"total": 10_000, "done": 9_999, "failed": 5}
    check |= {"created_at": datetime.now(UTC), "finished_at": None, "trouble": "<b>"}
    rows = [{"url": long, "failed": True, "result": result}] * (PAGE_ROWS - 1) + [
        {"url": long, "failed": None, "result": None}
    ]
    page = render(200, {}, id=UUID(int=7), check=check, rows=rows, page=1, page_rows=PAGE_ROWS).body
    assert len(page) < 300 * 1024
    assert b'"<"<' not in page
    assert b"&lt;b&gt;" in page
