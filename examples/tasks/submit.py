"""Submit what is only an intent: at once when a front has a new task, and what a crash left in a sweep every 10 s.

A task's id and its run are the key of its job: whoever submits it again within Leveret's 24 hours gets the same job.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from examples.fronts.database import Away
from examples.tasks.progress import Job
from examples.tasks.store import Intent, Store
from leveret.client import LeveretError

SWEEP_SECONDS = 10.0
PAUSE_SECONDS = 1.0  # after some that Leveret did not take

log = logging.getLogger(__name__)


class Submits(Protocol):
    async def submit(self, queue: str, type: str, payload: object, *, key: str) -> object: ...


class Submitter:
    def __init__(self, store: Store, leveret: Submits, queue: str) -> None:
        self._store, self._leveret = store, leveret
        self._queues = {"async": queue, "cpu": f"{queue}-cpu"}
        self.woken = asyncio.Event()  # there is a new intent

    async def run(self) -> None:
        while True:
            self.woken.clear()
            try:
                while intents := await self._store.claim():
                    ends = await asyncio.gather(*map(self._submit, intents))
                    await self._store.submitted([one for one, end in zip(intents, ends, strict=True) if end is None])
                    if failed := [end for end in ends if end is not None]:
                        log.warning("%d tasks wait for Leveret, and none is lost: %s", len(failed), failed[-1])
                        await asyncio.sleep(PAUSE_SECONDS)
            except Away:
                pass  # it is logged, and every intent is still there
            except Exception:
                log.exception("tasks could not be submitted; their turn comes again")
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self.woken.wait()

    async def _submit(self, one: Intent) -> LeveretError | None:
        job = Job(task=one.id, run=one.run, seconds=one.seconds)
        try:
            await self._leveret.submit(self._queues[one.kind], "run-task", job, key=f"task-{one.id}-{one.run}")
        except LeveretError as problem:
            return problem
        return None
