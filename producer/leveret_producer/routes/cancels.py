"""/v1/jobs/{id}/cancel, /v1/queues/{queue}/jobs[/{id}]/cancel and /v1/queues/{queue}/operations."""

from urllib.parse import quote
from uuid import UUID

import uuid_utils.compat
from fastapi import APIRouter, Request
from fastapi.responses import Response
from msgspec import UNSET, structs

from leveret.jobs import FINAL, State
from leveret.version import is_older
from leveret_producer.cancels.selection import read_selection
from leveret_producer.catalog import unknown_queue
from leveret_producer.parts import Parts, Serving
from leveret_producer.problems import Refused
from leveret_producer.routes import openapi
from leveret_producer.routes.body import json_body
from leveret_producer.routes.ids import read_id
from leveret_producer.selection import KEPT
from leveret_producer.store.cancels import Wanted
from leveret_producer.views import AcceptedJob, BegunCancel, Job, encode

router = APIRouter(tags=["jobs"])
JSON = "application/json"
HEEDED_SINCE = "0.2.0"  # by consumers


@router.post("/v1/jobs/{id}/cancel", status_code=202, **openapi.CANCEL)
async def cancel(id: str, parts: Serving) -> Response:
    """Have a job cancelled. It is at once where it waits in the store; else as soon as its consumer has ended it."""
    wanted = read_id(id, "a job's id")
    job = await parts.jobs.get(wanted)
    if job is None:
        raise Refused(
            "unknown-job",
            f"There is no job {id}. One that was published over AMQP and is not recorded yet is cancelled at "
            f"/v1/queues/{{queue}}/jobs/{id}/cancel. Nothing was changed.",
        )
    return await _cancelled(parts, await _asked(parts, job))


@router.post("/v1/queues/{queue}/jobs/{id}/cancel", status_code=202, **openapi.CANCEL_OF_QUEUE)
async def cancel_of_queue(queue: str, id: str, parts: Serving) -> Response:
    """The same, also for a job that nothing is known of yet: a message of it may be on its way."""
    wanted = read_id(id, "a job's id")
    job = await parts.jobs.get(wanted)
    if job is None:
        near = await parts.queues.named_like(queue)
        if queue not in near:
            raise unknown_queue(queue, near, kept=KEPT)
        await parts.cancels.ask([Wanted(wanted, 1, queue)], unseen=True)
        job = await _there(parts, wanted)
    if job.queue != queue:
        detail = f"The job {id} is of the queue {job.queue}, not of {queue[:255]}. Nothing was changed."
        raise Refused("unknown-job", detail)
    return await _cancelled(parts, await _asked(parts, job))


@router.post("/v1/queues/{queue}/jobs/cancel", status_code=202, **openapi.CANCEL_JOBS)
async def cancel_jobs(queue: str, request: Request, parts: Serving) -> Response:
    """Have jobs of a queue cancelled, of those that are stored and have not ended. What comes later is left alone."""
    async with json_body(request, parts, kept=KEPT) as body:
        selection = read_selection(body)
    near = await parts.queues.named_like(queue)
    if queue not in near and ("\0" in queue or not await parts.jobs.had_by(queue)):
        raise unknown_queue(queue, near, kept=KEPT)
    made = await parts.operations.create(uuid_utils.compat.uuid7(), queue, "cancel", selection)
    parts.worker.wake()
    told = await _warning(parts, queue)
    answer = BegunCancel(**structs.asdict(made), warning=told or UNSET)
    location = f"/v1/queues/{quote(queue, safe='')}/operations/{made.id}"
    return Response(encode(answer), 202, {"Location": location}, JSON)


@router.get("/v1/queues/{queue}/operations/{id}", **openapi.GET_OPERATION)
async def get_operation(queue: str, id: str, parts: Serving) -> Response:
    """Show how far it is."""
    found = await parts.operations.get(queue.replace("\0", ""), read_id(id, "an operation's id"))
    if found is None:
        raise Refused("not-found", f"There is no operation {id} on jobs of {queue[:255]!r}, or its retention is over.")
    return Response(encode(found), media_type=JSON)


async def _asked(parts: Parts, job: Job) -> Job:
    """Return the job once its cancel is stored, or once it has ended; it may be redriven meanwhile."""
    while job.state not in FINAL:
        noted = await parts.cancels.ask([Wanted(job.id, job.generation, job.queue)], unseen=False)
        parts.metrics.cancelled(noted.ended)
        job = await _there(parts, job.id)
        if job.cancel_requested_at is not None:
            break
    return job


async def _there(parts: Parts, id: UUID) -> Job:
    job = await parts.jobs.get(id)
    if job is None:
        raise Refused("unknown-job", f"The job {id} was removed just now: its retention is over.")
    return job


async def _cancelled(parts: Parts, job: Job) -> Response:
    if job.state in FINAL and job.state is not State.CANCELLED:
        detail = f"The job {job.id} has ended: it is {job.state}. GET /v1/jobs/{job.id} shows it. Nothing was changed."
        raise Refused("job-finished", detail)
    told = None if job.state in FINAL else await _warning(parts, job.queue)
    answer = AcceptedJob(**structs.asdict(job), warning=told or UNSET)
    return Response(encode(answer), 202, {"Location": f"/v1/jobs/{job.id}"}, JSON)


async def _warning(parts: Parts, queue: str) -> str | None:
    """Say that the consumers of a queue, some of them at least, don't heed a cancel; None where they do, or none is heard."""
    view = await parts.queues.view(queue)
    if view is None or view.leveret_version is None or not is_older(view.leveret_version, HEEDED_SINCE):
        return None
    return (
        f"Consumers of {queue} run Leveret {view.leveret_version}, and only those of {HEEDED_SINCE} or later heed a cancel: "
        "until all do, the job may run to its end. The cancel is kept, and holds for consumers that start later."
    )
