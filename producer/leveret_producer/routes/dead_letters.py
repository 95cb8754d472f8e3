"""/v1/queues/{queue}/dead-letters."""

from urllib.parse import quote

import uuid_utils.compat
from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from leveret_producer.catalog import unknown_queue
from leveret_producer.dead_letters.selection import read_selection
from leveret_producer.parts import Parts, Serving
from leveret_producer.problems import Refused
from leveret_producer.routes import openapi
from leveret_producer.routes.body import json_body
from leveret_producer.routes.dead_letter_query import read_query
from leveret_producer.routes.ids import read_id
from leveret_producer.routes.listing import cursor
from leveret_producer.store.dead_letters import NoDeadLetter
from leveret_producer.store.listing import Place
from leveret_producer.views import DeadLetterPage, encode

router = APIRouter(tags=["dead letters"])
JSON = "application/json"
PATH = "/v1/queues/{queue}/dead-letters"


@router.get(PATH, **openapi.LIST_DEAD_LETTERS)
async def list_dead_letters(queue: str, request: Request, parts: Serving) -> Response:
    """List the dead letters of a queue, those that died last first, without payloads."""
    wanted = read_query(queue, request.query_params)
    await _check_queue(queue, parts)
    page = await parts.dead_letters.page(wanted)
    last = page[-1] if len(page) == wanted.limit else None
    follows = cursor(Place(last.died_at, last.id)) if last else None
    return Response(encode(DeadLetterPage(page, follows)), media_type=JSON)


@router.get(PATH + "/{id}", **openapi.GET_DEAD_LETTER)
async def get_dead_letter(queue: str, id: str, parts: Serving) -> Response:
    """Show one dead letter with its payload, its error and its attempts."""
    if id in ("redrive", "purge"):  # paths of their own, which take POST
        raise HTTPException(405)
    await _check_queue(queue, parts)
    found = await parts.dead_letters.get(read_id(id, "a job's id"))
    if found is None:
        raise Refused("unknown-job", f"There is no job {id}. It was never known here, or its retention is over.")
    if isinstance(found, NoDeadLetter):
        raise Refused("unknown-job", _what_it_is(id, found))
    if found.queue != queue:
        raise Refused("unknown-job", f"The dead letter {id} is of the queue {found.queue}, not of {queue}.")
    return Response(encode(found), media_type=JSON)


@router.post(PATH + "/redrive", status_code=202, **openapi.REDRIVE)
async def redrive(queue: str, request: Request, parts: Serving) -> Response:
    """Have dead letters run again, from their first attempt on. What dies after this was asked for is left alone."""
    return await _begin("redrive", queue, request, parts)


@router.post(PATH + "/purge", status_code=202, **openapi.PURGE)
async def purge(queue: str, request: Request, parts: Serving) -> Response:
    """Put dead letters away for good; the jobs stay dead, and are shown as such. What dies later is left alone."""
    return await _begin("purge", queue, request, parts)


@router.get(PATH + "/operations/{id}", **openapi.GET_OPERATION)
async def get_operation(queue: str, id: str, parts: Serving) -> Response:
    """Show how far a redrive or a purge is."""
    found = await parts.operations.get(queue.replace("\0", ""), read_id(id, "an operation's id"))
    if found is None:
        detail = f"There is no operation {id} on the dead letters of {queue[:255]!r}, or its retention is over."
        raise Refused("not-found", detail)
    return Response(encode(found), media_type=JSON)


async def _begin(action: str, queue: str, request: Request, parts: Parts) -> Response:
    async with json_body(request, parts, kept="Nothing was changed.") as body:
        selection = read_selection(body)
    await _check_queue(queue, parts, kept="Nothing was changed.", needs_jobqueue=action == "redrive")
    made = await parts.operations.create(uuid_utils.compat.uuid7(), queue, action, selection)
    parts.worker.wake()
    location = f"/v1/queues/{quote(queue, safe='')}/dead-letters/operations/{made.id}"
    return Response(encode(made), 202, {"Location": location}, JSON)


async def _check_queue(queue: str, parts: Parts, *, kept: str = "", needs_jobqueue: bool = False) -> None:
    """Raise Refused for a queue that nobody knows. Dead letters outlive their JobQueue."""
    near = await parts.queues.named_like(queue)
    if queue in near:
        return
    if "\0" in queue or not await parts.dead_letters.had_by(queue):
        raise unknown_queue(queue, near, kept=kept)
    if needs_jobqueue:
        raise Refused(
            "unknown-queue",
            f"No JobQueue has the queue {queue!r} any more, so what is redriven would be a dead letter again. Its dead "
            "letters are kept, nothing was changed. Apply the JobQueue again, and redrive them a moment after.",
        )


def _what_it_is(id: str, job: NoDeadLetter) -> str:
    what = "it was purged, or a reply told that its deadline had passed" if job.purged else f"it is {job.state}"
    return f"The job {id} is no dead letter: {what}. GET /v1/jobs/{id} shows it."
