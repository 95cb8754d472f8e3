"""/v1/jobs/{id}/cancel and /v1/queues/{queue}/jobs/{id}/cancel."""

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from msgspec import UNSET, structs

from leveret.jobs import FINAL, State
from leveret.version import is_older
from leveret_producer.catalog import unknown_queue
from leveret_producer.parts import Parts, Serving
from leveret_producer.problems import Refused
from leveret_producer.routes import openapi
from leveret_producer.routes.ids import read_id
from leveret_producer.store.cancels import Wanted
from leveret_producer.views import AcceptedJob, Job, encode

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
            raise unknown_queue(queue, near, kept="Nothing was changed.")
        await parts.cancels.ask([Wanted(wanted, 1, queue)], unseen=True)
        job = await _there(parts, wanted)
    if job.queue != queue:
        detail = f"The job {id} is of the queue {job.queue}, not of {queue[:255]}. Nothing was changed."
        raise Refused("unknown-job", detail)
    return await _cancelled(parts, await _asked(parts, job))


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
