"""The reply to a job's submitter: where it may go, and what it says."""

from uuid import UUID

import aio_pika
import msgspec

from leveret import topology
from leveret.events import Error
from leveret.jobs import DeadReason, State

OUTCOME = "leveret-outcome"
JOB_DEAD = "https://leveret.dev/problems/job-dead"
JOB_CANCELLED = "https://leveret.dev/problems/job-cancelled"
# What a client of AMQP 0-9-1 writes for direct reply-to. The broker replaces it by the client's own address, and closes the
# channel of a publisher who does not wait for replies so. As it stands it arrives through other protocols only.
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
_OURS = topology.RESERVED | {queue.name for queue in topology.shared().queues}


def address(reply_to: str | None) -> str | None:
    """Return where a reply goes, None for nowhere, as to an address that the broker has not replaced by a real one."""
    return None if reply_to == DIRECT_REPLY_TO else reply_to


def may_reply_to(name: str) -> bool:
    """Tell whether a reply may go to a queue: not to those through which Leveret's own processes talk, nor to dead letters.

    Whoever may submit a job could else make a consumer write what looks like a report.
    """
    return address(name) is not None and name not in _OURS and not name.endswith(topology.dead_queue(""))


def reply(outcome: State, correlation_id: str | None, body: bytes) -> aio_pika.Message:
    """Return the reply to a job's submitter: `body` is the result, or what `job_dead` or `job_cancelled` returns.

    It's persistent: a fixed queue may be read by nobody for a while, and the job that it tells of is gone from its own
    queue by then. To other queues that costs nothing.
    """
    succeeded = outcome is State.SUCCEEDED
    return aio_pika.Message(
        body,
        headers={OUTCOME: str(outcome)},
        content_type="application/json" if succeeded else "application/problem+json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        correlation_id=correlation_id,
    )


def job_dead(job: UUID, queue: str, error: Error, *, kept: bool = True) -> bytes:
    """Return the problem document (RFC 9457) that answers for a job that is dead; it has no traceback.

    `kept`: it is a dead letter.
    """
    place = "Leveret's database" if error.reason == DeadReason.QUEUE_GONE else topology.dead_queue(queue)
    what = f"The job is kept in {place}, and runs again if it is redriven."
    if not kept:
        what = "No dead letter is kept, since this reply tells of it; send the job again if it is still wanted."
    return msgspec.json.encode(
        {
            "type": JOB_DEAD,
            "title": "The job is a dead letter" if kept else "The job is dead",
            "detail": f"{error.message.removesuffix('.')}. {what}",
            "reason": error.reason,
            "job": job,
            "queue": queue,
            "error": {"reason": error.reason, "type": error.type, "message": error.message},
        }
    )


def job_cancelled(job: UUID, queue: str) -> bytes:
    """Return the problem document that answers for a job that is cancelled."""
    return msgspec.json.encode(
        {
            "type": JOB_CANCELLED,
            "title": "The job is cancelled",
            "detail": "Somebody asked for it before the job had ended. It is not run again; send it anew if it is wanted after all.",
            "job": job,
            "queue": queue,
        }
    )
