"""/healthz and /readyz."""

from fastapi import APIRouter
from fastapi.responses import Response

from leveret_producer.parts import Anyhow
from leveret_producer.routes import openapi
from leveret_producer.views import encode

router = APIRouter(tags=["health"])
JSON = "application/json"


@router.get("/healthz", **openapi.HEALTHZ)
async def healthz() -> Response:
    """Answer: the loop that turns for requests turns."""
    return Response(encode({"ok": True}), media_type=JSON)


@router.get("/readyz", **openapi.READYZ)
async def readyz(parts: Anyhow) -> Response:
    """Tell whether requests may be sent here, and what is the matter with database and broker."""
    relay = parts.relay
    looks_fail_for = relay.looks.failing_for(relay.clock())
    ready = parts.health.report(parts.trouble(), broker_alarm=relay.alarm.raised, looks_fail_for=looks_fail_for)
    return Response(encode(ready), 200 if ready.ok else 503, media_type=JSON)
