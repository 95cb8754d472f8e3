"""Which JobQueue has which queue on the broker.

A queue that two JobQueues declare would be consumed by both, each with its own handlers. So a name belongs to the
JobQueue that claimed it first: by the time of creation, which the API server keeps, so that every operator comes to the
same answer after every restart. The others have no queue until the first one is gone. A name outside of the namespace
must be allowed for the installation: on a broker that others use it may be somebody else's.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from leveret.topology import RESERVED, dead_queue, shared
from leveret_operator.jobqueue import JobQueue

_OURS = RESERVED | {thing.name for things in (shared().exchanges, shared().queues) for thing in things}
_FORM = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")
_ALLOWED_FORM = re.compile(r"[A-Za-z0-9._-]{0,199}[A-Za-z0-9._*-]")
_DEAD = dead_queue("")


@dataclass(frozen=True, slots=True)
class AllowedNames:
    """Names beside `<namespace>.…`, of which some end in `*`."""

    names: tuple[str, ...] = ()

    def have(self, queue: str) -> bool:
        return any(queue.startswith(name[:-1]) if name.endswith("*") else queue == name for name in self.names)


@dataclass(frozen=True, slots=True)
class NoQueue:
    """Why a JobQueue has no queue."""

    reason: str  # QueueNameNotAllowed or QueueNameTaken
    message: str


TAKEN, NOT_ALLOWED = "QueueNameTaken", "QueueNameNotAllowed"


def read_allowed(text: str) -> AllowedNames:
    """Read names with commas between them; raise ValueError for one that no queue can have."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not _ALLOWED_FORM.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name of a queue: write letters, digits, '.', '_' and '-', and '*' at the end for all that begin so"
            )
    return AllowedNames(names)


def without_queue(jobqueues: Iterable[JobQueue], allowed: AllowedNames) -> Mapping[str, NoQueue]:
    """Return, by uid, the JobQueues that may not have the queue that they name, and why."""
    refused: dict[str, NoQueue] = {}
    first: dict[str, JobQueue] = {}
    for jobqueue in sorted(jobqueues, key=lambda one: (one.created, one.uid)):
        if because := _forbidden(jobqueue, allowed):
            refused[jobqueue.uid] = NoQueue(NOT_ALLOWED, because)
        elif (owner := first.setdefault(jobqueue.queue, jobqueue)) is not jobqueue:
            refused[jobqueue.uid] = NoQueue(TAKEN, _taken(jobqueue.queue, owner))
    return refused


def _forbidden(jobqueue: JobQueue, allowed: AllowedNames) -> str | None:
    name, prefix = jobqueue.queue_spec.name, f"{jobqueue.namespace}."
    if name is None:
        return None  # the schema sees to it that no JobQueue is called as a queue of ours
    again = "a queue's name can't be changed, so make the JobQueue anew with another"
    if not _FORM.fullmatch(name):
        return f"{name!r:.250} is no name of a queue; {again}"
    if name in _OURS or name.endswith(_DEAD) or name.startswith("amq."):
        return f"{name} is or may become the name of a queue of Leveret's or the broker's own; {again}"
    if not (name.startswith(prefix) and name != prefix) and not allowed.have(name):
        return (
            f"the name {name} does not begin with {prefix} and is not among the chart's operator.queueNames; "
            f"let an administrator add it there, or make the JobQueue anew with a name such as {prefix}{jobqueue.name}"
        )
    return None


def _taken(queue: str, owner: JobQueue) -> str:
    return (
        f"the queue {queue} belongs to the JobQueue {owner.name}, which claimed it first; nothing is declared or scaled for this "
        f"one until that is deleted, or make this one anew with another spec.queue.name"
    )
