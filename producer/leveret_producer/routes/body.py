"""A request's body, up to the limit and no further."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from leveret_producer.in_flight import Share, overloaded
from leveret_producer.parts import Parts
from leveret_producer.problems import Refused, reads
from leveret_producer.submission import MOST_BODY, is_json, too_large

MOST_DISCARDED = 64 << 20  # bytes


@asynccontextmanager
async def json_body(request: Request, parts: Parts, *, kept: str) -> AsyncIterator[bytes]:
    """Give the body, which counts as in flight to the end of the block.

    Raise Refused if it isn't said to be JSON, or is compressed, or too large, or if too much is in flight.
    """
    if not is_json(request.headers.get("content-type")):
        raise Refused("unsupported-media-type", f"Send Content-Type: application/json. {kept}")
    if (coding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
        detail = f"The body is said to be in {coding[:40]!r}; send it as it is, without Content-Encoding. {kept}"
        raise Refused("unsupported-media-type", detail, headers={"Accept-Encoding": "identity"})
    with parts.front_door.in_flight.share() as share:
        yield await _read_body(request, share, kept)


async def _read_body(request: Request, share: Share, kept: str) -> bytes:
    """Return the body; raise Refused if there is no room for it.

    What is refused is read and thrown away, up to 64 MiB, before the refusal is sent: most clients look for an answer
    only once they have sent everything, and a connection closed in the middle shows them a broken pipe instead of the
    problem.
    """
    announced = request.headers.get("content-length", "")
    length = int(announced) if announced.isdecimal() else 0
    if length > MOST_DISCARDED or (length > MOST_BODY and "expect" in request.headers):
        raise too_large()
    body, size, refused = bytearray(), 0, None
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MOST_DISCARDED:
                raise too_large()
            if size > MOST_BODY:
                refused = too_large()
            elif refused is None and not share.add(len(chunk)):
                refused = overloaded(kept, reads=reads(request))
            if refused is None:
                body += chunk
            elif body:
                body = bytearray()
                share.give_back()
    except ClientDisconnect:
        raise Refused("invalid-json", f"The body ended early. {kept}") from None
    if refused is not None:
        raise refused
    return bytes(body)
