"""One attempt: run the handler within its time, which ends at the job's deadline, and tell what came of it.

The attempt's slot is free when its work has really ended. After its time-out any work has a few seconds to end, whatever
it runs on, and the outcome is the time-out all the same. Of work that goes on, a thread or a coroutine that swallows its
cancellation, `overrun` is told: this process can't be trusted with its number of slots any more.

Progress is thinned out: at most two reports a second, and the last one always. A handler may call it a million times from
any thread: while a report waits to be sent, a newer value only replaces it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from leveret.ending import looked_at
from leveret.events import Progress
from leveret.jobs import Envelope
from leveret.retry import RetryPolicy
from leveret.sdk.commit import Commit
from leveret.sdk.handlers import Handler, Pool
from leveret_consumer.ends import End, Finished, Unfit, cut_message
from leveret_consumer.job_events import Telling, log_fields
from leveret_consumer.load import Load, Slot
from leveret_consumer.outcome import (
    Draws,
    Judge,
    TooLate,
    after_attempt,
    by_deadline,
    by_mark,
    cancelled,
    failure_of,
    not_started,
    stopped_at,
    timed_out,
    too_late,
    unreadable,
)
from leveret_consumer.pools import Call, Work, WorkPool, commit_of, context_of
from leveret_consumer.reports import Reports

log = structlog.get_logger(__name__)

_FAILED_AFTERWARDS = "a handler failed after its transaction was committed: the job has succeeded, and is not run again"
# s that a handler has to end after its time-out: to clean up, or to come back from a call with the same time-out
STOPS_WITHIN = 5.0
PROGRESS_EVERY = 0.5  # s; with the way to the store a value is seen within a second


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
        judge: Judge = lambda _, dead: dead,
        stops_within: float = STOPS_WITHIN,
    ) -> None:
        self._rules, self._pools, self._load, self._reports = rules, pools, load, reports
        self._now, self._draw, self._overrun = now, draw, overrun
        self._judge, self._stops_within = judge, stops_within

    async def run(self, job: Envelope, handler: Handler, slot: Slot) -> Finished:
        """Run one attempt in the slot that was taken for it, and return how it ended, or what the message is instead."""
        started_at = self._now()
        if late := too_late(job, started_at):  # by now: it may have waited for its slot
            return Finished(late)
        policy = handler.retry or self._rules.retry
        limit = min(handler.timeout or self._rules.timeout, self._rules.timeout)
        loop = asyncio.get_running_loop()
        told = Telling(job, self._rules.consumer, started_at, policy.max_attempts, self._now)
        progress = Thinned(loop, lambda value: self._reports.tell(told.progress(value)))
        commit = commit_of(handler)
        context = context_of(job, policy.max_attempts, self._now() + limit, progress, commit)
        # On the loop a handler starts now, else when there is a thread or a process.
        until = None if handler.pool is Pool.LOOP and not job.deadline else lambda: self._until(job, limit)
        tell = partial(self._reports.tell_in_time, told.start)
        begun = tell if handler.pool is Pool.LOOP else lambda: loop.call_soon_threadsafe(tell)
        work = await self._start(Call(handler, context, job, begun, deadline=until))
        slot.give_to(work.done)
        work.done.add_done_callback(looked_at)
        began = loop.time()
        end = await self._end(work, job, handler, limit, commit)
        seconds = loop.time() - began
        progress.close()
        if isinstance(end, Unfit):
            told.end()
            return Finished(self._judge(job, unreadable(end.reason, cut_message(end.detail))))
        self._load.count(seconds)
        mark = await commit.settled()
        if mark and not mark.earlier and not isinstance(end, bytes):
            log.warning(_FAILED_AFTERWARDS, **log_fields(job), error=end.error.type, detail=end.error.message)
        outcome = after_attempt(by_mark(end, mark), policy, job.attempt, Draws(self._draw(), self._draw()))
        outcome = by_deadline(outcome, job, self._now())
        return Finished(outcome, policy.max_attempts, started_at, seconds, told.end())

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
        done: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        done.set_result(end)
        return Work(done=done, stop=None)

    async def _end(self, work: Work, job: Envelope, handler: Handler, limit: timedelta, commit: Commit) -> End:
        left = min(limit, max(job.deadline - self._now(), timedelta())) if job.deadline else limit
        try:
            await _done_within(work.done, left.total_seconds())
        except asyncio.CancelledError:
            if work.stop:
                work.stop()
            raise
        if work.done.done():
            return _of(work.done, handler)
        if work.stop:
            work.stop()
        await commit.settled()  # however long: what is told as timed out must not be committed, now or later
        await _done_within(work.done, self._stops_within)
        if not work.done.done():
            self._overrun(f"job {job.id} of type {job.type!r} runs on after its time-out and can't be stopped")
        return stopped_at(job.deadline) if job.deadline and left < limit else timed_out(limit, handler.retry)


async def _done_within(done: "asyncio.Future[End]", seconds: float) -> None:
    """Return once it's done, or after so long; `asyncio.wait` for one alone takes twice the time."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    done.add_done_callback(wake)
    timer = loop.call_later(seconds, wake)
    try:
        await woken
    finally:
        timer.cancel()
        done.remove_done_callback(wake)


def _of(done: "asyncio.Future[End]", handler: Handler) -> End:
    if done.cancelled():
        return cancelled(handler.retry)
    if problem := done.exception():
        return failure_of(problem, handler.retry)
    return done.result()


class Thinned:
    __slots__ = ("_closed", "_latest", "_loop", "_not_before", "_on_its_way", "_send")

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[Progress], None]) -> None:
        self._loop, self._send = loop, send
        self._latest: Progress | None = None
        self._on_its_way = False
        self._closed = False
        self._not_before = loop.time()

    def __call__(self, done: float, total: float | None) -> None:
        """Note a value, from any thread."""
        self._latest = Progress(done, total)
        if not self._on_its_way and not self._closed:
            self._on_its_way = True
            self._loop.call_soon_threadsafe(self._due)

    def close(self) -> None:
        """Send what was not sent yet, and nothing after it. In the loop."""
        self._send_latest()
        self._closed = True

    def _due(self) -> None:
        wait = self._not_before - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self._send_latest)
        else:
            self._send_latest()

    def _send_latest(self) -> None:
        # First the flag, then the value: what a thread notes in between is either taken along here or schedules anew.
        self._on_its_way = False
        latest, self._latest = self._latest, None
        if latest is not None and not self._closed:
            self._not_before = self._loop.time() + PROGRESS_EVERY
            self._send(latest)
