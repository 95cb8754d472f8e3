"""One attempt: run the handler within its time, which ends at the job's deadline, and tell what came of it.

The attempt's slot is free when its work has really ended. After its time-out any work has a few seconds to end, whatever
it runs on, and the outcome is the time-out all the same. Of work that goes on, a thread or a coroutine that swallows its
cancellation, `overrun` is told: this process can't be trusted with its number of slots any more.

A job that is cancelled never starts: that is looked at in the attempt's first step, in its slot. One that runs is asked to
end, by the same means as at its time-out, unless its COMMIT has begun. A result all the same is a success; what fails from
then on is cancelled; and what goes on until its time-out is a time-out.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

import msgspec
import structlog

from leveret.ending import looked_at
from leveret.jobs import Envelope
from leveret.retry import RetryPolicy
from leveret.sdk.commit import Commit
from leveret.sdk.handlers import Handler, Pool
from leveret_consumer.commands import Commands
from leveret_consumer.earlier_run import committed_before
from leveret_consumer.ends import Cancelled, End, Finished, Outcome, Succeeded, Unfit, cut_message
from leveret_consumer.job_events import Telling, log_fields
from leveret_consumer.load import Load, Slot
from leveret_consumer.outcome import (
    Draws,
    Judge,
    TooLate,
    after_attempt,
    by_deadline,
    by_mark,
    failure_of,
    follow_ups,
    interrupted,
    not_started,
    stopped_at,
    timed_out,
    too_late,
    unreadable,
)
from leveret_consumer.pools import Call, Work, WorkPool, commit_of, context_of
from leveret_consumer.progress import Thinned
from leveret_consumer.reports import Reports

log = structlog.get_logger(__name__)

_FAILED_AFTERWARDS = "a handler failed after its transaction was committed: the job has succeeded, and is not run again"
# s that a handler has to end after its time-out: to clean up, or to come back from a call with the same time-out
STOPS_WITHIN = 5.0


class Rules(msgspec.Struct, frozen=True):
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
        commands: Commands,
        judge: Judge = lambda _, dead: dead,
        stops_within: float = STOPS_WITHIN,
    ) -> None:
        self._rules, self._pools, self._load, self._reports = rules, pools, load, reports
        self._now, self._draw, self._overrun = now, draw, overrun
        self._commands, self._judge, self._stops_within = commands, judge, stops_within
        self._running: dict[Commit, tuple[Envelope, Callable[[], object] | None]] = {}  # and what stops it

    def stop_cancelled(self) -> None:
        """Ask those to end whose jobs are cancelled by now."""
        now = self._now()
        for commit, (job, stop) in [*self._running.items()]:
            if not commit.cancelled and self._commands.stops(job, now) and commit.cancel():
                log.info("cancelled while it runs", **log_fields(job))
                if stop:
                    stop()

    async def run(self, job: Envelope, handler: Handler, slot: Slot) -> Finished:
        """Run one attempt in the slot that was taken for it, and return how it ended, or what the message is instead."""
        started_at = self._now()
        if self._commands.live and self._commands.cancels(job, started_at):
            return Finished(await _cancelled(job, handler))
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
        self._running[commit] = job, work.stop
        try:
            end = await self._end(work, job, handler, limit, commit)
        finally:
            del self._running[commit]
        seconds = loop.time() - began
        progress.close()
        if isinstance(end, Unfit):
            told.end()
            return Finished(self._judge(job, unreadable(end.reason, cut_message(end.detail))))
        self._load.count(seconds)
        mark = await commit.settled()
        if mark and not mark.earlier and not isinstance(end, bytes | Cancelled):
            log.warning(_FAILED_AFTERWARDS, **log_fields(job), error=end.error.type, detail=end.error.message)
        submitted = follow_ups(end, mark, commit.submitted)
        end = by_mark(end, mark)
        if isinstance(end, Cancelled):
            outcome: Outcome = await _cancelled(job, handler)
        else:
            outcome = after_attempt(end, policy, job.attempt, Draws(self._draw(), self._draw()), submitted)
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
            if call.handler.pool is Pool.PROCESS:
                return await self._boot(call)
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

    async def _boot(self, call: Call) -> Work:
        """A process takes its time to start. A job that is cancelled meanwhile needs none: it's kept for the next one."""
        task, commit = asyncio.current_task(), call.context.commit
        assert task is not None
        self._running[commit] = call.job, task.cancel
        try:
            return await self._pools[Pool.PROCESS].start(call)
        except asyncio.CancelledError:
            if not commit.cancelled or task.uncancel():
                raise
        finally:
            del self._running[commit]
        never: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        never.cancel()
        return Work(done=never, stop=None)

    async def _end(
        self, work: Work, job: Envelope, handler: Handler, limit: timedelta, commit: Commit
    ) -> End | Cancelled:
        left = min(limit, max(job.deadline - self._now(), timedelta())) if job.deadline else limit
        try:
            await _done_within(work.done, left.total_seconds())
        except asyncio.CancelledError:
            if work.stop:
                work.stop()
            raise
        if work.done.done():
            end = _of(work.done, handler)
            return end if isinstance(end, bytes) or not commit.cancelled else Cancelled()
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
        return interrupted(handler.retry)
    if problem := done.exception():
        return failure_of(problem, handler.retry)
    return done.result()


async def _cancelled(job: Envelope, handler: Handler) -> Cancelled | Succeeded:
    """Of a job that an earlier run has committed, and nobody was told of, the commit is what counts."""
    mark = await committed_before(job, handler)
    return Succeeded(by_mark(b"null", mark), mark.follow_ups) if mark else Cancelled()
