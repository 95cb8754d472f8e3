"""What decides in mailer: what a server's answer means, when a server is left alone, who is asked first, and how long to wait.

Pure: clocks are arguments, seconds of any one clock. SMTP can't be exactly once: a server that took a mail says so after
the dot that ends it, and if that answer is lost, nobody knows. Only then a mail is in doubt; whatever went wrong before is
a plain try.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Protocol, TypeVar

FAILURES = 3  # in a row open a breaker
FIRST_OPEN, LONGEST_OPEN = 10.0, 120.0  # s
LONGEST_TRIAL = 60.0  # s, for one mail through a breaker that was open
LONGEST_WAIT = 300.0  # s, between two tries
OWN_FAULTS = frozenset(
    {*range(500, 505), 530, 534, 535, 538}
)  # of syntax, order and authentication: ours, not a recipient's


class Stage(StrEnum):
    """How far the talk with a server has come: what it is to answer."""

    CONNECT = "the connection"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    DOT = "the mail's end"


class Meaning(Enum):
    SENT = "it is the server's now"
    LATER = "the server works, and asks for another try"
    REFUSED = "no try would do better"
    DOWN = "the server does not work for us, and surely has not taken it"
    DOUBT = "the server may have taken it"


def meaning(stage: Stage, code: int | None) -> Meaning:
    """Return what an answer means at a stage; None: the line was lost, or there was no answer in time."""
    if stage is Stage.DOT and code is not None and 200 <= code < 300:
        return Meaning.SENT
    if code is None or not 400 <= code < 600:  # no answer, or one that is none
        return Meaning.DOUBT if stage is Stage.DOT else Meaning.DOWN
    if code == 421 or code in OWN_FAULTS or stage not in (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT):
        return Meaning.DOWN
    if code < 500:
        return Meaning.LATER
    return Meaning.DOWN if stage is Stage.MAIL else Meaning.REFUSED  # another server may know our sender


@dataclass(frozen=True, slots=True)
class Breaker:
    """Whether a server is asked: not for a while after failures in a row, then by one mail at a time until one works."""

    failures: int = 0
    until: float = 0.0  # while it is open, or a trial goes on
    trial: bool = False

    def ask(self, now: float) -> "Breaker | None":
        """Return what it is while a mail tries the server; None: it may not."""
        if self.failures < FAILURES:
            return self
        return None if now < self.until else replace(self, until=now + LONGEST_TRIAL, trial=True)

    def failed(self, now: float) -> "Breaker":
        if self.failures >= FAILURES and not self.trial:
            return self  # of a talk that began before it opened: told already
        failures = self.failures + 1
        if failures < FAILURES:
            return Breaker(failures)
        return Breaker(failures, now + min(FIRST_OPEN * 2.0 ** min(failures - FAILURES, 10), LONGEST_OPEN))


class Limited(Protocol):
    @property
    def rate(self) -> float: ...
    @property
    def burst(self) -> int: ...


B = TypeVar("B")


def spacing(limit: Limited) -> tuple[float, float]:
    """Return the two times of GCRA, in seconds: between mails, and how far ahead of its time a mail may go.

    A mail that comes at `now` moves the theoretical time to max(it, now) + the first, and goes at max(now, that − the second).
    So in any window of w seconds at most rate × w + burst mails go.
    """
    return 1 / limit.rate, limit.burst / limit.rate


def in_order(backends: Sequence[B], deferred: int) -> list[B]:
    """Return whom to ask, in that order: as preferred; every two times that a mail was deferred the next one begins.

    A server that greylists wants to be asked again; one whose disk is full would answer so for ever.
    """
    first = deferred // 2 % len(backends) if backends else 0
    return [*backends[first:], *backends[:first]]


def wait_before(attempt: int, first: float) -> float:
    """Return how long to wait after a try, 1…, that failed."""
    return min(first * 2.0 ** min(attempt - 1, 20), LONGEST_WAIT)
