"""Errors as problem documents (RFC 9457): what happened, what was kept, what to do. Never a traceback.

Whatever goes wrong in a request, ours or the framework's, leaves as one of these.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leveret_producer.http.methods import allowed
from leveret_producer.store.postgres import DatabaseUnavailable, TookTooLong

log = structlog.get_logger(__name__)

BASE = "https://leveret.dev/problems/"
MEDIA_TYPE = "application/problem+json"
_TITLES = {
    "invalid-json": (400, "The body is not JSON"),
    "malformed-request": (400, "Not HTTP"),
    "not-authenticated": (401, "Not authenticated"),
    "unknown-queue": (404, "Unknown queue"),
    "unknown-job": (404, "Unknown job"),
    "not-found": (404, "Nothing is at this path"),
    "method-not-allowed": (405, "Method not allowed"),
    "request-timeout": (408, "The request took too long"),
    "job-finished": (409, "The job has ended"),
    "request-in-progress": (409, "The same request is being stored"),
    "too-large": (413, "Too large"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "invalid-request": (422, "Invalid request"),
    "key-reused": (422, "The key was used for another request"),
    "queue-full": (429, "The queue is full"),
    "header-too-large": (431, "The headers are too large"),
    "internal-error": (500, "Internal error"),
    "overloaded": (503, "Too much at once"),
    "outbox-full": (503, "The outbox is full"),
    "database-unavailable": (503, "The database is unavailable"),
}
_encode = msgspec.json.Encoder().encode

Stored = Literal["no", "unknown"]


class Flaw(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request."""

    pointer: str  # a JSON pointer into the body, or /name of a query parameter
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an error's body holds."""

    type: str
    title: str
    status: int
    detail: str
    stored: Stored | None = None  # of a 503: whether what the request brought was
    instance: str | None = None  # which one of its kind, where the log tells more
    errors: list[Flaw] | None = None


class Refused(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self,
        slug: str,
        detail: str,
        errors: Sequence[Flaw] = (),
        headers: Mapping[str, str] | None = None,
        stored: Stored | None = None,
    ) -> None:
        super().__init__(detail)
        status, title = _TITLES[slug]
        self.problem = Problem(BASE + slug, title, status, detail, stored, errors=list(errors) or None)
        self.headers = dict(headers or {})

    def response(self) -> Response:
        return Response(_encode(self.problem), self.problem.status, self.headers, MEDIA_TYPE)


class CutOff(Exception):
    """Ends an answer that has begun: the connection is closed before its end, which is said to whoever reads it."""


def reads(request: Request) -> bool:
    """Say whether a request only asks: whoever sent it has nothing that could have been stored."""
    return request.method in ("GET", "HEAD") or request.scope.get("path") == "/v1/jobs/get"


def database_unavailable(problem: DatabaseUnavailable | None = None, *, reads: bool = False) -> Refused:
    kept, stored = "" if reads else "; nothing was stored", None if reads else _stored(problem)
    if problem is None:
        detail = f"The database's tables are not there yet{kept}. Try again in a few seconds."
    elif isinstance(problem, TookTooLong):
        detail = (
            f"The database is there, but gave this up since it took too long{kept}. Try again in a few seconds, and if "
            "this was a list, ask for less: with a queue, or for one type or state and not both."
        )
    elif stored == "unknown":
        detail = (
            "The database went away while it was storing this, so it isn't known whether it was stored. "
            "Look at GET /v1/jobs before sending it again; with the Idempotency-Key that it had it can be sent again at once."
        )
    else:
        detail = f"The database does not answer{kept}. Send the same request again in a few seconds."
    return Refused("database-unavailable", detail, headers={"Retry-After": "5"}, stored=stored)


def _stored(problem: DatabaseUnavailable | None) -> Stored:
    return "unknown" if problem is not None and problem.maybe_stored else "no"


def status_of(slug: str) -> int:
    """Return the status that a kind of problem has."""
    return _TITLES[slug][0]


# -- handlers for the framework


async def on_refused(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Refused)
    return problem.response()


async def on_database_unavailable(request: Request, problem: Exception) -> Response:
    log.warning("a request was not answered by the database", because=str(problem))
    unavailable = problem if isinstance(problem, DatabaseUnavailable) else DatabaseUnavailable(str(problem))
    return database_unavailable(unavailable, reads=reads(request)).response()


async def on_data_refused(request: Request, problem: Exception) -> Response:
    """The net below the checks: a value that the database takes from nobody is the request's flaw, not a defect."""
    log.warning("the database refused what a request has", because=str(problem))
    detail = "The database does not take a value of this request, such as a time far out of range."
    return Refused("invalid-request", detail + ("" if reads(request) else " Nothing was stored.")).response()


async def on_http_exception(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    if problem.status_code == 404:
        return Refused("not-found", f"There is nothing at {request.url.path}; /docs lists what there is.").response()
    if problem.status_code == 405:
        methods = ", ".join(allowed(request.app.state.routes, request.scope))
        path = request.url.path
        submits = request.method == "POST" and path.startswith("/v1/") and "/dead-letters" not in path
        hint = "POST /v1/queues/{queue}/jobs submits jobs; " if submits else ""
        kept = "" if reads(request) else " Nothing was changed."
        detail = f"{path} does not take {request.method}, but {methods}.{kept} {hint}/docs lists what there is."
        return Refused("method-not-allowed", detail, headers={"Allow": methods}).response()
    document = Problem("about:blank", str(problem.detail), problem.status_code, str(problem.detail))
    return Response(_encode(document), problem.status_code, problem.headers, MEDIA_TYPE)


async def on_validation_error(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    flaws = [Flaw("".join(f"/{step}" for step in error["loc"][1:]), str(error["msg"])) for error in problem.errors()]
    return Refused("invalid-request", "; ".join(flaw.detail for flaw in flaws), flaws).response()


class CrashesAreProblems:
    """Outermost: a defect is answered with a number, under which the log has the rest."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = False

        async def watching_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watching_send)
        except CutOff:
            return None
        except Exception:
            incident = secrets.token_hex(6)
            log.exception("a request failed", incident=incident, path=scope["path"])
            if not started:
                detail = f"This is a defect of the server's. Its log has the details under incident {incident}."
                refused = Refused("internal-error", detail)
                refused.problem = msgspec.structs.replace(refused.problem, instance=f"urn:leveret:incident:{incident}")
                await refused.response()(scope, receive, send)
        return None
