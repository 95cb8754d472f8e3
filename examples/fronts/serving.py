"""How a front is served in its pod, and how it tells the cluster that it is there."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse

FIRST_SECONDS = 10.0  # in which a new process without what it needs is not ready; then it serves, and says so


def is_new(began: float) -> bool:
    """Tell whether a process that began then, by its loop's clock, is not called ready without what it needs."""
    return asyncio.get_running_loop().time() < began + FIRST_SECONDS


def add_probes(app: FastAPI, began: Callable[[], float], ping: Callable[[], Awaitable[None]]) -> None:
    """`began` tells when the process did; `ping` raises while its database is away."""

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        if is_new(began()):
            await ping()
        return PlainTextResponse("ok\n")


def serve(app: FastAPI, **options: Any) -> None:
    """Serve until the pod ends; `options` are uvicorn's."""
    uvicorn.run(
        app,
        host="0.0.0.0",  # noqa: S104 - in a pod
        port=int(os.environ.get("PORT", "8080")),
        access_log=False,
        log_level="warning",
        **({"timeout_graceful_shutdown": 20} | options),
    )
