"""Refusals as problem documents (RFC 9457), and request bodies that are bounded.

A body is counted while it is read, against its own limit and against what all requests together may hold: no request, and
no crowd of them, takes the memory of the others.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

JSON = "application/json"
RETRY_AFTER = "2"  # s
BODY_SECONDS = 10.0
MOST_ERRORS = 10  # that are told
NOTHING = "Nothing was stored."


class Problem(Exception):
    """An answer that is none; `more` are further members of its document."""

    def __init__(self, status: int, slug: str, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status, self.slug, self.detail, self.more = status, slug, detail, more


def problem_of(raised: Exception) -> tuple[Problem, dict[str, str]]:
    """Return a Problem, and what the framework raises (no such path, not this method, a bad parameter) as one; and headers."""
    headers: dict[str, str] = {}
    if isinstance(raised, RequestValidationError):
        raised = bad_input(raised)
    if isinstance(raised, HTTPException):
        headers |= raised.headers or {}
        slug = HTTPStatus(raised.status_code).phrase.lower().replace(" ", "-")
        raised = Problem(raised.status_code, slug, f"{raised.detail}: /docs tells what there is.")
    assert isinstance(raised, Problem)
    if raised.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = RETRY_AFTER
    return raised, headers


def answer(request: Request, raised: Exception) -> Response:
    problem, headers = problem_of(raised)
    if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:  # the framework names those of the first route alone
        here = [one for one in request.app.routes if one.matches(request.scope)[0] is not Match.NONE]
        headers["Allow"] = ", ".join(sorted({method for one in here for method in getattr(one, "methods", ())}))
    kind, title = f"https://leveret.dev/problems/{problem.slug}", HTTPStatus(problem.status).phrase
    document = {"type": kind, "title": title, "status": problem.status, "detail": problem.detail, **problem.more}
    return Response(json.dumps(document), problem.status, headers, "application/problem+json")


def bad_input(problem: ValidationError | RequestValidationError, nothing: str = NOTHING) -> Problem:
    """Return what is wrong: where, and what it should be; what was sent is not repeated. `nothing` tells what was kept."""
    found = problem.errors()
    if found[0]["type"] == "json_invalid":
        return Problem(400, "invalid-json", f"The body can't be read: {found[0]['msg']}. {nothing}")
    errors = [
        {"pointer": "".join(f"/{part}"[:100] for part in one["loc"]), "detail": one["msg"]}
        for one in found[:MOST_ERRORS]
    ]
    more = f" The first {MOST_ERRORS} of {len(found):,} are shown." if len(found) > MOST_ERRORS else ""
    return Problem(422, "invalid-request", f"It has fields that can't be used. {nothing}{more}", errors=errors)


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], body: bytes, nothing: str = NOTHING) -> Model:
    """Return what a body is; raise Problem."""
    try:
        return model.model_validate_json(body)
    except ValidationError as problem:
        raise bad_input(problem, nothing) from None


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of these problems."""
    schema = {"schema": {"type": "object", "required": ["type", "title", "status", "detail"]}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {"application/problem+json": schema}}
        for status in statuses
    }


def content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class Bodies:
    """The bodies of all requests that are here: at most `room` bytes, and each at most `largest`."""

    def __init__(self, largest: int, room: int, nothing: str = NOTHING) -> None:
        self._largest, self._room, self._nothing, self._held = largest, room, nothing, 0

    @asynccontextmanager
    async def of(self, request: Request, *types: str) -> AsyncIterator[bytes]:
        """Give a request's body, which counts as held for as long as the context lasts; raise Problem."""
        if content_type(request) not in (JSON, *types) or len(request.headers.getlist("content-type")) > 1:
            raise Problem(415, "unsupported-media-type", f"Send JSON, with the header Content-Type: {JSON}.")
        body = bytearray()
        try:
            await self._read(request, body)
            yield bytes(body)
        finally:
            self._held -= len(body)

    async def _read(self, request: Request, body: bytearray) -> None:
        size = 0  # what is too large is read to its end, and not kept: whoever is still sending reads no answer
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in request.stream():
                    size += len(part)
                    if size > self._largest:
                        continue
                    if self._held + len(part) > self._room:
                        raise Problem(503, "overloaded", f"Too much is asked at once; ask again. {self._nothing}")
                    body += part
                    self._held += len(part)
        except TimeoutError:
            if size <= self._largest:
                raise Problem(
                    408, "request-timeout", f"The body was not here in {BODY_SECONDS:g} s. {self._nothing}"
                ) from None
        except ClientDisconnect:
            raise Problem(400, "malformed-request", "The connection ended before the body did.") from None
        if size > self._largest:
            raise Problem(413, "too-large", f"The body has more than {self._largest:,} bytes. {self._nothing}")
