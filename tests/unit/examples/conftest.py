"""The target servers, and a server of ill will, on free ports of the loopback address."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from examples.url_check.targets import create_app


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve the application in this event loop; give its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, access_log=False, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()


@pytest.fixture
async def targets() -> AsyncIterator[str]:
    async with serving(create_app(log=False)) as base:
        yield base


@pytest.fixture
async def hostile() -> AsyncIterator[str]:
    async with serving(hostile_app()) as base:
        yield base


def hostile_app() -> FastAPI:
    app = FastAPI()

    @app.get("/to")
    async def to(url: str) -> Response:
        return RedirectResponse(url)

    @app.get("/raw-location")
    async def raw_location(value: str) -> Response:
        return Response(status_code=302, headers={"location": value})

    @app.get("/loop")
    async def loop() -> Response:
        return RedirectResponse("/loop")

    @app.get("/endless")
    async def endless() -> Response:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)

        return StreamingResponse(body())

    return app
