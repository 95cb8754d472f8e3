"""What producers and consumers tell the operator, and it the consumers, as messages on the exchange `leveret.signals`.

Signals are for now, not for the record: not persistent, not confirmed, and each replaces the sender's last one. A
lost one costs a moment, never a job.
"""

from typing import Annotated

import msgspec

from leveret.events import Time

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # what others write is reckoned with


class Hint(msgspec.Struct, frozen=True, tag="hint", omit_defaults=True):
    """A producer accepted jobs; sent after the commit, and every second while any are unconfirmed. Key `hint.<queue>`."""

    producer: str  # the pod; one hint a producer and queue is in force
    queue: str
    at: Time
    committed: Count  # jobs since the producer's start: differences are arrivals
    unconfirmed: Count  # committed, and the broker has not confirmed them yet
    oldest_waiting_since: Time | None = None  # acceptance of the oldest job of the queue that has not started


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat", omit_defaults=True):
    """A consumer is there; every 5 s, and at once when it turns idle, busy or drained. Key `heartbeat.<queue>`."""

    consumer: str  # the pod
    queue: str
    at: Time
    slots: Count
    in_flight: Count  # deliveries that it holds, prefetched ones included
    finished: Count  # attempts since the consumer's start, however they ended
    busy_seconds: float  # spent in them, all slots together
    stopping: bool = False
    leveret: str | None = None  # the version of Leveret that it runs; None from 0.1.0, which doesn't tell


class JobQueueTold(msgspec.Struct, frozen=True, tag="jobqueue", omit_defaults=True):
    """The operator tells a queue's consumers of their JobQueue; on change, to a new one, and every 5 s. Key `jobqueue.<queue>`."""

    queue: str
    at: Time
    version: str  # of the handlers that its consumers should run: LEVERET_VERSION of the present ones
    run_seconds: Seconds | None = None  # the mean of attempts lately; None while none is known


Signal = Hint | Heartbeat | JobQueueTold
_decoder: msgspec.json.Decoder[Signal] = msgspec.json.Decoder(Signal)
_encode = msgspec.json.Encoder().encode


def routing_key(signal: Signal) -> str:
    match signal:
        case Hint():
            return f"hint.{signal.queue}"
        case Heartbeat():
            return f"heartbeat.{signal.queue}"
        case JobQueueTold():
            return jobqueue_key(signal.queue)


def jobqueue_key(queue: str) -> str:
    return f"jobqueue.{queue}"


def encode(signal: Signal) -> bytes:
    return _encode(signal)


def decode(body: bytes) -> Signal:
    """Raise ValueError for what is no signal."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise ValueError(f"not a signal: {problem}") from problem
