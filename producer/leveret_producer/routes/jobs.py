"""/v1/queues/{queue}/jobs and /v1/jobs."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from msgspec import UNSET
from starlette.exceptions import HTTPException

from leveret_producer.access.token import CALLER
from leveret_producer.idempotency import HEADER, REPLAYED, keyed, read_key
from leveret_producer.parts import Serving
from leveret_producer.problems import Refused
from leveret_producer.routes import openapi
from leveret_producer.routes.body import json_body
from leveret_producer.routes.ids import read_id
from leveret_producer.routes.listing import cursor, read_wanted
from leveret_producer.store.jobs import NewJob
from leveret_producer.store.listing import Place
from leveret_producer.submission import reading
from leveret_producer.submit import Stored
from leveret_producer.views import NOT_ASKED_FOR, Accepted, AcceptedJob, AcceptedList, JobPage, encode, raw

router = APIRouter(tags=["jobs"])
JSON = "application/json"


@router.post("/v1/queues/{queue}/jobs", status_code=202, **openapi.SUBMIT)
async def submit(queue: str, request: Request, parts: Serving) -> Response:
    """Store one job, or a list of them all or none. Once this is answered no job is lost."""
    name = read_key(request.headers.getlist(HEADER))
    async with json_body(request, parts, kept="Nothing was stored.") as body:
        front_door = parts.front_door
        asked = await front_door.slices.run(reading(body))
        key = None if name is None else await front_door.slices.run(keyed(CALLER, name, queue, body))
        if isinstance(asked, list):
            stored = await front_door.submit(queue, asked, in_list=True, key=key)
            jobs = AcceptedList([Accepted(one.job.id, one.state) for one in stored.jobs], stored.warning or UNSET)
            return Response(encode(jobs), 202, _told(stored), JSON)
        stored = await front_door.submit(queue, [asked], in_list=False, key=key)
        [one] = stored.jobs
        headers = {"Location": f"/v1/jobs/{one.job.id}", **_told(stored)}
        if one.there and (before := await parts.jobs.get(one.job.id)):
            return Response(encode(before), 202, headers, JSON)
        return Response(encode(_accepted(one, stored.warning)), 202, headers, JSON)


def _told(stored: Stored) -> dict[str, str]:
    return {REPLAYED: "true"} if stored.before else {}


@router.get("/v1/jobs/{id}", **openapi.GET_JOB)
async def get_job(id: str, parts: Serving) -> Response:
    """Show one job with its payload, result and attempts."""
    if id == "get":  # a path of its own, which takes POST
        raise HTTPException(405)
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
        ("result", "error", "progress", "started_at", "finished_at", "correlation_id", "cancel_requested_at"), None
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
        deadline=job.deadline,
        warning=warning or UNSET,
        **nothing,
        **NOT_ASKED_FOR,
    )
