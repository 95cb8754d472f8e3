"""What can become of a request other than its answer. Each message says what happened, what was kept and what to do."""

from collections.abc import Mapping, Sequence
from typing import Literal
from uuid import UUID

import msgspec

from leveret.client.values import JobResult, Submitted

PROBLEMS = "https://leveret.dev/problems/"
Stored = Literal["no", "unknown"]


class Flaw(msgspec.Struct, frozen=True):
    pointer: str = ""
    detail: str = ""


class Problem(msgspec.Struct, frozen=True):
    """A problem document, as the API answers with (RFC 9457)."""

    type: str = ""
    title: str = ""
    status: int = 0
    detail: str = ""
    errors: tuple[Flaw, ...] = ()
    stored: str | None = None

    @property
    def slug(self) -> str:
        return self.type.removeprefix(PROBLEMS)


class LeveretError(Exception):
    """All that a client raises on its own account."""

    stored: Stored = "no"  # of what this request brought; "unknown" if an answer was lost on its way
    key: str | None = None  # of a submit that failed: with it the same may be submitted again, and is stored once
    submitted: tuple[Submitted, ...] = ()  # of a list that took several requests: what those before stored


class NotConfigured(LeveretError):
    """There is no URL or no token, or one that can't be used."""


class Unsendable(LeveretError):
    """What was handed over can't be written as a request; nothing was sent."""


class Closed(LeveretError):
    """The client was closed before."""


class NotUnderstood(LeveretError):
    """What answered is no API of Leveret, as a proxy's page."""


class Unavailable(LeveretError):
    """No answer that helps in the time there was: connections that break, or 503."""

    lasting = False  # whether no later try would have helped: a 500, or a certificate that isn't trusted

    def __str__(self) -> str:
        said = super().__str__()
        if self.key is None:
            return f"{said}. Jobs go on" if self.stored == "no" else f"{said}. It may be done or not; do it again"
        if self.stored == "no":
            return f"{said}. Nothing of it was stored; submit it again later"
        return f"{said}. It may be stored or not; submit it again with the key {self.key}, and it is stored once"


class TimedOut(LeveretError):
    """Jobs that were waited for have not ended in time, or could not be asked for. They go on; wait again."""

    def __init__(self, pending: Sequence[UUID], ended: Sequence[JobResult], away: LeveretError | None = None) -> None:
        which = f"{len(pending)} of {len(pending) + len(ended)} jobs"
        what = f"{which} have not ended in time, first {pending[0]}"
        if away:
            what = f"the API could not say in time whether {which} have ended, first {pending[0]}: {away.args[0].rstrip('.')}"
        super().__init__(f"{what}. They go on; wait again")
        self.pending = tuple(pending)
        self.ended = tuple(ended)


class Refused(LeveretError):
    """The API said no, and why; the same request would be refused again."""

    def __init__(self, problem: Problem) -> None:
        flaws = "".join(f"; {flaw.pointer} {flaw.detail}" for flaw in problem.errors[:3])
        super().__init__(f"{problem.status} {problem.slug}: {problem.detail}{flaws}")
        self.problem = problem
        self.slug = problem.slug
        self.detail = problem.detail
        self.errors = problem.errors


class NotAuthenticated(Refused):
    """The token is wrong, or there was none."""


class UnknownQueue(Refused):
    """No JobQueue has this queue; the detail names those near it."""


class UnknownJob(Refused):
    """The API does not know the job (any more)."""


class InvalidRequest(Refused):
    """`errors` has the places."""


class KeyReused(Refused):
    """The idempotency key belongs to another request."""


class QueueFull(Refused):
    """429 until the time was over: the queue is full, or too much was asked at once. Nothing was stored."""


_BY_SLUG: Mapping[str, type[Refused]] = {
    "not-authenticated": NotAuthenticated,
    "unknown-queue": UnknownQueue,
    "unknown-job": UnknownJob,
    "invalid-request": InvalidRequest,
    "key-reused": KeyReused,
}
_BY_STATUS: Mapping[int, type[Refused]] = {401: NotAuthenticated, 429: QueueFull}


def refused(problem: Problem) -> Refused:
    return (_BY_SLUG.get(problem.slug) or _BY_STATUS.get(problem.status) or Refused)(problem)
