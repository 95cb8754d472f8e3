"""/v1/queues/{queue}/jobs and /v1/jobs."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from msgspec import UNSET

from leveret_producer.parts import Serving
from leveret_producer.problems import Refused
from leveret_producer.routes import openapi
from leveret_producer.routes.body import json_body
from leveret_producer.routes.ids import read_id
from leveret_producer.routes.listing import cursor, read_wanted
from leveret_producer.store.jobs import NewJob, Place
from leveret_producer.submission import reading
from leveret_producer.views import NOT_ASKED_FOR, Accepted, AcceptedJob, AcceptedList, JobPage, encode, raw

router = APIRouter(tags=["jobs"])
JSON = "application/json"


@router.post("/v1/queues/{queue}/jobs", status_code=202, **openapi.SUBMIT)
async def submit(queue: str, request: Request, parts: Serving) -> Response:
    """Store one job, or a list of them all or none. Once this is answered no job is lost."""
    async with json_body(request, parts, kept="Nothing was stored.") as body:
        asked = await parts.front_door.turns.run(reading(body))
        if isinstance(asked, list):
            stored = await parts.front_door.submit(queue, asked, in_list=True)
            answer = AcceptedList([Accepted(one.job.id, one.state) for one in stored.jobs], stored.warning or UNSET)
            return Response(encode(answer), 202, media_type=JSON)
        stored = await parts.front_door.submit(queue, [asked], in_list=False)
        [one] = stored.jobs
        return Response(encode(_accepted(one, stored.warning)), 202, {"Location": f"/v1/jobs/{one.job.id}"}, JSON)


@router.get("/v1/jobs/{id}", **openapi.GET_JOB)
async def get_job(id: str, parts: Serving) -> Response:
    """Show one job with its payload, result and attempts."""
    job = await parts.jobs.get(read_id(id, "a job's id"))
    if job is None:
        raise Refused("unknown-job", f"There is no job {id}. It was never accepted here, or its retention is over.")
    return Response(encode(job), media_type=JSON)


@router.get("/v1/jobs", **openapi.LIST_JOBS)
async def list_jobs(request: Request, parts: Serving) -> Response:
    """List jobs, newest first, without payloads and results."""
    wanted = read_wanted(request.query_params)
    page = await parts.jobs.page(wanted)
    last = page[-1] if len(page) == wanted.limit else None
    follows = cursor(Place(last.created_at, last.id)) if last else None
    return Response(encode(JobPage(page, follows)), media_type=JSON)


def _accepted(new: NewJob, warning: str | None) -> AcceptedJob:
    """A job as it was stored a moment ago."""
    nothing: dict[str, Any] = dict.fromkeys(
        ("result", "error", "progress", "started_at", "finished_at", "correlation_id"), None
    )
    job = new.job
    assert job.submitted_at is not None
    return AcceptedJob(
        id=job.id,
        queue=job.queue,
        type=job.type,
        state=new.state,
        payload=raw(job.body.decode()),
        attempt=0,
        max_attempts=new.max_attempts,
        generation=job.generation,
        attempts=[],
        created_at=job.submitted_at,
        run_at=new.run_at,
        warning=warning or UNSET,
        **nothing,
        **NOT_ASKED_FOR,
    )
