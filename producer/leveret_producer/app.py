"""The HTTP application: routes behind the guard, and a life that begins and ends with its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

import leveret_producer.access.login as login
from leveret_producer import console, problems
from leveret_producer.access.guard import Guard
from leveret_producer.access.token import Token
from leveret_producer.health import Health
from leveret_producer.http.methods import HeadIsGet
from leveret_producer.metrics import Metrics
from leveret_producer.parts import Parts, assemble
from leveret_producer.routes import cancels, dead_letters, docs, health, jobs, openapi, outcomes, queues
from leveret_producer.running import running
from leveret_producer.settings import Settings
from leveret_producer.store.postgres import DatabaseUnavailable, DataRefused, TryAgain

_DESCRIPTION = """\
Submit jobs and follow them. An answer of 202 means that the job is in the database: from then on it isn't lost, whatever
is killed. Errors are problem documents (RFC 9457)."""


class AppState(TypedDict):
    parts: Parts


def create_app(settings: Settings, health_state: Health | None = None, metrics: Metrics | None = None) -> FastAPI:
    """Return the application; `health_state` and `metrics` are given by whoever else looks at them."""
    state, measured = health_state or Health(), metrics or Metrics()
    token = Token(settings.places.tokens)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[AppState]:
        async with assemble(settings, state, measured) as parts, running(parts):
            yield {"parts": parts}

    app = FastAPI(
        title="Leveret",
        version="v1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(problems.CrashesAreProblems),
            Middleware(HeadIsGet),
            Middleware(Guard, token=token),
        ],
    )
    app.add_exception_handler(problems.Refused, problems.on_refused)
    app.add_exception_handler(DatabaseUnavailable, problems.on_database_unavailable)
    app.add_exception_handler(TryAgain, problems.on_database_unavailable)
    app.add_exception_handler(DataRefused, problems.on_data_refused)
    app.add_exception_handler(HTTPException, problems.on_http_exception)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    routers = [
        health.router,
        jobs.router,
        cancels.router,
        outcomes.router,
        queues.router,
        dead_letters.router,
        login.build_router(token),
    ]
    routers += [docs.build_router(app), console.build_router(settings.prometheus_url)]
    for router in routers:
        app.include_router(router)
    app.state.routes = [
        route for router in routers for route in router.routes
    ]  # as they were given: the app wraps them
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app
