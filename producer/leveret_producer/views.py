"""What the HTTP API shows, as values: encoded as they are, and the source of the schemas in the OpenAPI document.

A number that is not known is null. JSON that came from users is passed through as it was sent.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from leveret.events import Error, Progress
from leveret.jobs import State

# With an offset: of a time without, the OpenAPI document does not say that it is one.
Time = Annotated[datetime, msgspec.Meta(tz=True)]

Warned = Annotated[
    str | msgspec.UnsetType,
    msgspec.Meta(description="Absent, or what may not be meant: a type that no consumer told, say"),
]

encode = msgspec.json.Encoder().encode
_anything = msgspec.json.Decoder()


def shown_payload(body: str | None, bytes_: bytes | None) -> msgspec.Raw | None:
    """Return a stored payload so that it is shown as it is; None where there is none, or where it isn't JSON."""
    return raw(body) if body is not None and bytes_ is None and is_json(body) else None


def is_json(text: str) -> bool:
    try:
        _anything.decode(text)
    except msgspec.ValidationError:
        return True  # a number that Python's float or int can't hold is JSON
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def raw(json: str | None) -> msgspec.Raw | None:
    """Return stored JSON so that it is shown as it is."""
    return None if json is None else msgspec.Raw(json.encode())


class Attempt(msgspec.Struct, frozen=True):
    attempt: int
    consumer: str
    started_at: Time | None
    finished_at: Time | None
    outcome: Annotated[
        str | None, msgspec.Meta(description="succeeded, retrying, dead or cancelled; null while it runs")
    ]
    error: msgspec.Raw | None


class Job(msgspec.Struct, frozen=True):
    id: UUID
    queue: str
    type: str
    state: State
    payload: msgspec.Raw | None
    result: msgspec.Raw | None
    error: msgspec.Raw | None
    progress: msgspec.Raw | None
    attempt: Annotated[int, msgspec.Meta(description="The latest attempt, from 1; 0 before the first")]
    max_attempts: int | None
    generation: int
    attempts: list[Attempt]
    created_at: Time
    run_at: Annotated[Time | None, msgspec.Meta(description="Not before then, as asked for with run_at or delay")]
    started_at: Annotated[Time | None, msgspec.Meta(description="Start of the latest attempt")]
    finished_at: Annotated[Time | None, msgspec.Meta(description="Set once the state is final")]
    deadline: Annotated[
        Time | None, msgspec.Meta(description="No attempt starts or runs after it; a redrive takes it off")
    ]
    correlation_id: str | None
    cancel_requested_at: Annotated[Time | None, msgspec.Meta(description="Of this generation")]
    # Nobody can ask for these yet: NOT_ASKED_FOR.
    after: tuple[UUID, ...]
    priority: int | None


class AcceptedJob(Job, frozen=True):
    """A job as it was stored a moment ago."""

    warning: Warned = msgspec.UNSET


class ListedJob(msgspec.Struct, frozen=True):
    """A job in a list: without payload and result."""

    id: UUID
    queue: str
    type: str
    state: State
    error: msgspec.Raw | None
    progress: msgspec.Raw | None
    attempt: int
    max_attempts: int | None
    generation: int
    attempts: list[Attempt]
    created_at: Time
    run_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    deadline: Time | None
    correlation_id: str | None
    cancel_requested_at: Time | None
    after: tuple[UUID, ...]
    priority: int | None


NOT_ASKED_FOR: dict[str, Any] = {"after": (), "priority": None}


class JobPage(msgspec.Struct, frozen=True):
    jobs: list[ListedJob]
    next: Annotated[str | None, msgspec.Meta(description="Pass it as `before` to get the next page; null: no more")]


class Accepted(msgspec.Struct, frozen=True):
    id: UUID
    state: State


class AcceptedList(msgspec.Struct, frozen=True):
    jobs: list[Accepted]
    warning: Warned = msgspec.UNSET


class JobQueueName(msgspec.Struct, frozen=True):
    namespace: str
    name: str


class DecisionView(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    time: Time
    before: int
    after: int
    reason: str
    message: str


class QueueView(msgspec.Struct, frozen=True):
    name: str
    jobqueue: JobQueueName
    leveret_version: Annotated[
        str | None, msgspec.Meta(description="The oldest that its consumers run; null while none is heard")
    ]
    ready: Annotated[
        int | None,
        msgspec.Meta(
            description="Jobs that wait. `kubectl get jobqueue` tells whether the JobQueue is Ready, and why not"
        ),
    ]
    unacked: Annotated[int | None, msgspec.Meta(description="Jobs that consumers hold")]
    backlog: Annotated[
        int | None, msgspec.Meta(description="Both, and those on their way to the broker or to a consumer")
    ]
    dead_letters: int | None
    arrival_rate: float | None
    completion_rate: float | None
    oldest_age_seconds: float | None
    replicas: Annotated[int | None, msgspec.Meta(description="Consumer pods there are, ready or not")]
    ready_replicas: Annotated[int | None, msgspec.Meta(description="Those that take jobs")]
    desired_replicas: int | None
    observed_at: Time | None
    decisions: list[DecisionView]
    paused: bool


class QueueList(msgspec.Struct, frozen=True):
    queues: list[QueueView]


class DeadLetter(msgspec.Struct, frozen=True):
    """A job that is a dead letter, in a list: without payload, traceback and attempts."""

    id: UUID
    queue: str
    type: str
    reason: Annotated[str, msgspec.Meta(description="As in the header leveret-reason")]
    message: str | None
    error_type: Annotated[str | None, msgspec.Meta(description="The exception's class")]
    attempts: Annotated[int, msgspec.Meta(description="The number of its last one in this generation, started or not")]
    max_attempts: int | None
    generation: int
    created_at: Time
    died_at: Time
    correlation_id: str | None


class DeadLetterPage(msgspec.Struct, frozen=True):
    dead_letters: list[DeadLetter]
    next: Annotated[str | None, msgspec.Meta(description="Pass it as `before` to get the next page; null: no more")]


class DeadLetterBody(msgspec.Struct, frozen=True):
    """What came and is not JSON."""

    encoding: Annotated[str, msgspec.Meta(description="utf-8 or base64")]
    content: str


class WholeDeadLetter(msgspec.Struct, frozen=True):
    id: UUID
    queue: str
    type: str
    reason: str
    error: msgspec.Raw | None
    payload: Annotated[msgspec.Raw | None, msgspec.Meta(description="As it came; null if it isn't JSON, or not kept")]
    body: Annotated[DeadLetterBody | None, msgspec.Meta(description="Instead of payload, if it isn't JSON")]
    redrivable: Annotated[bool, msgspec.Meta(description="False: its payload is not in the store")]
    attempts: list[Attempt]
    max_attempts: int | None
    generation: int
    created_at: Time
    died_at: Time
    correlation_id: str | None


class Operation(msgspec.Struct, frozen=True):
    id: UUID
    total: Annotated[int, msgspec.Meta(description="Jobs that were meant")]
    done: Annotated[int, msgspec.Meta(description="Redriven; purged; cancelled, or told to their consumers")]
    skipped: Annotated[
        int, msgspec.Meta(description="No dead letters any more, or without a payload in the store; ended meanwhile")
    ]
    state: Annotated[str, msgspec.Meta(description="running or done")]
    queue: str
    action: Annotated[str, msgspec.Meta(description="redrive, purge or cancel")]
    created_at: Time
    finished_at: Time | None


class BegunCancel(Operation, frozen=True):
    """As it begins."""

    warning: Warned = msgspec.UNSET


__all__ = [
    "Accepted",
    "AcceptedJob",
    "AcceptedList",
    "Attempt",
    "BegunCancel",
    "DeadLetter",
    "DeadLetterBody",
    "DeadLetterPage",
    "DecisionView",
    "Error",
    "Job",
    "JobPage",
    "JobQueueName",
    "ListedJob",
    "Operation",
    "Time",
]
__all__ += ["NOT_ASKED_FOR", "Progress", "QueueList", "QueueView", "WholeDeadLetter", "encode", "raw", "shown_payload"]
