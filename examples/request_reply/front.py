"""The front of request_reply: a question over HTTP, a job for its answer, and the answer in the same request.

One client for each reply style stays connected for the whole process, and thousands of calls share it. Each call ends
within 30 s: with its answer, or with a problem that says whether it may be asked again. While the broker is away the front
says so with 503 at once. When it stops, what is in flight is still answered. Run with `python -m examples.request_reply.front`.
"""

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from examples.fronts.docs import add_docs
from examples.fronts.problems import Bodies, Problem, answer, bad_input, responses
from examples.fronts.serving import is_new, serve
from leveret.client import rpc

FOLDER = "/etc/leveret/broker"  # the mounted Secret
SECONDS = 30.0  # for a call
LONGEST = 64 * 1024  # bytes of a message
LARGEST_JSON = 250 * 1024  # bytes of a message as JSON: payload and result have 256 KiB
LARGEST_BODY = 6 * LONGEST + 1024  # each byte of a message may be written as \u0000
NOTHING = "Nothing was sent on."
ROOM = 32 * 1024 * 1024  # bytes of bodies at once

log = logging.getLogger(__name__)


def _fits(message: str) -> str:
    if len(message.encode()) > LONGEST or len(json.dumps(message, ensure_ascii=False).encode()) > LARGEST_JSON:
        raise ValueError(f"it may have {LONGEST:,} bytes of UTF-8, and {LARGEST_JSON:,} as JSON")
    return message


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")
    message: Annotated[str, Field(max_length=LONGEST), AfterValidator(_fits)]
    style: Literal["direct", "exclusive", "fixed"]


class Answer(BaseModel):
    reply: str
    correlation_id: str


_BODY = {"required": True, "content": {"application/json": {"schema": Ask.model_json_schema()}}}


def without_answer(problem: rpc.CallError, *, connected: bool) -> Problem:
    """Return what a call that ended without an answer leads to."""
    match problem:
        case rpc.Dead() | rpc.UnreadableReply():
            status, slug = 502, "dead"
        case rpc.Cancelled():
            status, slug = 502, "cancelled"
        case rpc.DeadlineExceeded() if connected and problem.published != rpc.Published.NO:
            status, slug = 504, "deadline-exceeded"
        case _:  # also a time that passed while the broker was away, or took nothing
            status, slug = 503, "disconnected"
    job = str(problem.job) if problem.job else None
    return Problem(status, slug, str(problem), reason=problem.reason or None, job=job, published=problem.published)


class Clients:
    """A client for each reply style, which is made as soon as the broker is there."""

    def __init__(self, config: Callable[[], rpc.ConnectionConfig], pod: str) -> None:
        self._config = config
        # A fixed queue has one owner, so it bears the pod's name.
        self._queues = {"exclusive": "request-reply.exclusive", "fixed": f"request-reply.replies.{pod}"}
        self._made = {style: asyncio.create_task(self._connect(style)) for style in map(str, rpc.Style)}

    async def _connect(self, style: str) -> rpc.Rpc:
        while True:
            try:
                return await rpc.Rpc.connect(self._config, style, self._queues.get(style, ""), name="request-reply")
            except (rpc.CallError, rpc.MissingSetting) as problem:
                log.warning("%s: %s", style, problem)
                await asyncio.sleep(1)

    def connected(self) -> dict[str, rpc.Rpc]:
        return {style: task.result() for style, task in self._made.items() if task.done() and task.result().connected}

    async def close(self) -> None:
        for task in self._made.values():
            task.cancel()
        done = await asyncio.gather(*self._made.values(), return_exceptions=True)
        await asyncio.gather(*(client.close() for client in done if isinstance(client, rpc.Rpc)))


def create_app(
    config: Callable[[], rpc.ConnectionConfig], queue: str, pod: str, *, seconds: float = SECONDS, room: int = ROOM
) -> FastAPI:
    bodies = Bodies(LARGEST_BODY, room, NOTHING)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.clients, app.state.began = Clients(config, pod), asyncio.get_running_loop().time()
        yield
        await app.state.clients.close()

    app = FastAPI(title="request-reply", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_exception_handler(Problem, answer)
    app.add_exception_handler(HTTPException, answer)

    @app.post("/ask", responses=responses(400, 408, 413, 415, 422, 502, 503, 504), openapi_extra={"requestBody": _BODY})
    async def ask(request: Request) -> Answer:
        """Have a consumer process a message; wait for its reply."""
        async with bodies.of(request) as body:
            try:
                asked = Ask.model_validate_json(body)
            except ValidationError as problem:
                raise bad_input(problem, NOTHING) from None
            client = app.state.clients.connected().get(asked.style)
            if client is None:
                detail = "There is no connection to the broker. Nothing was sent: ask again."
                raise Problem(503, "disconnected", detail, published=rpc.Published.NO)
            try:
                reply = await client.call(queue, "ask", {"message": asked.message}, seconds)
            except rpc.CallError as problem:
                raise without_answer(problem, connected=client.connected) from None
            return Answer(reply=str(reply.result), correlation_id=reply.correlation_id)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        connected = sorted(app.state.clients.connected())
        if len(connected) < len(rpc.Style) and is_new(app.state.began):
            raise Problem(503, "starting", "The broker is being connected to.", connected=connected)
        return JSONResponse({"connected": connected})

    add_docs(app)
    return app


def main() -> None:
    url = os.environ.get("LEVERET_BROKER_URL")
    # Read for each connection: a rotated password appears in the folder.
    config = partial(rpc.ConnectionConfig.from_url, url) if url else partial(rpc.ConnectionConfig.from_folder, FOLDER)
    try:
        config()
    except rpc.MissingSetting as problem:
        sys.exit(str(problem))
    serve(
        create_app(config, os.environ.get("LEVERET_QUEUE", "leveret.request-reply"), socket.gethostname()),
        backlog=4096,  # connections that all come at once
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(SECONDS) + 2,  # every call has ended by then
    )


if __name__ == "__main__":
    main()
