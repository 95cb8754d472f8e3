"""Submit and cancel what is only an intent: at once when a front has one, and what a crash left in a sweep every 10 s.

A task's id and its run are the key of its job: whoever submits it again within Leveret's 24 hours gets the same job. To
cancel a job again does no more.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from examples.fronts.database import Away
from examples.tasks.progress import Job
from examples.tasks.store import Intent, Store
from leveret.client import AsyncClient, LeveretError, Refused

SWEEP_SECONDS = 10.0
PAUSE_SECONDS = 1.0  # after some that Leveret did not take

log = logging.getLogger(__name__)


class Submitter:
    def __init__(self, store: Store, leveret: AsyncClient, queue: str) -> None:
        self._store, self._leveret = store, leveret
        self._queues = {"async": queue, "cpu": f"{queue}-cpu"}
        self.woken = asyncio.Event()  # there is a new intent

    async def run(self) -> None:
        while True:
            self.woken.clear()
            try:
                while intents := await self._store.claim():
                    await self._carry_out(intents)
            except Away:
                pass  # it is logged, and every intent is still there
            except Exception:
                log.exception("tasks could not be submitted; their turn comes again")
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self.woken.wait()

    async def _carry_out(self, intents: Sequence[Intent]) -> None:
        ends = await asyncio.gather(*map(self._job_of, intents), return_exceptions=True)
        done: list[tuple[Intent, UUID | None]] = []
        for one, end in zip(intents, ends, strict=True):
            if isinstance(end, LeveretError):
                log.warning("task %s waits for Leveret, and is not lost: %s", one.id, end)
            elif isinstance(end, BaseException):
                raise end
            else:
                done.append((one, end))
        await self._store.submitted(done)
        if len(done) < len(intents):
            await asyncio.sleep(PAUSE_SECONDS)

    async def _job_of(self, one: Intent) -> UUID | None:
        """Cancel the job that is wanted no more, and submit the one that is; return its id."""
        if one.job:
            await self._cancel(one.job)
        if not one.wanted:
            return None
        job = Job(task=one.id, run=one.run, seconds=one.seconds)
        key = f"task-{one.id}-{one.run}"
        return (await self._leveret.submit(self._queues[one.kind], "run-task", job, key=key)).id

    async def _cancel(self, job: UUID) -> None:
        try:
            await self._leveret.cancel(job)
        except Refused as refused:
            if refused.slug not in ("job-finished", "unknown-job"):
                raise
