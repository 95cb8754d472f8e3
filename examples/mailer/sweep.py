"""Carry mails on: submit what is only an intent, and look after the jobs of those that have not ended.

Every front does this every 10 s, and at once after a new mail: so a crash between intent and submit is made up for. The mail's
id is the key of its submit, and a mail belongs to one job; whoever repeats a submit, even days later, sends nothing twice. A
job that ends where no handler tells it (it was cancelled, or killed its process too often) is found out within a minute.
"""

import asyncio
import logging

from examples.fronts.database import Away
from examples.mailer.store import MOST_AT_ONCE, Open, Store
from leveret.client import AsyncClient, JobResult, LeveretError, State

EVERY_SECONDS = 10.0
SUBMITS = 8  # at once

log = logging.getLogger(__name__)


class Sweeper:
    def __init__(self, store: Store, leveret: AsyncClient, queue: str) -> None:
        self._store, self._leveret, self._queue = store, leveret, queue
        self.woken = asyncio.Event()  # there is a new mail

    async def run(self) -> None:
        while True:
            self.woken.clear()
            try:
                if await self.sweep() == MOST_AT_ONCE:
                    continue
            except Away:
                pass  # it is logged, and every mail is still there
            except LeveretError as problem:
                log.warning("mails wait for Leveret, and nothing is lost: %s", problem)
            except Exception:
                log.exception("mails could not be carried on; their turn comes again")
            try:
                async with asyncio.timeout(EVERY_SECONDS):
                    await self.woken.wait()
            except TimeoutError:
                pass

    async def sweep(self) -> int:
        """Take the mails whose turn it is one step on; return how many there were."""
        found = await self._store.open()
        new, known = [one for one in found if one.job is None], [one for one in found if one.job is not None]
        for start in range(0, len(new), SUBMITS):
            told = await asyncio.gather(*map(self._submit, new[start : start + SUBMITS]), return_exceptions=True)
            for problem in told:
                if isinstance(problem, BaseException):
                    raise problem
        if known:
            jobs = {job.id: job for job in await self._leveret.get_many(one.job for one in known if one.job)}
            for mail in known:
                if error := end_of(jobs.get(mail.job) if mail.job else None):
                    await self._store.ended_elsewhere(mail, error)
            await self._store.looked([mail.id for mail in known])
        return len(found)

    async def _submit(self, mail: Open) -> None:
        job = await self._leveret.submit(self._queue, "send-email", {"id": str(mail.id)}, key=f"mailer-{mail.id}")
        await self._store.submitted(mail.id, job.id)


def end_of(job: JobResult | None) -> str | None:
    """Return why a job will send nothing any more, None for one that goes on; `job` is None if Leveret has lost it."""
    if job is None:
        return "its job was removed from Leveret before the mail was sent"
    if not job.final or job.state is State.SUCCEEDED:
        return None  # succeeded: what its handler wrote down is on its way
    if job.state is State.CANCELLED:
        return "its job was cancelled"
    return (job.error and (job.error.message or job.error.reason)) or "its job ended without a report"
