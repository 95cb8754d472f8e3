"""Carry checks on: submit what is only an intent, look up what is submitted, keep what is final.

Every front does this all the time, whether somebody asks for a check or not: so a crash between intent and submit is made
up for, and results are kept before Leveret's retention takes them away. The check's id is the key of its submit: whoever
repeats it within Leveret's 24 hours gets the same jobs, and after that a URL may be asked twice, and still has one result.
A check that is cancelled ends without a submit if surely nothing of it was submitted; else it is submitted first, whoever may
have done so before: only jobs whose ids are known can be cancelled, and none runs on forgotten.
"""

import asyncio
import json
import logging

from examples.fronts.database import Away
from examples.url_check.store import Claimed, Result, Store
from leveret.client import AsyncClient, JobResult, LeveretError, NewJob, State

IDLE_SECONDS = 0.5
LONGEST_REDIRECTS = 4_096  # characters of a result's redirects: what servers send has no bound
LONGEST_ERROR = 500

log = logging.getLogger(__name__)


class Collector:
    def __init__(self, store: Store, leveret: AsyncClient, queue: str) -> None:
        self._store, self._leveret, self._queue = store, leveret, queue
        self.woken = asyncio.Event()  # there is a new check

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
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self.woken.wait()
            except TimeoutError:
                pass

    async def carry_on(self, check: Claimed) -> None:
        """Take a check one step on: 1 request to Leveret for its submit, or a few if it is large, and 1 for 1,000 jobs."""
        never_submitted = check.cancelled and not check.submitted and not check.in_doubt
        try:
            if not check.submitted and not never_submitted:
                urls = await self._store.urls(check.id)
                new = [NewJob("check-url", {"url": url}) for url in urls]
                submitted = await self._leveret.submit_many(self._queue, new, key=f"url-check-{check.id}")
                await self._store.submitted(check.id, [job.id for job in submitted])
            pending = await self._store.pending(check.id)
            jobs = [job for _, _, job in pending]
            if never_submitted:
                found = dict.fromkeys(jobs, JobResult(check.id, State.CANCELLED))
            else:
                if check.cancelled:
                    await self._leveret.cancel_many(self._queue, jobs)
                found = {job.id: job for job in await self._leveret.get_many(jobs)}
        except LeveretError as problem:
            log.warning("check %s waits: %s", check.id, problem)
            what = "Its cancel waits" if check.cancelled else f"Its {'results' if check.submitted else 'jobs'} wait"
            said = f"{what} for Leveret. Nothing is lost, and this goes on by itself: {problem}"[:1_000]
            sent = problem.stored != "no" or bool(problem.submitted)
            await self._store.trouble(check.id, said, in_doubt=check.in_doubt or sent)
            return
        kept = [result for place, url, job in pending if (result := result_of(place, url, found.get(job)))]
        await self._store.keep(check.id, kept, cancelled=check.cancelled)


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
