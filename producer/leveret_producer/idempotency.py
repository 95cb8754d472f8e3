"""The header Idempotency-Key: a request that is sent again with its key is stored once, and answered as the first time.

The header is that of draft-ietf-httpapi-idempotency-key-header, whose value is a string in quotes; many clients send it
bare, which is the same key here. A request is the same if it has the same bytes for the same queue.
"""

import hashlib
import re
from collections.abc import Sequence

from leveret_producer.problems import Flaw, Refused
from leveret_producer.slices import Steps
from leveret_producer.store.keys import Key

HEADER, REPLAYED = "Idempotency-Key", "Idempotent-Replayed"
LONGEST = 255  # characters
RETRY_AFTER = 1  # s
# In quotes with two escapes (RFC 9651, 3.3.3), or bare.
QUOTED = r'"([!#-\[\]-~]|\\["\\]){1,255}"'
BARE = r"[!#-~][!-~]{0,254}"
_QUOTED, _BARE = re.compile(QUOTED), re.compile(BARE)
_ESCAPED = re.compile(r"\\(.)")
_AT_ONCE = 1 << 20  # bytes, which take some milliseconds


def read_key(values: Sequence[str]) -> str | None:
    """Return the key that a request's headers of this name have; raise Refused for what is none."""
    if not values:
        return None
    if len(values) > 1:
        raise _refused("it is given twice")
    [value] = values
    if _QUOTED.fullmatch(value):
        return _ESCAPED.sub(r"\1", value[1:-1])
    if _BARE.fullmatch(value):
        return value
    raise _refused(f"its value must be 1 to {LONGEST} visible characters of ASCII, in quotes or without")


def keyed(caller: str, name: str, queue: str, body: bytes) -> Steps[Key]:
    """Make the key of a request, which takes a while if the body is large."""
    request = hashlib.sha256(f"POST {queue}\0".encode(errors="replace"))
    for start in range(0, len(body), _AT_ONCE):
        request.update(memoryview(body)[start : start + _AT_ONCE])
        yield
    hashed = hashlib.sha256(f"{caller}\0{name}".encode()).digest()
    high, low = (int.from_bytes(hashed[at : at + 4], signed=True) for at in (0, 4))
    return Key(caller, name, request.digest(), (high, low))


def in_progress() -> Refused:
    return Refused(
        "request-in-progress",
        f"Another request with this {HEADER} is being stored at this moment; of this one nothing was stored. Send the same "
        "again in a second: if the other was stored, its answer is given.",
        headers={"Retry-After": str(RETRY_AFTER)},
    )


def reused(name: str) -> Refused:
    return Refused(
        "key-reused",
        f"The {HEADER} {name[:60]!r} came with another request within the last 24 hours or so, whose jobs are kept; of this "
        "one nothing was stored. Send a new request with a new key, and with its old key only the same bytes to the same queue.",
        [Flaw(f"/{HEADER}", "was used for another body or another queue")],
    )


def _refused(because: str) -> Refused:
    return Refused("invalid-request", f"{HEADER}: {because}. Nothing was stored.", [Flaw(f"/{HEADER}", because)])
