"""The front of url_check: lists of URLs over HTTP, their checks as jobs, the results in a database of its own.

A check is stored with its jobs in one transaction, and the answer is given then; a relay beside it sends them: whatever stops
or is away afterwards, the check goes on by itself (see `collect`). Reading one asks only the database, so nobody's patience
costs Leveret anything. Run with `python -m examples.url_check.front`, as often as wanted.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path as Folder
from typing import Annotated, Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from examples.fronts.application import beside, client_of
from examples.fronts.database import Away, away
from examples.fronts.docs import add_docs
from examples.fronts.problems import JSON, Bodies, Problem, answer, bad_input, content_type, problem_of, responses
from examples.fronts.serving import add_probes, serve
from examples.url_check.collect import Collector
from examples.url_check.page import render, wants_page
from examples.url_check.store import PAGE_ROWS, Store
from leveret.client import AsyncClient
from leveret.client.outbox import Relay

MOST_URLS = 10_000
LARGEST_BODY = 8 * 1024 * 1024
ROOM = 24 * 1024 * 1024  # bytes of bodies at once
COLLECTORS = 4  # checks that are carried on at once
FORM = "application/x-www-form-urlencoded"

_NO_URL = re.compile("[\\x00-\\x20\\x7f]")
_http_url = TypeAdapter(HttpUrl)


def _checked(url: str) -> str:
    """Return the URL as it was sent, if its handler will take it."""
    if _NO_URL.search(url):
        raise ValueError("a URL has no spaces and no control characters")
    try:
        _http_url.validate_python(url)
    except ValidationError as problem:
        raise ValueError(problem.errors()[0]["msg"]) from None
    return url


class NewCheck(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    urls: Annotated[list[Annotated[str, AfterValidator(_checked)]], Field(min_length=1, max_length=MOST_URLS)]


class Accepted(BaseModel):
    id: UUID


_SCHEMA = NewCheck.model_json_schema()
_SCHEMA["properties"]["urls"]["items"] |= {"format": "uri", "maxLength": 2083}
_BODY = {"required": True, "content": {JSON: {"schema": _SCHEMA}}}
_IS_CHECK: dict[str, Any] = {
    "description": "How far it is, and the results so far. A browser gets a page.",
    "content": {
        JSON: {"schema": {"type": "object", "required": ["total", "done", "cancelled_at", "results"]}},
        "text/html": {},
    },
}


def parse(body: bytes, form: bool) -> list[str]:
    """Return the URLs of a request, each once, in their order; raise Problem."""
    try:
        if form:  # one a line
            try:
                fields = parse_qs(body.decode(), max_num_fields=10)
            except ValueError:
                raise Problem(400, "malformed-request", "The form can't be read. Nothing was stored.") from None
            lines = (line.strip() for text in fields.get("urls", []) for line in text.splitlines())
            new = NewCheck(urls=[line for line in lines if line])
        else:
            new = NewCheck.model_validate_json(body)
    except ValidationError as problem:
        raise bad_input(problem) from None
    return list(dict.fromkeys(new.urls))


def _unknown() -> Problem:
    return Problem(404, "unknown-check", "There is no such check.")


def _goes_on(request: Request, id: UUID) -> Response:
    """Return what is told of a check that goes on by itself, from now on."""
    request.app.state.collector.woken.set()
    place = {"Location": f"/checks/{id}"}
    if wants_page(request):
        return RedirectResponse(place["Location"], 303)
    return Response(json.dumps({"id": str(id)}), 202, place, JSON)


async def _refuse(request: Request, raised: Exception) -> Response:
    """Return a problem, as a page for those who read pages."""
    if isinstance(raised, Away):
        raised = away(raised, request.method)
    if not wants_page(request):
        return answer(request, raised)
    problem, headers = problem_of(raised)
    return render(problem.status, headers, problem=problem)


def create_app(
    store: Callable[[], Store], leveret: Callable[[], AsyncClient], queue: str, relay: Any = Relay
) -> FastAPI:
    bodies = Bodies(LARGEST_BODY, ROOM)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        render(200, {})  # reads the template in, which takes longer than the first view may
        app.state.store, app.state.began = store(), asyncio.get_running_loop().time()
        async with leveret() as client, relay(app.state.store):
            app.state.collector = collector = Collector(app.state.store, client, queue)
            async with beside(*[collector.run] * COLLECTORS):
                yield
        await app.state.store.close()

    app = FastAPI(title="url-check", docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    for kind in (Problem, HTTPException, RequestValidationError, Away):
        app.add_exception_handler(kind, _refuse)

    @app.get("/", include_in_schema=False)
    async def form() -> Response:
        return render(200, {})

    @app.post("/checks", status_code=202, responses=responses(400, 408, 413, 415, 422, 503), openapi_extra={"requestBody": _BODY},
              response_model=Accepted)  # fmt: skip
    async def add(request: Request) -> Response:
        """Check URLs, each once. The check is stored when this answers, and goes on by itself."""
        async with bodies.of(request, FORM) as body:
            urls = parse(body, content_type(request) == FORM)
            id = uuid4()  # noqa: A001
            await request.app.state.store.add(id, urls)
        return _goes_on(request, id)

    @app.post("/checks/{id}/cancel", status_code=202, responses=responses(404, 409, 422, 503), response_model=Accepted)
    async def cancel(request: Request, id: UUID) -> Response:
        """Cancel what has no result yet. That is stored when this answers, and goes on by itself; twice does no more than once."""
        if (noted := await request.app.state.store.cancel(id)) is None:
            raise _unknown()
        if not noted and not wants_page(request):  # the page shows it
            raise Problem(409, "check-finished", "The check has finished. Nothing was changed.")
        return _goes_on(request, id)

    @app.get("/checks/{id}", responses={200: _IS_CHECK, **responses(404, 422, 503)}, response_class=Response)
    async def check(
        request: Request, id: UUID, page: Annotated[int, Query(ge=1, le=MOST_URLS // PAGE_ROWS)] = 1
    ) -> Response:
        """Return a check; `page` is for the page alone."""
        if wants_page(request):
            if (seen := await request.app.state.store.view(id, page)) is None:
                raise _unknown()
            return render(200, {}, id=id, check=seen[0], rows=seen[1], page=page, page_rows=PAGE_ROWS)
        if (found := await request.app.state.store.results(id)) is None:
            raise _unknown()
        total, cancelled_at, results = found
        at = f'"{cancelled_at.isoformat()}"' if cancelled_at else "null"
        document = f'{{"total":{total},"done":{len(results)},"cancelled_at":{at},"results":[{",".join(results)}]}}'
        return Response(document, media_type=JSON, headers={"Vary": "Accept"})

    @app.get("/reports", responses=responses(503))
    async def reports(request: Request) -> dict[str, list[dict[str, Any]]]:
        """Return the URLs whose checks failed for good, the newest first, at most 1,000."""
        return {"reports": [dict(row) for row in await request.app.state.store.reports()]}

    add_probes(app, lambda: app.state.began, lambda: app.state.store.ping())

    app.mount("/static", StaticFiles(directory=Folder(__file__).parent / "static"))
    add_docs(app)
    return app


def main() -> None:
    queue = os.environ.get("LEVERET_QUEUE", "leveret.url-check")
    serve(create_app(partial(Store, os.environ.get("DATABASE_URL"), queue), client_of(20), queue))


if __name__ == "__main__":
    main()
