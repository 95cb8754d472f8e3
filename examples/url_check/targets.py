"""Servers to check that behave in every way a server can: fast, slow, failing, redirecting, never answering.

They are also the witness: `/seen` and the log on standard output tell what was asked, and how often, without asking
Leveret. Run with `python -m examples.url_check.targets`.
"""

import argparse
import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Path, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

PORT = 8080
UNCOUNTED = frozenset({"/seen", "/healthz"})


class Witness:
    """Counts and logs each request when it comes in, by its path with the query; the answer may never come."""

    def __init__(self, app: ASGIApp, seen: Counter[str], log: bool = True) -> None:
        self._app = app
        self._seen = seen
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in UNCOUNTED:
            target = scope["raw_path"].decode("latin-1")
            if query := scope["query_string"].decode("latin-1"):
                target = f"{target}?{query}"
            self._seen[target] += 1
            if self._log:
                line = {"time": round(time.time(), 3), "method": scope["method"], "path": target}
                print(json.dumps(line), flush=True)
        await self._app(scope, receive, send)


def stopping() -> Response:
    """Return what a request gets that still waits when the server stops and cancels it: it is worth another attempt."""
    return PlainTextResponse("stopping\n", 503)


def create_app(*, log: bool = True) -> FastAPI:
    """Return the target servers as one application, with counts of its own."""
    app = FastAPI(title="url-check targets")
    seen: Counter[str] = Counter()
    flaky: Counter[tuple[str, int]] = Counter()
    app.add_middleware(Witness, seen=seen, log=log)

    @app.get("/ok", response_class=PlainTextResponse)
    async def ok() -> str:
        return "ok\n"

    @app.get("/slow/{seconds}", response_class=PlainTextResponse)
    async def slow(seconds: Annotated[float, Path(ge=0, le=3600, allow_inf_nan=False)]) -> Response:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            return stopping()
        return PlainTextResponse(f"answered after {seconds:g} s\n")

    @app.get("/status/{code}")
    async def status(code: Annotated[int, Path(ge=200, le=599)]) -> Response:
        return Response(status_code=code)

    @app.get("/redirect/{n}")
    async def redirect(n: Annotated[int, Path(ge=0, le=1000)]) -> Response:
        """Redirect n times; the last place is /redirect/0."""
        return RedirectResponse(f"/redirect/{n - 1}", 302) if n else PlainTextResponse("arrived\n")

    @app.get("/hang")
    async def hang(request: Request) -> Response:
        """Answer nothing until the client goes away."""
        with suppress(asyncio.CancelledError):
            while (await request.receive())["type"] != "http.disconnect":
                pass
        return stopping()

    @app.get("/flaky/{key}/{times}", response_class=PlainTextResponse)
    async def fail_at_first(key: str, times: Annotated[int, Path(ge=0)]) -> Response:
        """Fail so many times for this key, then work."""
        flaky[key, times] += 1
        if flaky[key, times] <= times:
            return PlainTextResponse(f"failed {flaky[key, times]} of {times} times\n", 503)
        return PlainTextResponse("works\n")

    @app.get("/seen")
    async def requests_seen() -> Response:
        """Requests so far, by path with its query."""
        return JSONResponse(seen)

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        return "ok\n"

    return app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.url_check.targets", description="Servers to check.")
    parser.add_argument("--host", default="0.0.0.0", help="listen here (default: %(default)s)")  # noqa: S104 - in a pod
    parser.add_argument("--port", type=int, default=PORT, help="and on this port (default: %(default)s)")
    given = parser.parse_args()
    uvicorn.run(
        create_app(),
        host=given.host,
        port=given.port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=1,  # those that hang would keep it for ever
    )


if __name__ == "__main__":
    main()
