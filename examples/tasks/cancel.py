"""Cancel the jobs of tasks that are wanted no more: at once when a front has one, and what is left in a sweep every 10 s.

A task that runs again has its next job once the one before is cancelled. To cancel a job again does no more.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from examples.fronts.database import Away
from examples.tasks.store import Left, Store
from leveret.client import AsyncClient, LeveretError, Refused

SWEEP_SECONDS = 10.0
PAUSE_SECONDS = 1.0  # after some that Leveret did not take

log = logging.getLogger(__name__)


class Canceller:
    def __init__(self, store: Store, leveret: AsyncClient) -> None:
        self._store, self._leveret = store, leveret
        self.woken = asyncio.Event()  # there is one

    async def run(self) -> None:
        while True:
            self.woken.clear()
            try:
                while left := await self._store.claim():
                    await self._carry_out(left)
            except Away:
                pass  # it is logged, and nothing is forgotten
            except Exception:
                log.exception("jobs could not be cancelled; their turn comes again")
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self.woken.wait()

    async def _carry_out(self, left: Sequence[Left]) -> None:
        ends = await asyncio.gather(*map(self._cancel, left))
        done = [one for one, is_over in zip(left, ends, strict=True) if is_over]
        await self._store.cancelled(done)
        if len(done) < len(left):
            await asyncio.sleep(PAUSE_SECONDS)

    async def _cancel(self, one: Left) -> bool:
        """Cancel a job, by its queue also one that Leveret has not seen yet; tell whether it is over or will be."""
        try:
            if one.job:
                await self._leveret.cancel(one.job, queue=one.queue)
        except LeveretError as problem:
            if not isinstance(problem, Refused) or problem.slug not in ("job-finished", "unknown-job"):
                log.warning("task %s waits for Leveret, and is not lost: %s", one.id, problem)
                return False
        return True
