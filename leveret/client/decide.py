"""What an answer means: it is the one, the request is tried again after a wait, or it has failed.

Tried again is what may go better: 429, 503, a connection that broke, a proxy's 502 and 504, the 409 that says that an
earlier try is still at work, and a 401 whose token has been changed since. Each try of a submit has the same idempotency
key, so that none is stored twice. Nothing else is tried again. The clock and the draw are arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from leveret.client.errors import LeveretError, NotUnderstood, Problem, Stored, Unavailable, refused

_LONGEST_HINT = 86_400.0  # s of a Retry-After
_WHOLE = 9  # digits: the most that is read as seconds
_PROXIES = {502, 504}
_SAID = 300  # characters of what went wrong


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often a request is tried; seconds."""

    timeout: float = 60.0  # all tries of one request together
    attempts: int = 20
    first: float = 0.1  # wait before try n + 1: drawn evenly from 0 … min(longest, first × 2^(n − 1))
    longest: float = 5.0
    one_try: float = 30.0  # until an answer begins, and between its parts

    def __post_init__(self) -> None:
        if not (self.timeout > 0 and self.attempts >= 1 and self.first > 0 and self.longest > 0 and self.one_try > 0):
            raise ValueError("a Patience has times above 0, and at least one attempt")

    def wait(self, attempt: int, draw: float) -> float:
        return draw * min(self.longest, self.first * 2.0 ** min(attempt - 1, 60))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    at: datetime  # when it came
    token_changed: bool = False  # there is another one than that it was asked with


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer came."""

    said: str
    sent: bool = True  # whether the request may have arrived
    hopeless: bool = False  # as a certificate that nobody vouches for


@dataclass(frozen=True, slots=True)
class Again:
    wait: float  # s
    stored: Stored


@dataclass(frozen=True, slots=True)
class Tries:
    """Where a request stands."""

    attempt: int  # 1…
    left: float  # s
    stored: Stored = "no"  # "unknown" once an earlier try may have been


def judge(heard: Answer | Lost, tries: Tries, patience: Patience, draw: float) -> bytes | Again | LeveretError:
    """Return the body of a good answer, when to try again, or what it has come to; `draw` is even in 0 … 1."""
    if isinstance(heard, Lost):
        stored: Stored = "unknown" if heard.sent else tries.stored
        error: LeveretError = _away(f"Leveret's API does not answer: {heard.said[:_SAID]}", lasting=heard.hopeless)
        hint, later = None, not heard.hopeless
    elif 200 <= heard.status < 300:
        return heard.body
    else:
        error, later = _meaning(heard)
        stored = "unknown" if "unknown" in (tries.stored, error.stored) else "no"
        hint = None if heard.token_changed else retry_after(heard)
    error.stored = stored
    if not later:
        return error
    wait = (hint or 0.0) + patience.wait(tries.attempt, draw)
    return error if tries.attempt >= patience.attempts or wait >= tries.left else Again(wait, stored)


def _meaning(answer: Answer) -> tuple[LeveretError, bool]:
    """Return what the answer means as an error, and whether it may go better later."""
    problem = _problem(answer)
    said = f"the API answers {answer.status} {problem.slug}: {problem.detail}".rstrip(".: ")
    if answer.status == 503 or answer.status in _PROXIES or problem.slug == "request-in-progress":
        away = Unavailable(said)
        away.stored = "no" if problem.stored == "no" or problem.slug in ("overloaded", "outbox-full") else "unknown"
        return away, True
    if answer.status >= 500:
        broken = _away(said, lasting=True)
        broken.stored = "unknown"
        return broken, False
    if answer.status < 400:
        where = answer.headers.get("location", "")[:_SAID]
        return NotUnderstood(f"{said} to {where}; redirects are not followed: name the API's own URL"), False
    return refused(problem), answer.status == 429 or answer.token_changed


def _away(said: str, *, lasting: bool) -> Unavailable:
    error = Unavailable(said)
    error.lasting = lasting
    return error


def _problem(answer: Answer) -> Problem:
    try:
        found = msgspec.json.decode(answer.body, type=Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = Problem(detail=f"no problem document, but {answer.body[:_SAID].decode(errors='replace')!r}")
    return msgspec.structs.replace(found, status=answer.status)


def retry_after(answer: Answer) -> float | None:
    """Return the seconds that the answer asks to wait, from a number or a date; None if it doesn't or can't be read."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[-_WHOLE:]) if len(text) <= _WHOLE else _LONGEST_HINT, _LONGEST_HINT)
    until, now = _date(text), _date(answer.headers.get("date", "")) or answer.at
    return None if until is None else min(max((until - now).total_seconds(), 0.0), _LONGEST_HINT)


def _date(text: str) -> datetime | None:
    from email.utils import parsedate_to_datetime  # a tenth of the time in which all of this is loaded

    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
