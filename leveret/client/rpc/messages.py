"""A call as the message that carries its job, and what an answer says. What can't be sent is refused before it is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import aio_pika
import uuid_utils.compat as uuid_utils

from leveret import wire
from leveret.client.rpc.errors import (
    CallError,
    Cancelled,
    Dead,
    DeadlineExceeded,
    Published,
    QueueGone,
    UnreadableReply,
)
from leveret.jobs import DeadReason, Envelope, State
from leveret.reply import OUTCOME

LONGEST_TEXT = 255  # bytes, in AMQP
LONGEST_TIMEOUT = 7 * 86_400.0  # s


@dataclass(frozen=True, slots=True)
class Reply:
    """What the handler returned."""

    result: object
    correlation_id: str
    job: UUID


@dataclass(frozen=True, slots=True)
class Request:
    queue: str
    job: UUID
    correlation_id: str
    message: aio_pika.Message


def request(queue: str, type: str, payload: object, timeout: float, *, correlation_id: str, now: datetime) -> Request:
    """Make a job of a call; raise ValueError for what can't be one."""
    check_name(queue, "the queue")
    check_name(type, "the job's type")
    _check_timeout(timeout)
    job = Envelope(
        uuid_utils.uuid7(),
        queue,
        type,
        _body(payload),
        submitted_at=now,
        correlation_id=correlation_id,
        deadline=now + timedelta(seconds=timeout),
    )
    return Request(queue, job.id, correlation_id, wire.to_message(job))


def check_name(name: object, what: str) -> None:
    if not isinstance(name, str) or not name or len(name.encode(errors="replace")) > LONGEST_TEXT:
        raise ValueError(f"{what} must be a text of 1 to {LONGEST_TEXT} bytes")
    if not _is_text(name):
        raise ValueError(f"{what} holds half a surrogate pair, which is no text")


def _check_timeout(timeout: object) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= LONGEST_TIMEOUT:
        raise ValueError(f"the timeout is {timeout!r}, and must be a number of seconds above 0, and at most a week")


def _is_text(text: str) -> bool:
    return text.encode(errors="replace").decode() == text


def _body(payload: object) -> bytes:
    try:
        body = json.dumps(payload, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as problem:
        raise ValueError(f"the payload can't be written as JSON: {problem}") from problem
    if len(body) > wire.LARGEST_BODY:
        raise ValueError(f"the payload is {len(body):,} bytes as JSON, and must be at most {wire.LARGEST_BODY:,}")
    return body


def read_reply(of: Request, headers: Mapping[str, object], body: bytes) -> Reply | CallError:
    """Return what an answer to a call says; it never raises."""
    said = _json(body)
    match headers.get(OUTCOME):
        case State.SUCCEEDED if said is not _GARBAGE:
            return Reply(said, of.correlation_id, of.job)
        case State.DEAD:
            problem = said if isinstance(said, dict) else {}
            return _without_result(_ERRORS.get(str(problem.get("reason")), Dead), problem, of.job)
        case State.CANCELLED:
            return _without_result(Cancelled, said if isinstance(said, dict) else {}, of.job)
        case State.SUCCEEDED:
            return UnreadableReply(
                "The job succeeded, and the body of its answer is not JSON", Published.CONFIRMED, of.job
            )
        case other:
            because = f"An answer came whose header {OUTCOME} is {other!r}: it is none of Leveret's"
            return UnreadableReply(because, Published.CONFIRMED, of.job)


def _without_result(kind: type[CallError], problem: dict[str, object], job: UUID) -> CallError:
    detail = problem.get("detail") or "The job has ended without a result"
    return kind(str(detail), Published.CONFIRMED, job, problem)


_ERRORS: dict[str, type[CallError]] = {
    DeadReason.QUEUE_GONE: QueueGone,
    DeadReason.DEADLINE_EXCEEDED: DeadlineExceeded,
}
_GARBAGE = object()


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _GARBAGE
