"""The front of mailer: e-mails over HTTP, each in a database of its own with its job, and what became of it.

A mail is stored with its job in one transaction, and the answer is given then; a relay beside it sends the job: whatever stops
or is away afterwards, it goes on by itself. Reading one asks only the database. Run with `python -m examples.mailer.front`,
as often as wanted.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request, Response
from uuid_utils.compat import uuid7

from examples.fronts.application import application, beside, client_of
from examples.fronts.docs import add_docs
from examples.fronts.problems import JSON, Bodies, Problem, parse, responses
from examples.fronts.serving import add_probes, serve
from examples.mailer.emails import SCHEMA, Accepted, Email, NewEmail
from examples.mailer.settings import Settings
from examples.mailer.store import Store
from examples.mailer.sweep import Sweeper
from leveret.client import AsyncClient
from leveret.client.outbox import Relay

LARGEST_BODY = 1024 * 1024
ROOM = 16 * 1024 * 1024  # bytes of bodies at once


def create_app(
    store: Callable[[], Store], leveret: Callable[[], AsyncClient], domain: str, relay: Any = Relay
) -> FastAPI:
    bodies = Bodies(LARGEST_BODY, ROOM)
    sent: dict[str, Any] = {"requestBody": {"required": True, "content": {JSON: {"schema": SCHEMA}}}}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.store, app.state.began = store(), asyncio.get_running_loop().time()
        async with leveret() as client, relay(app.state.store), beside(Sweeper(app.state.store, client).run):
            yield
        await app.state.store.close()

    app = application("mailer", lifespan)

    @app.post("/emails", status_code=202, responses=responses(400, 408, 413, 415, 422, 503), openapi_extra=sent,
              response_model=Accepted)  # fmt: skip
    async def send(request: Request) -> Response:
        """Send an e-mail to one address or up to 50. It is stored when this answers, and goes on by itself."""
        async with bodies.of(request) as body:
            new = parse(NewEmail, body)
            id = uuid7()  # noqa: A001
            to = list(dict.fromkeys(new.to))
            await request.app.state.store.add(id, f"<{id}@{domain}>", to, new.subject, new.body)
        accepted = Accepted(id=id, state="queued").model_dump_json()
        return Response(accepted, 202, {"Location": f"/emails/{id}"}, JSON)

    @app.get("/emails/{id}", responses=responses(404, 422, 503))
    async def email(request: Request, id: UUID) -> Email:
        """Tell how far a mail is. An error of a sent one names the recipients that the server refused."""
        if (found := await request.app.state.store.view(id)) is None:
            raise Problem(404, "unknown-email", "There is no such e-mail.")
        return Email(**found)

    add_probes(app, lambda: app.state.began, lambda: app.state.store.ping())

    add_docs(app)
    return app


def main() -> None:
    try:
        domain = Settings.of().sender.rpartition("@")[2]
    except ValueError as problem:
        sys.exit(str(problem))
    queue = os.environ.get("LEVERET_QUEUE", "leveret.mailer")
    serve(create_app(partial(Store, os.environ.get("DATABASE_URL"), queue), client_of(20), domain))


if __name__ == "__main__":
    main()
