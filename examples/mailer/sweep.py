"""Look after the jobs of mails that have not ended: every front does this every 10 s.

A job that ends where no handler tells it (it was cancelled, or killed its process too often) is found out within a minute. What
a front before 0.2.0 stored and did not submit, as far as is known, has its job stored now.
"""

import asyncio
import logging

from examples.fronts.database import Away
from examples.mailer.store import MOST_AT_ONCE, Store
from leveret.client import AsyncClient, JobResult, LeveretError, State

EVERY_SECONDS = 10.0

log = logging.getLogger(__name__)


class Sweeper:
    def __init__(self, store: Store, leveret: AsyncClient) -> None:
        self._store, self._leveret = store, leveret

    async def run(self) -> None:
        while True:
            try:
                if await self.sweep() == MOST_AT_ONCE:
                    continue
            except Away:
                pass  # it is logged, and every mail is still there
            except LeveretError as problem:
                log.warning("mails wait for Leveret, and nothing is lost: %s", problem)
            except Exception:
                log.exception("jobs of mails could not be looked at; their turn comes again")
            await asyncio.sleep(EVERY_SECONDS)

    async def sweep(self) -> int:
        """Look at the mails whose turn it is; return how many there were."""
        found = await self._store.open()
        known = {mail.job: mail for mail in found if mail.job is not None}
        if known:
            jobs = {job.id: job for job in await self._leveret.get_many(known)}
            for id, mail in known.items():  # noqa: A001
                if error := end_of(jobs.get(id)):
                    await self._store.ended_elsewhere(mail, error)
        return len(found)


def end_of(job: JobResult | None) -> str | None:
    """Return why a job will send nothing any more, None for one that goes on; `job` is None if Leveret has lost it."""
    if job is None:
        return "its job was removed from Leveret before the mail was sent"
    if not job.final or job.state is State.SUCCEEDED:
        return None  # succeeded: what its handler wrote down is on its way
    if job.state is State.CANCELLED:
        return "its job was cancelled"
    return (job.error and (job.error.message or job.error.reason)) or "its job ended without a report"
