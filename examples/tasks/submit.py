"""Submit what is only an intent: at once when a front has a new task, and what a crash left in a sweep every 10 s.

A task's id and its run are the key of its job: whoever submits it again within Leveret's 24 hours gets the same job.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from examples.tasks.progress import Job
from examples.tasks.store import Away, Intent, Store
from leveret.client import LeveretError

SWEEP_SECONDS = 10.0

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
                    taken = await asyncio.gather(*map(self._submit, intents))
                    await self._store.submitted([one for one, is_taken in zip(intents, taken, strict=True) if is_taken])
            except Away:
                pass  # it is logged, and every intent is still there
            except Exception:
                log.exception("tasks could not be submitted; their turn comes again")
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self.woken.wait()

    async def _submit(self, one: Intent) -> bool:
        job = Job(task=one.id, run=one.run, seconds=one.seconds)
        try:
            await self._leveret.submit(self._queues[one.kind], "run-task", job, key=f"task-{one.id}-{one.run}")
        except LeveretError as problem:
            log.warning("task %s waits for Leveret, and nothing is lost: %s", one.id, problem)
            return False
        return True
