"""/v1/queues."""

from fastapi import APIRouter
from fastapi.responses import Response

from leveret_producer.catalog import unknown_queue
from leveret_producer.parts import Serving
from leveret_producer.routes import openapi
from leveret_producer.views import QueueList, encode

router = APIRouter(tags=["queues"])
JSON = "application/json"


@router.get("/v1/queues", **openapi.LIST_QUEUES)
async def list_queues(parts: Serving) -> Response:
    """List the queues, by name."""
    return Response(encode(QueueList(await parts.queues.views())), media_type=JSON)


@router.get("/v1/queues/{queue}", **openapi.GET_QUEUE)
async def get_queue(queue: str, parts: Serving) -> Response:
    """Show one queue: what the operator saw last, and its last decisions."""
    view = await parts.queues.view(queue.replace("\0", ""))
    if view is None:
        raise unknown_queue(queue, await parts.queues.named_like(queue))
    return Response(encode(view), media_type=JSON)
