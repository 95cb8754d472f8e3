"""A request's body, up to the limit and no further."""

from starlette.requests import ClientDisconnect, Request

from leveret_producer.problems import Refused
from leveret_producer.submission import MOST_BODY, is_json, too_large

MOST_DISCARDED = 64 << 20  # bytes


async def read_json(request: Request, *, kept: str) -> bytes:
    """Return the body; raise Refused if it isn't said to be JSON, or is compressed, or too large."""
    if not is_json(request.headers.get("content-type")):
        raise Refused("unsupported-media-type", f"Send Content-Type: application/json. {kept}")
    if (coding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
        detail = f"The body is said to be in {coding[:40]!r}; send it as it is, without Content-Encoding. {kept}"
        raise Refused("unsupported-media-type", detail, headers={"Accept-Encoding": "identity"})
    return await _read_body(request)


async def _read_body(request: Request) -> bytes:
    """Return the body; raise Refused if it is too large.

    What is over the limit is read and thrown away, up to 64 MiB, before the refusal is sent: most clients look for an
    answer only once they have sent everything, and a connection closed in the middle shows them a broken pipe instead
    of the problem.
    """
    announced = request.headers.get("content-length", "")
    length = int(announced) if announced.isdecimal() else 0
    if length > MOST_DISCARDED or (length > MOST_BODY and "expect" in request.headers):
        raise too_large()
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MOST_DISCARDED:
                raise too_large()
            if size <= MOST_BODY:
                chunks.append(chunk)
    except ClientDisconnect:
        raise Refused("invalid-json", "The body ended early. Nothing was stored.") from None
    if size > MOST_BODY:
        raise too_large()
    return b"".join(chunks)
