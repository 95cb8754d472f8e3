"""A request's body, up to the limit and no further."""

from starlette.requests import ClientDisconnect, Request

from leveret_producer.problems import Refused
from leveret_producer.submission import MOST_BODY, too_large

MOST_DISCARDED = 64 << 20  # bytes


async def read_body(request: Request) -> bytes:
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
