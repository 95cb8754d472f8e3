"""Service A: tasks over HTTP, in a database of its own.

A task is stored with its job in one transaction, and the answer is given then; a relay beside it sends the job. What becomes
of it is reported to A's JobQueues (see `reports`), so a read asks only the database. Run with `python -m
examples.tasks.front`, as often as wanted, after `python -m examples.tasks.migrate`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import FastAPI, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from uuid_utils.compat import uuid7

from examples.fronts.application import application, beside, client_of
from examples.fronts.docs import add_docs
from examples.fronts.problems import JSON, Bodies, Problem, answer, parse, responses
from examples.fronts.serving import add_probes, serve
from examples.tasks.cancel import Canceller
from examples.tasks.progress import MOST_SECONDS, Status
from examples.tasks.store import NotPossible, Store, Task
from leveret.client import AsyncClient
from leveret.client.outbox import Relay

LARGEST_BODY = 16 * 1024
ROOM = 8 * 1024 * 1024  # bytes of bodies at once
MOST_ROWS = 1_000


def _checked(name: str) -> str:
    if "\0" in name:
        raise ValueError("a name has no NUL")
    return name


_NAME = Field(min_length=1, max_length=200, json_schema_extra={"pattern": "^[^\\u0000]*$"})
Name = Annotated[str, AfterValidator(_checked), _NAME]
ABSENT: Any = None  # a field may be left out; null is refused
_STRICT = ConfigDict(extra="forbid", strict=True)


class NewTask(BaseModel):
    model_config = _STRICT
    name: Name
    kind: Literal["cpu", "async"]
    seconds: Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]


class Change(BaseModel):
    model_config = ConfigDict(**_STRICT, json_schema_extra={"minProperties": 1})
    name: Name = ABSENT
    status: Status = Field(default=ABSENT, description="cancelled, or new: a failed or cancelled task runs again")

    @model_validator(mode="after")
    def _changes(self) -> "Change":
        if not self.model_fields_set:
            raise ValueError("name or status is needed")
        return self


class Page(BaseModel):
    tasks: list[Task]
    next: UUID | None


class Listed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    status: Status = ABSENT
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 100
    before: UUID = Field(default=ABSENT, description="`next` of the page before")


async def _not_possible(request: Request, raised: Exception) -> Response:
    assert isinstance(raised, NotPossible)
    can = "One that is new or running can be cancelled, and one that failed or was cancelled can be set to new."
    said = f"The task is {raised.status}. {can} Nothing was changed."
    return answer(request, Problem(409, "not-possible", said, task_status=raised.status))


def _found(task: Task | None) -> Task:
    if task is None:
        raise Problem(404, "unknown-task", "There is no such task.")
    return task


def _body(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)  # Status, which the query has, too
    for one in schema["properties"].values():
        one.pop("default", None)
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}


def create_app(store: Callable[[], Store], leveret: Callable[[], AsyncClient], relay: Any = Relay) -> FastAPI:
    bodies = Bodies(LARGEST_BODY, ROOM)
    kept: Store
    canceller: Canceller
    began: float

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal kept, canceller, began
        kept, began = store(), asyncio.get_running_loop().time()
        async with leveret() as client, relay(kept):
            canceller = Canceller(kept, client)
            async with beside(canceller.run):
                yield
        await kept.close()

    app = application("tasks", lifespan)
    app.add_exception_handler(NotPossible, _not_possible)

    @app.post(
        "/tasks", status_code=201, responses=responses(400, 408, 413, 415, 422, 503), openapi_extra=_body(NewTask)
    )
    async def add(request: Request, response: Response) -> Task:
        """Add a task. It is stored when this answers, and is run by itself."""
        async with bodies.of(request) as body:
            new = parse(NewTask, body)
        task = await kept.add(uuid7(), new.name, new.kind, new.seconds)
        response.headers["Location"] = f"/tasks/{task.id}"
        return task

    @app.get("/tasks", responses=responses(422, 503))
    async def page(request: Request, query: Annotated[Listed, Query()]) -> Page:
        """Return tasks, the newest first. `next` is the `before` of the next page, and null where there is none."""
        if len(request.query_params.multi_items()) > len(request.query_params):
            raise Problem(422, "invalid-request", "A parameter is there twice: give each once.")
        found = await kept.page(query.status, query.before, query.limit + 1)
        tasks = found[: query.limit]
        return Page(tasks=tasks, next=tasks[-1].id if len(found) > query.limit else None)

    @app.get("/tasks/{id}", responses=responses(404, 422, 503))
    async def one(id: UUID) -> Task:
        return _found(await kept.get(id))

    @app.patch("/tasks/{id}", responses=responses(400, 404, 408, 409, 413, 415, 422, 503), openapi_extra=_body(Change))
    async def change(request: Request, id: UUID) -> Task:
        """Rename a task, cancel it, or run it again; all that is asked, or nothing."""
        async with bodies.of(request) as body:
            wanted = parse(Change, body, "Nothing was changed.")
        task = _found(await kept.change(id, wanted.name, wanted.status))
        canceller.woken.set()
        return task

    add_probes(app, lambda: began, lambda: kept.ping())

    add_docs(app)
    return app


def main() -> None:
    queue = os.environ.get("LEVERET_QUEUE", "leveret.tasks")
    serve(create_app(partial(Store, os.environ.get("DATABASE_URL"), queue), client_of(8)))


if __name__ == "__main__":
    main()
