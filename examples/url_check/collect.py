"""Carry checks on: look up their jobs once they are sent, keep what is final, cancel what is wanted no more.

Every front does this all the time, whether somebody asks for a check or not: so results are kept before Leveret's retention
takes them away. Of a check that is cancelled, what a relay never took is nobody's. What one may have been sending just then is
at Leveret soon, and is cancelled there, or will never be: Leveret is asked again until that is sure.
"""

import asyncio
import json
import logging
from contextlib import suppress

from examples.fronts.database import Away
from examples.url_check.store import Claimed, Result, Store
from leveret.client import AsyncClient, JobResult, LeveretError, State

IDLE_SECONDS = 0.5
LONGEST_REDIRECTS = 4_096  # characters of a result's redirects: what servers send has no bound
LONGEST_ERROR = 500

log = logging.getLogger(__name__)


class Collector:
    def __init__(self, store: Store, leveret: AsyncClient, queue: str) -> None:
        self._store, self._leveret, self._queue = store, leveret, queue
        self.woken = asyncio.Event()  # there is one to be cancelled

    async def run(self) -> None:
        while True:
            try:
                claimed = await self._store.claim()
                if claimed is not None:
                    await self.carry_on(claimed)
                    continue
            except Away:
                pass  # it is logged, and every check is still there
            except Exception:
                log.exception("a check could not be carried on; its turn comes again")
            self.woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self.woken.wait()

    async def carry_on(self, check: Claimed) -> None:
        """Take a check one step on: 1 request to Leveret for 1,000 jobs."""
        pending = await self._store.pending(check.id)
        jobs = [job for _, _, job in pending if job]
        try:
            found = {job.id: job for job in await self._leveret.get_many(jobs)}
            if check.cancelled and found:
                await self._leveret.cancel_many(self._queue, found)
        except LeveretError as problem:
            log.warning("check %s waits: %s", check.id, problem)
            what = "Its cancel waits" if check.cancelled else "Its results wait"
            said = f"{what} for Leveret. Nothing is lost, and this goes on by itself: {problem}"[:1_000]
            await self._store.trouble(check.id, said)
            return
        told = check.cancelled and (check.settled or len(found) == len(jobs))
        never = JobResult(check.id, State.CANCELLED) if check.cancelled else None
        kept = [
            result
            for place, url, job in pending
            if not job or job in found or told or not check.cancelled
            if (result := result_of(place, url, found.get(job, never) if job else never))
        ]
        await self._store.keep(check.id, kept, cancelled=told)


def result_of(place: int, url: str, job: JobResult | None) -> Result | None:
    """Return what is kept of a URL whose job has ended, None for one that has not; `job` is None if Leveret has lost it."""
    told: dict[str, object] = {}
    error: object = None
    if job is None:
        error = "its job was removed from Leveret before its result was kept"
    elif not job.final:
        return None
    elif job.state is State.SUCCEEDED and isinstance(job.result, dict):
        told = job.result
        error = told.get("error")
    elif job.state is State.CANCELLED:
        error = "cancelled before it was checked"
    else:
        said = job.error and (job.error.message or job.error.reason)
        error = said or "its job ended without a report"
    status, redirects = told.get("status"), told.get("redirects")
    kept = redirects if isinstance(redirects, list) else []
    if sum(len(str(one)) for one in kept) > LONGEST_REDIRECTS:
        kept, error = [], f"{error or 'answered'}; its redirects are too long to be kept"
    result = {
        "url": url,
        "status": status,
        "latency_seconds": told.get("latency_seconds"),
        "redirects": kept,
        "error": None if error is None else str(error)[:LONGEST_ERROR],
    }
    failed = error is not None or not (isinstance(status, int) and status < 400)
    return Result(place, json.dumps(result), failed)  # ASCII: PostgreSQL has no NUL
