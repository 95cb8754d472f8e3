"""Refusals as problem documents (RFC 9457), and request bodies that are bounded.

A body is counted while it is read, against its own limit and against what all requests together may hold: no request, and
no crowd of them, takes the memory of the others.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import Request, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

RETRY_AFTER = "2"  # s
BODY_SECONDS = 10.0


class Problem(Exception):
    """An answer that is none; `more` are further members of its document."""

    def __init__(self, status: int, slug: str, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status, self.slug, self.detail, self.more = status, slug, detail, more


def answer(_: Request, problem: Exception) -> Response:
    """Return the document of a Problem, or of what the framework raises: no such path, not this method."""
    headers: dict[str, str] = {}
    if isinstance(problem, HTTPException):
        slug = HTTPStatus(problem.status_code).phrase.lower().replace(" ", "-")
        headers |= problem.headers or {}
        problem = Problem(problem.status_code, slug, f"{problem.detail}: /docs tells what there is.")
    assert isinstance(problem, Problem)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = RETRY_AFTER
    kind, title = f"https://leveret.dev/problems/{problem.slug}", HTTPStatus(problem.status).phrase
    document = {"type": kind, "title": title, "status": problem.status, "detail": problem.detail, **problem.more}
    return Response(json.dumps(document), problem.status, headers, "application/problem+json")


def bad_input(problem: ValidationError) -> Problem:
    """Return what is wrong with a body: where, and what it should be; what was sent is not repeated."""
    found = problem.errors(include_url=False, include_input=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return Problem(400, "invalid-json", f"The body can't be read: {found[0]['msg']}. Nothing was sent on.")
    errors = [{"pointer": "".join(f"/{part}"[:100] for part in one["loc"]), "detail": one["msg"]} for one in found]
    return Problem(
        422, "invalid-request", "The body has fields that can't be used. Nothing was sent on.", errors=errors
    )


class Bodies:
    """The bodies of all requests that are here: at most `room` bytes, and each at most `largest`."""

    def __init__(self, largest: int, room: int) -> None:
        self._largest, self._room, self._held = largest, room, 0

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytes]:
        """Give a request's body, which counts as held for as long as the context lasts; raise Problem."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Problem(415, "unsupported-media-type", "Send JSON, with the header Content-Type: application/json.")
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
                    if self._held + len(part) > self._room:
                        raise Problem(503, "overloaded", "Too much is asked at once. Nothing was sent on: ask again.")
                    if size <= self._largest:
                        body += part
                        self._held += len(part)
        except TimeoutError:
            if size <= self._largest:
                raise Problem(408, "request-timeout", f"The body was not here in {BODY_SECONDS:g} s.") from None
        except ClientDisconnect:
            raise Problem(400, "malformed-request", "The connection ended before the body did.") from None
        if size > self._largest:
            raise Problem(413, "too-large", f"The body has more than {self._largest:,} bytes. Nothing was sent on.")
