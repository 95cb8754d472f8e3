"""Whether an earlier run of a job has committed its transaction, and nobody was told: its consumer died after the commit.

Asked of a job that is about to be told as cancelled. Where its handler names its engine (`transaction=`), the database knows;
its answer is waited for however long it takes, as after a COMMIT without one: a job that is told as cancelled has left nothing.
"""

import asyncio

import structlog

from leveret.jobs import Envelope
from leveret.sdk.commit import ANSWERS_WITHIN, PAUSES, Mark
from leveret.sdk.handlers import Handler
from leveret_consumer.job_events import log_fields

log = structlog.get_logger(__name__)


async def committed_before(job: Envelope, handler: Handler) -> Mark | None:
    """Return the job's done-mark, None where none is committed or the handler doesn't tell where it would be."""
    if handler.transaction is None:
        return None
    from leveret import marks  # loads SQLAlchemy

    tries = 0
    while True:
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                return await marks.committed(handler.transaction, marks.Key(job.id, job.generation))
        except Exception as problem:  # noqa: BLE001 - whatever the driver raises, the next try may tell
            tries += 1
            said = "whether a cancelled job is committed is not known; it waits until the database tells"
            log.warning(said, **log_fields(job), tries=tries, because=f"{type(problem).__name__}: {problem}")
        await asyncio.sleep(PAUSES[min(tries, len(PAUSES)) - 1])
