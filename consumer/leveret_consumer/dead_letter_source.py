"""Another JobQueue's dead letter, as a job of this queue.

The job that died keeps its row, its id and its state; what runs here is a job of its own, with an id that follows from
the dead letter's, so that a second delivery of the same dead letter is the same job. Retries of it, and its own dead
letter, are messages of this queue: the other queue's message is acknowledged at the end of the first attempt. Whoever
submitted the job that died has been answered, so nothing here replies.
"""

from uuid import UUID, uuid5

import msgspec

from leveret import topology, wire
from leveret.jobs import DeadLetterInfo, DeadReason, Envelope
from leveret.wire import Unreadable

_BROKERS_REASON = "x-last-death-reason"
_BY_BROKER = {"delivery_limit": DeadReason.DELIVERY_LIMIT}


class _Error(msgspec.Struct):
    message: str


_read_error = msgspec.json.Decoder(_Error).decode


def from_source(message: wire.Message, source_queue: str, own_queue: str) -> Envelope | Unreadable:
    """Read what was delivered from a dead-letter queue, named in full, as the first attempt of a job of `own_queue`.

    Its delivery is how often the dead letter was delivered from there before.
    """
    dead = wire.from_message(message, own_queue)
    new_id = job_made_of(dead.id, dead.generation, own_queue) if dead.id else None
    if isinstance(dead, Unreadable):
        return Unreadable(dead.reason, dead.detail, new_id)
    assert new_id is not None
    return msgspec.structs.replace(
        dead,
        id=new_id,
        attempt=1,
        generation=1,
        delivery=_delivery(message),
        reply_to=None,
        given_back_since=None,  # by consumers of the other queue
        deadline=None,  # that was the other job's, which may have died of it
        submitted_at=None,  # that is when the other job was submitted: this one has not waited since then
        dead_letter=DeadLetterInfo(
            id=dead.id,
            queue=source_queue.removesuffix(topology.dead_queue("")),
            reason=_reason(message),
            error=_error(message),
            attempts=dead.attempt,
            started_at=wire.time_of(message.headers.get(wire.STARTED_AT)),
            died_at=wire.time_of(message.headers.get(wire.DIED_AT)),
            generation=dead.generation,
        ),
    )


def job_made_of(job: UUID, generation: int, queue: str) -> UUID:
    """Return the id of the job that `queue` makes of the dead letter of a job's generation."""
    return uuid5(job, f"{generation}:{queue}")


def _delivery(message: wire.Message) -> int:
    """A dead letter that the broker made has its counts in the first queue until this one has its own."""
    headers = message.headers
    counts = headers.get(wire.FAILED_COUNT), headers.get(wire.TAKEN_COUNT)
    return 0 if _BROKERS_REASON in headers and counts[0] == counts[1] else wire.delivery(headers)


def _reason(message: wire.Message) -> str | None:
    for header in (wire.REASON, _BROKERS_REASON):
        if isinstance(value := message.headers.get(header), str):
            return _BY_BROKER.get(value, value)
    return None


def _error(message: wire.Message) -> str | None:
    value = message.headers.get(wire.ERROR)
    try:
        return _read_error(value).message if isinstance(value, str) else None
    except (msgspec.MsgspecError, RecursionError):
        return None
