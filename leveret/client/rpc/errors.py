"""How a call ends without a result: each error says what happened, what was kept, and whether the job may run."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID


class Published(StrEnum):
    """Whether the broker has the job."""

    NO = "no"  # it can be called again: nothing runs twice
    UNKNOWN = "unknown"  # it was sent and not confirmed
    CONFIRMED = "confirmed"


_KEPT = {
    Published.NO: "The job was not sent, and can be called again.",
    Published.UNKNOWN: "Whether the broker has job {job} is not known: it may run.",
    Published.CONFIRMED: "The broker has job {job}: it may run, or have run.",
}


class CallError(Exception):
    """`published` tells whether the broker has the job, `job` is its id (None where there is none), `problem` the
    document (RFC 9457) of an answer that says why there is no result, {} where none came.
    """

    def __init__(
        self,
        because: str,
        published: Published = Published.NO,
        job: UUID | None = None,
        problem: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        kept = "" if job is None or problem.get("detail") else f". {_KEPT[published].format(job=job)}"
        super().__init__(because.removesuffix(".") + kept if kept else because)
        self.published, self.job, self.problem = published, job, problem

    @property
    def reason(self) -> str:
        """Why the job is a dead letter, '' where it's none."""
        return str(self.problem.get("reason") or "")


class Disconnected(CallError):
    """The connection went while the call was in flight, and the reply's place with it; or there was none at the start."""


class DeadlineExceeded(CallError):
    """There was no answer in time, or the answer says that the job's deadline had passed."""


class Refused(CallError):
    """The broker does not do what was asked: it has no room, or the user lacks a right."""


class QueueTaken(CallError):
    """Another client owns the fixed reply queue."""


class Closed(CallError):
    """The client was closed."""


class UnreadableReply(CallError):
    """An answer came that is none of Leveret's."""


class Dead(CallError):
    """The job is a dead letter."""


class Cancelled(CallError):
    """Somebody cancelled the job."""


class QueueGone(Dead):
    """No JobQueue has the queue; the job is kept, and can be redriven once there is one."""
