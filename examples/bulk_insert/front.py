"""The front of bulk_insert: inserts as jobs, their state from Leveret, and their rows from the database they are in.

Everything is a GET, as the people who ask know it, so each of them may be followed by mistake: nothing here is cached, and the
page of the example says what to do instead. Run with `python -m examples.bulk_insert.front`, as often as wanted.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from examples.bulk_insert.limits import DEFAULT, Rows
from examples.bulk_insert.store import Store
from examples.fronts.application import application, beside, client_of
from examples.fronts.database import Away
from examples.fronts.docs import add_docs
from examples.fronts.problems import Problem, answer, responses
from examples.fronts.serving import add_probes, serve
from leveret.client import AsyncClient, LeveretError, Refused, TimedOut, UnknownJob

TYPE = "insert-rows"
WAIT_SECONDS = 300.0  # for a blocking insert
LOOK_EVERY = 5.0  # s between looks whether the tables are there


def _digits(text: object) -> object:
    if isinstance(text, str) and not (text.isascii() and text.isdecimal()):
        raise ValueError("a number is written in digits")
    return text


N = Annotated[Rows, BeforeValidator(_digits)]


class Listed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    limit: Annotated[int, BeforeValidator(_digits), Field(ge=0, le=10_000)] = 1_000
    offset: Annotated[int, BeforeValidator(_digits), Field(ge=0, lt=2**63)] = 0


class Status(BaseModel):
    """`state` is the job's, and `rows` what is committed of it: 0 or n."""

    id: UUID
    state: str
    rows: int


async def _refused(request: Request, raised: Exception) -> Response:
    """Return what is said where Leveret is away, or refuses."""
    assert isinstance(raised, LeveretError)
    if isinstance(raised, UnknownJob):
        return answer(request, Problem(404, "unknown-insert", "There is no such insert (any more)."))
    kept = "Nothing was done" if raised.stored == "no" else "It is not known whether it was done"
    said = f"Leveret does not do it now: {str(raised.args[0]).rstrip('.')}. {kept}: ask again."
    return answer(request, Problem(503, "unavailable", said))


def create_app(
    store: Callable[[], Store], leveret: Callable[[], AsyncClient], queue: str, *, wait: float = WAIT_SECONDS
) -> FastAPI:
    kept: Store
    client: AsyncClient
    began: float

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal kept, client, began
        kept, began = store(), asyncio.get_running_loop().time()
        async with leveret() as client, beside(make_tables):
            yield
        await kept.close()

    async def make_tables() -> None:
        """Have them made where the database comes late: consumers need them, whether or not somebody asks here."""
        while True:
            with suppress(Away):
                await kept.ping()
            await asyncio.sleep(LOOK_EVERY)

    async def status_of(id: UUID) -> Status:
        """Ask for the state first: rows that are counted after a job has ended are what it has left."""
        job = await client.get(id)
        if job.queue != queue:
            raise Problem(404, "unknown-insert", "There is no such insert.")
        return Status(id=id, state=job.state, rows=await kept.count_of(id))

    def not_kept(response: Response) -> None:
        response.headers["Cache-Control"] = "no-store"

    app = application("bulk-insert", lifespan)
    app.router.dependencies.append(Depends(not_kept))
    app.add_exception_handler(LeveretError, _refused)

    @app.get("/", responses=responses(503))
    async def welcome() -> dict[str, str]:
        """Say what there is."""
        return {"message": f"/insert/{{n}} inserts n rows, {DEFAULT:,} without n. /docs tells the rest."}

    @app.get("/insert", status_code=202, responses=responses(503))
    @app.get("/insert/{n}", status_code=202, responses=responses(422, 503))
    async def insert(n: N = DEFAULT) -> dict[str, UUID]:
        """Insert n rows in one transaction: all of them, or none."""
        return {"id": (await client.submit(queue, TYPE, {"rows": n})).id}

    @app.get("/dpd_insert", deprecated=True, responses=responses(503, 504))
    @app.get("/dpd_insert/{n}", deprecated=True, responses=responses(422, 503, 504))
    async def insert_and_wait(n: N = DEFAULT) -> Status:
        """Insert n rows, and wait for the end: instead, insert and look at the status."""
        id = (await client.submit(queue, TYPE, {"rows": n})).id  # noqa: A001
        try:
            await client.wait(id, wait)
        except TimedOut:
            said = f"The insert has not ended within {wait:g} s. It goes on: /status/{id} tells how it ends."
            raise Problem(504, "gateway-timeout", said, id=str(id)) from None
        return await status_of(id)

    @app.get("/status/{id}", responses=responses(404, 422, 503))
    async def status(id: UUID) -> Status:
        return await status_of(id)

    @app.get("/stop/{id}", status_code=202, responses=responses(404, 422, 503))
    async def stop(id: UUID) -> Status:
        """Stop an insert and roll it back, unless it has ended before; its status tells which."""
        await status_of(id)  # a job of another queue is none of ours
        try:
            await client.cancel(id)
        except Refused as refused:
            if refused.slug != "job-finished":
                raise
        return await status_of(id)

    @app.get("/get_data", responses=responses(422, 503))
    async def data(query: Annotated[Listed, Query()]) -> dict[str, list[dict[str, Any]]]:
        """Return rows, the oldest insert's first."""
        return {"rows": await kept.page(query.limit, query.offset)}

    @app.get("/get_data/count", responses=responses(503))
    async def count() -> dict[str, int]:
        return {"count": await kept.count()}

    @app.get("/delete_all", responses=responses(503))
    async def delete_all() -> dict[str, int]:
        """Delete the rows that are committed; an insert that goes on is not stopped by it, and its rows come after it."""
        try:
            return {"deleted": await kept.delete_all()}
        except Away as away:
            done = "Nothing was deleted" if away.stored == "no" else "All rows were deleted, or none"
            raise Problem(503, "unavailable", f"The database does not answer. {done}: ask again.") from away

    add_probes(app, lambda: began, lambda: kept.ping())
    add_docs(app)
    return app


def main() -> None:
    queue = os.environ.get("LEVERET_QUEUE", "leveret.bulk-insert")
    serve(create_app(partial(Store, os.environ.get("DATABASE_URL")), client_of(20), queue))


if __name__ == "__main__":
    main()
