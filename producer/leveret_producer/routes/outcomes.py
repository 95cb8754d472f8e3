"""/v1/jobs/get: what became of many jobs.

Every job that is known is in the answer, however large that becomes: it is sent as it is read, a part at a time. If the
database goes away within, the connection is cut, so that nobody takes a part for all.
"""

from collections.abc import AsyncIterator

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from leveret_producer.outcomes import KEPT, OutcomeList, read_ids
from leveret_producer.parts import Serving
from leveret_producer.problems import CutOff
from leveret_producer.routes import openapi
from leveret_producer.routes.body import json_body
from leveret_producer.store.outcomes import Outcomes, Part
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain
from leveret_producer.views import encode

log = structlog.get_logger(__name__)

router = APIRouter(tags=["jobs"])
JSON = "application/json"


@router.post("/v1/jobs/get", **openapi.GET_JOBS)
async def get_jobs(request: Request, parts: Serving) -> Response:
    """Show state, result and error of many jobs. Ids that nobody knows are left out."""
    async with json_body(request, parts, kept=KEPT) as body:
        ids = read_ids(body)
    part = await parts.outcomes.part(ids)
    if not part.rest:
        return Response(encode(OutcomeList(part.jobs)), media_type=JSON)
    return StreamingResponse(_pieces(part, parts.outcomes), media_type=JSON)


async def _pieces(part: Part, outcomes: Outcomes) -> AsyncIterator[bytes]:
    yield encode(OutcomeList(part.jobs)).removesuffix(b"]}")
    while part.rest:
        try:
            part = await outcomes.part(part.rest)
        except (DatabaseUnavailable, TryAgain) as problem:
            log.warning("the database went away within an answer, which is cut", because=str(problem))
            raise CutOff from None
        yield b"".join(b"," + encode(one) for one in part.jobs)
    yield b"]}"
