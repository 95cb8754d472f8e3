"""What producers and consumers tell the operator, as messages on the exchange `leveret.signals`.

Signals are for now, not for the record: not persistent, not confirmed, and each replaces the sender's last one. A
lost one costs a moment, never a job.
"""

from datetime import datetime

import msgspec


class Hint(msgspec.Struct, frozen=True, tag="hint", omit_defaults=True):
    """A producer accepted jobs; sent after the commit, and every second while any are unconfirmed. Key `hint.<queue>`."""

    producer: str  # the pod; one hint a producer and queue is in force
    queue: str
    at: datetime
    committed: int  # jobs since the producer's start: differences are arrivals
    unconfirmed: int  # committed, and the broker has not confirmed them yet
    oldest_waiting_since: datetime | None = None  # acceptance of the oldest job of the queue that has not started


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat", omit_defaults=True):
    """A consumer is there; every 5 s, and at once when it turns idle, busy or drained. Key `heartbeat.<queue>`."""

    consumer: str  # the pod
    queue: str
    at: datetime
    slots: int
    in_flight: int  # deliveries that it holds, prefetched ones included
    finished: int  # attempts since the consumer's start, however they ended
    busy_seconds: float  # spent in them, all slots together
    stopping: bool = False


Signal = Hint | Heartbeat
_decoder: msgspec.json.Decoder[Signal] = msgspec.json.Decoder(Signal)
_encode = msgspec.json.Encoder().encode


def routing_key(signal: Signal) -> str:
    return f"{'hint' if isinstance(signal, Hint) else 'heartbeat'}.{signal.queue}"


def encode(signal: Signal) -> bytes:
    return _encode(signal)


def decode(body: bytes) -> Signal:
    """Raise ValueError for what is no signal."""
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as problem:
        raise ValueError(f"not a signal: {problem}") from problem
