"""What a front with a database of its own is made of: its refusals, what runs beside it, and its client of Leveret."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from examples.fronts.database import Away, away
from examples.fronts.problems import Problem, answer
from leveret.client import AsyncClient, NotConfigured, Patience


def application(title: str, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    """Make a front that says as a problem whatever it refuses, also that its database is away."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    for kind in (Problem, HTTPException, RequestValidationError, Away):
        app.add_exception_handler(kind, _refuse)
    return app


async def _refuse(request: Request, raised: Exception) -> Response:
    return answer(request, away(raised, request.method) if isinstance(raised, Away) else raised)


@asynccontextmanager
async def beside(*runs: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run these for as long as the context lasts."""
    tasks = [asyncio.ensure_future(run()) for run in runs]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def client_of(seconds: float) -> Callable[[], AsyncClient]:
    """Return what makes Leveret's client, as patient as that; end the process where it is not told of Leveret."""
    client = partial(AsyncClient, patience=Patience(timeout=seconds))
    try:
        client()
    except NotConfigured as problem:
        sys.exit(str(problem))
    return client
