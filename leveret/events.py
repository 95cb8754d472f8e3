"""What processes tell the store, as messages on the exchange `leveret.events`.

Consumers report on jobs (routing key `job.<queue>`, many events in one message) and on the handlers that they run
(`handlers.<queue>`); the operator tells what queues there are, what it saw and what it decided (`queue.<queue>`), and
which JobQueues a namespace has (`jobqueues.<namespace>`). Whoever wants a job cancelled tells that, too
(`cancel.<queue>`). The recorder takes a job's queue from the routing key, not from
the body.
"""

import re
from collections.abc import Callable, Generator
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from leveret.jobs import State, merge_key

# Without a zone it is no moment, and can't be compared with one.
Time = Annotated[datetime, msgspec.Meta(tz=True)]

RELAXED = "x-leveret-relaxed"  # in a payload's schema, with 1: it excludes only what the handler surely refuses

NO_RESULT = msgspec.Raw(b"")  # None would not do: msgspec takes Raw only where it stands alone


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt failed."""

    reason: str  # a DeadReason, or `Failed` or `TimedOut` for an attempt that is tried again
    message: str
    type: str | None = None  # the exception's class
    traceback: str | None = None


class Progress(msgspec.Struct, frozen=True):
    done: float
    total: float | None


class JobEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One report on one attempt of one job."""

    id: UUID
    type: str
    state: State
    at: Time
    consumer: str  # the pod
    attempt: int = 1
    generation: int = 1
    delivery: int = 0
    max_attempts: int | None = None
    submitted_at: Time | None = None  # of the message: for jobs that the store has not seen
    started_at: Time | None = None  # of this attempt
    run_seconds: float | None = None  # with the end of an attempt
    wait_seconds: float | None = (
        None  # from submission (or the end of the delay) to the start; with an attempt's first report
    )
    retry_at: Time | None = None  # with `retrying`: not before
    publish_at: Time | None = (
        None  # with `retrying`: no message waits; the store publishes the next attempt then, not before
    )
    payload: msgspec.Raw = NO_RESULT  # with `publish_at`, like the next three: what the message brought, as it came
    reply_to: str | None = None  # also with `dead` by DeadlineExceeded: there is no dead letter then
    priority: int | None = None
    traceparent: str | None = None
    result: msgspec.Raw = NO_RESULT  # JSON, with `succeeded`
    error: Error | None = None  # with `retrying` and `dead`
    progress: Progress | None = None  # with `running`: replaces an earlier one of the same attempt
    correlation_id: str | None = None
    given_back: bool = False  # with `retrying`: by a consumer of another version, which started no attempt
    deadline: Time | None = None  # the job's
    headers: dict[str, object] | None = None  # with `publish_at`: the sender's

    @property
    def of_no_attempt(self) -> bool:
        """Whether it tells of a message that waits, and of no attempt's end."""
        waits = self.state is State.RETRYING and self.publish_at is not None and self.started_at is None
        return self.given_back or waits

    @property
    def key(self) -> int:
        """The event's place in the job's history (`leveret.jobs.merge_key`)."""
        return merge_key(self.state, self.generation, self.attempt, self.delivery)


class CancelRequested(msgspec.Struct, frozen=True):
    """Somebody asked over AMQP for a job to be cancelled, which the store may not have seen; in that generation only."""

    id: UUID
    generation: int = 1
    at: Time | None = None


class HandlerInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    schema: dict[str, object] | None  # JSON Schema of the payload (`RELAXED`); None takes anything
    max_attempts: int | None = None
    timeout_seconds: float | None = None


class HandlersRegistered(msgspec.Struct, frozen=True, omit_defaults=True):
    """A consumer started and can run these types; or it is back on the broker, and says so for a store that was lost."""

    version: str  # of the handlers: what the operator gave the consumer as LEVERET_VERSION
    types: dict[str, HandlerInfo]
    again: bool = False  # told before: what others of that version have told since, from another image perhaps, stays


class QueueDefined(msgspec.Struct, frozen=True, tag="defined", omit_defaults=True):
    """A JobQueue has its queue on the broker. Repeated every minute, so that a lost store learns it again."""

    namespace: str
    jobqueue: str
    at: Time
    version: str  # of the handlers that its consumers run; payloads are checked only against this version's schemas
    max_attempts: int
    timeout_seconds: float
    max_length: int | None = None  # jobs; the front door refuses more
    dead_letters_of: str | None = None  # the queue whose dead letters its consumers take, beside its own jobs


class QueueRemoved(msgspec.Struct, frozen=True, tag="removed"):
    """The JobQueue is gone; its queue and what is in it stay on the broker."""

    at: Time


class JobQueuesListed(msgspec.Struct, frozen=True):
    """All JobQueues of a namespace, for what was deleted while no operator ran. Repeated every minute."""

    at: Time
    queues: dict[str, str | None]  # by JobQueue: its queue, None for one whose specification can't be read


class QueueObserved(msgspec.Struct, frozen=True, tag="observed", omit_defaults=True):
    """What the operator saw, at most every 5 s; None where it doesn't know."""

    at: Time
    ready: int | None = None
    unacked: int | None = None
    backlog: int | None = None
    dead_letters: int | None = None
    arrival_rate: float | None = None  # jobs/s
    completion_rate: float | None = None  # jobs/s
    oldest_age_seconds: float | None = None
    replicas: int | None = None
    desired_replicas: int | None = None
    leveret_version: str | None = None  # of Leveret itself: the oldest among the consumers
    ready_replicas: int | None = None


class QueueDecided(msgspec.Struct, frozen=True, tag="decided"):
    """A change of the wanted number of replicas, with its reason."""

    at: Time
    before: int
    after: int
    reason: str
    message: str


QueueEvent = QueueDefined | QueueRemoved | QueueObserved | QueueDecided

Event = list[JobEvent] | HandlersRegistered | JobQueuesListed | QueueEvent | CancelRequested

# What tells where a value ends: strings, whole (or to the body's end), and what is around values.
_A_STEP = 1_000  # brackets, commas and strings: a millisecond or less
_MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_encode = msgspec.json.Encoder().encode
_decode: dict[str, Callable[[bytes], Event]] = {
    "job": msgspec.json.Decoder(list[JobEvent]).decode,
    "handlers": msgspec.json.Decoder(HandlersRegistered).decode,
    "queue": msgspec.json.Decoder[QueueEvent](QueueEvent).decode,
    "jobqueues": msgspec.json.Decoder(JobQueuesListed).decode,
    "cancel": msgspec.json.Decoder(CancelRequested).decode,
}


def encode(event: Event) -> bytes:
    return _encode(event)


def decode(routing_key: str, body: bytes) -> tuple[str, Event]:
    """Return the queue (or namespace) and what is said about it; raise ValueError for what no version of us wrote."""
    kind, _, name = routing_key.partition(".")
    if kind not in _decode or not name:
        kinds = "job.<queue>, handlers.<queue>, queue.<queue>, jobqueues.<namespace> or cancel.<queue>"
        raise ValueError(f"the routing key {routing_key!r} is not {kinds}")
    try:
        return name, _decode[kind](body)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise ValueError(f"the body is not that of {kind} events: {problem}") from problem


def each(body: bytes) -> Generator[None, None, list[bytes]]:
    """Return, in steps, the events of a message about jobs one by one, as they are; raise ValueError if the body is no JSON list.

    For a message that can't be read as a whole: most of its events can, alone. Only brackets, commas and strings are
    looked at: whatever is wrong within an event (NaN, bytes that are no text, ten thousand brackets) is that event's.
    """
    found: list[bytes] = []
    depth, begin, end = 0, 0, 0
    for number, mark in enumerate(_MARK.finditer(body)):
        if number % _A_STEP == 0:
            yield
        match mark[0]:
            case b"[" | b"{":
                depth += 1
                begin = mark.end() if depth == 1 else begin
            case b"," if depth == 1:
                found.append(body[begin : mark.start()].strip())
                begin = mark.end()
            case b"]" | b"}":
                depth -= 1
                if depth == 0:
                    found.append(body[begin : mark.start()].strip())
                    end = mark.end()
                    break
    whole = body[:end].strip()
    if whole[:1] != b"[" or whole[-1:] != b"]" or body[end:].strip() or not all(found):
        raise ValueError("the body is no list of events")
    return found
