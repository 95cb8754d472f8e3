"""What a connection may send, and the words for who sends something else."""

from leveret_producer.http.pace import BODY, FIRST_BYTE, HEAD, LEAST_RATE, Part
from leveret_producer.problems import Refused

MOST_HEAD = 32 << 10  # bytes of the request's line and headers, and again of a chunked body's trailer and framing
MOST_FRAMING = 8  # bytes more of that for each byte of the body: clients may send it by the byte


def malformed() -> Refused:
    return Refused("malformed-request", "This is not HTTP/1.1 as RFC 9112 has it; nothing of it was stored.")


def too_large() -> Refused:
    return Refused(
        "header-too-large",
        f"The request's line and headers may have {MOST_HEAD >> 10} KiB, and so may the trailer and the framing of a chunked "
        f"body, which may have {MOST_FRAMING} bytes more for each byte of the body; nothing of it was stored.",
    )


def too_slow(part: Part) -> Refused:
    within = f"its headers within {HEAD:.0f} s"
    if part is Part.BODY:
        within = f"its body within {BODY:.0f} s and one more for each {LEAST_RATE >> 10} KiB"
    return Refused(
        "request-timeout",
        f"A request has to come with {within} (and its first byte within {FIRST_BYTE:.0f} s); nothing of it was stored. "
        "Send it again.",
    )
