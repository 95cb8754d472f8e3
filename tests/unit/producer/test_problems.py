import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from leveret_producer.catalog import unknown_queue
from leveret_producer.problems import (
    CrashesAreProblems,
    Flaw,
    Refused,
    database_unavailable,
    on_data_refused,
    on_database_unavailable,
)
from leveret_producer.store.postgres import DatabaseUnavailable, DataRefused, TookTooLong, TryAgain


def test_a_problem_document_says_what_and_where() -> None:
    answer = Refused("invalid-request", "no", [Flaw("/0/type", "missing")], {"X-Y": "z"}).response()
    assert (answer.status_code, answer.media_type, answer.headers["x-y"]) == (422, "application/problem+json", "z")
    assert json.loads(bytes(answer.body)) == {
        "type": "https://leveret.dev/problems/invalid-request",
        "title": "Invalid request",
        "status": 422,
        "detail": "no",
        "errors": [{"pointer": "/0/type", "detail": "missing"}],
    }


def test_a_database_that_may_have_committed_is_not_said_to_have_stored_nothing() -> None:
    sure = database_unavailable(DatabaseUnavailable("x"))
    unsure = database_unavailable(DatabaseUnavailable("x", maybe_stored=True))
    assert "nothing was stored" in sure.problem.detail
    assert "isn't known whether it was stored" in unsure.problem.detail
    assert {one.headers["Retry-After"] for one in (sure, unsure, database_unavailable())} == {"5"}


def test_a_database_that_gave_a_statement_up_is_not_said_to_be_away() -> None:
    problem = database_unavailable(TookTooLong("canceling statement due to statement timeout")).problem
    assert problem.status == 503
    assert problem.detail.startswith("The database is there, but gave this up since it took too long; nothing was")


TROUBLES = {
    "away": DatabaseUnavailable("x"),
    "away while it was asked": DatabaseUnavailable("x", maybe_stored=True),
    "too slow": TookTooLong("x"),
    "two in each other's way": TryAgain("x"),
    "data": DataRefused("x"),
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
async def test_only_who_sent_something_is_told_whether_it_was_stored(trouble: Exception, method: str) -> None:
    on = on_data_refused if isinstance(trouble, DataRefused) else on_database_unavailable
    answer = await on(Request({"type": "http", "method": method}), trouble)
    document = json.loads(bytes(answer.body))
    assert ("stored" in document["detail"]) is (method == "POST")
    unknown = isinstance(trouble, DatabaseUnavailable) and trouble.maybe_stored
    told = ("unknown" if unknown else "no") if method == "POST" and document["status"] == 503 else None
    assert document.get("stored") == told


def test_a_queue_that_is_looked_for_and_not_there_stores_nothing_anyhow() -> None:
    assert "tored" not in unknown_queue("leveret.a", {}).problem.detail
    assert "stored" not in database_unavailable(reads=True).problem.detail
    assert unknown_queue("leveret.a", {}, kept="Nothing was stored.").problem.detail.endswith("Nothing was stored.")


async def test_a_value_that_the_database_does_not_take_is_the_requests_flaw() -> None:
    answer = await on_data_refused(Request({"type": "http", "method": "GET"}), DataRefused("secret"))
    assert (answer.status_code, b"secret" in answer.body) == (422, False)
    assert json.loads(bytes(answer.body))["type"].endswith("/invalid-request")


async def test_a_defect_is_answered_without_its_traceback() -> None:
    async def crash(_: Request) -> Response:
        raise RuntimeError("secret")

    app = Starlette(routes=[Route("/", crash)], middleware=[Middleware(CrashesAreProblems)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "incident" in answer.json()["detail"]
