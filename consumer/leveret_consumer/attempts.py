"""One attempt: run the handler within its time, which ends at the job's deadline, and tell what came of it.

The attempt's slot is free when its work has really ended. After its time-out any work has a few seconds to end, whatever
it runs on, and the outcome is the time-out all the same. Of work that goes on, a thread or a coroutine that swallows its
cancellation, `overrun` is told: this process can't be trusted with its number of slots any more.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from leveret.jobs import Envelope
from leveret.retry import RetryPolicy
from leveret.sdk.handlers import Handler, Pool
from leveret_consumer.contexts import context_of, log_fields
from leveret_consumer.ends import End, TooLate, cancelled, failure_of, not_started, stopped_at, timed_out
from leveret_consumer.job_events import Ended, Telling
from leveret_consumer.load import Load, Slot
from leveret_consumer.outcomes import (
    DeadLetter,
    Deferred,
    Draws,
    Outcome,
    Unkept,
    after_attempt,
    asked_to_wait,
    by_deadline,
    too_late,
)
from leveret_consumer.pools.work import Call, Work, WorkPool
from leveret_consumer.progress import Thinned
from leveret_consumer.reports import Reports

log = structlog.get_logger(__name__)

# s that a handler has to end after its time-out: to clean up, or to come back from a call with the same time-out
STOPS_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The JobQueue's, for handlers without their own."""

    consumer: str
    timeout: timedelta
    retry: RetryPolicy


class Attempts:
    def __init__(
        self,
        rules: Rules,
        pools: Mapping[Pool, WorkPool],
        load: Load,
        reports: Reports,
        *,
        now: Callable[[], datetime],
        draw: Callable[[], float],
        overrun: Callable[[str], None],
        stops_within: float = STOPS_WITHIN,
    ) -> None:
        self._rules, self._pools, self._load, self._reports = rules, pools, load, reports
        self._now, self._draw, self._overrun, self._stops_within = now, draw, overrun, stops_within

    async def run(self, job: Envelope, handler: Handler, payload: object, slot: Slot) -> Ended:
        """Run one attempt in the slot that was taken for it, and return how it ended."""
        started_at = self._now()
        if late := too_late(job, started_at):  # by now: it may have waited for its slot
            return Ended(late)
        policy = handler.retry or self._rules.retry
        limit = min(handler.timeout or self._rules.timeout, self._rules.timeout)
        loop = asyncio.get_running_loop()
        told = Telling(job, self._rules.consumer, started_at, policy.max_attempts, self._now)
        progress = Thinned(loop, lambda value: self._reports.tell(told.progress(value)))
        context = context_of(job, policy.max_attempts, started_at + limit, progress)
        work = await self._start(Call(handler, context, payload, job, deadline=lambda: self._until(job, limit)))
        slot.give_to(work.ended)
        work.ended.add_done_callback(_looked_at)
        self._reports.tell(told.start())
        began = loop.time()
        end = await self._end(work, job, handler, limit)
        seconds = loop.time() - began
        progress.close()
        self._load.count(seconds)
        outcome = after_attempt(end, policy, job.attempt, Draws(self._draw(), self._draw()))
        return Ended(by_deadline(outcome, job, self._now()), policy.max_attempts, started_at, seconds)

    def too_late(self, job: Envelope) -> DeadLetter | Unkept | None:
        """Return the outcome of a job whose deadline has passed."""
        return too_late(job, self._now())

    def not_before(self, headers: Mapping[str, object]) -> datetime | DeadLetter | None:
        """Return when a message's sender wants it to run, if that is ahead."""
        return asked_to_wait(headers, self._now())

    def deferred(self, job: Envelope, until: datetime) -> Outcome:
        """Return the outcome of a job that is to wait for a time."""
        return by_deadline(Deferred(until), job, self._now())

    def _until(self, job: Envelope, limit: timedelta) -> datetime:
        """Return when an attempt whose handler starts now is stopped; raise TooLate if it must not start."""
        now = self._now()
        if job.deadline and job.deadline <= now:
            raise TooLate(job.deadline)
        return min(now + limit, job.deadline or now + limit)

    async def _start(self, call: Call) -> Work:
        try:
            return await self._pools[call.handler.pool].start(call)
        except TooLate as problem:  # while its process started
            end: End = failure_of(problem, None)
        except Exception as problem:
            # No thread, process or file to be had, say. It's this machine's fault, so no class of a policy counts.
            log.exception("a handler could not be started", **log_fields(call.job))
            end = not_started(problem)
        ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        ended.set_result(end)
        return Work(ended=ended, stop=None)

    async def _end(self, work: Work, job: Envelope, handler: Handler, limit: timedelta) -> End:
        left = min(limit, max(job.deadline - self._now(), timedelta())) if job.deadline else limit
        try:
            await asyncio.wait({work.ended}, timeout=left.total_seconds())
        except asyncio.CancelledError:
            if work.stop:
                work.stop()
            raise
        if work.ended.done():
            return _of(work.ended, handler)
        if work.stop:
            work.stop()
        await asyncio.wait({work.ended}, timeout=self._stops_within)
        if not work.ended.done():
            self._overrun(f"job {job.id} of type {job.type!r} runs on after its time-out and can't be stopped")
        return stopped_at(job.deadline) if job.deadline and left < limit else timed_out(limit, handler.retry)


def _looked_at(ended: "asyncio.Future[End]") -> None:
    """Of work that nobody waits for any more an exception would be reported as never seen."""
    if not ended.cancelled():
        ended.exception()


def _of(ended: "asyncio.Future[End]", handler: Handler) -> End:
    if ended.cancelled():
        return cancelled(handler.retry)
    if problem := ended.exception():
        return failure_of(problem, handler.retry)
    return ended.result()
