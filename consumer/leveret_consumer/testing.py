"""Run one attempt of a handler as a consumer runs it, without a broker: for tests of handlers.

Payload, time-out, result and whatever is raised mean here what they mean in a pod. Only a handler with `cpu=True` runs in
a thread here, where a debugger can follow it, so at its time-out or a cancel it runs on, and nobody waits for it, not even
Python's end.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from leveret import control
from leveret.control import Cancel, Control
from leveret.daemons import Daemons
from leveret.jobs import Envelope
from leveret.retry import RetryPolicy
from leveret.sdk.handlers import Handlers, Pool
from leveret.wire import deadline_of
from leveret_consumer.attempt import STOPS_WITHIN, Attempts, Rules
from leveret_consumer.commands import Commands
from leveret_consumer.ends import Cancelled, DeadLetter, Outcome, RetryAfter, RetryFromStore, Succeeded
from leveret_consumer.load import Load
from leveret_consumer.outcome import too_late
from leveret_consumer.pools import Call, LoopPool, ThreadPool, Work
from leveret_consumer.reports import Reports

__all__ = ["Cancelled", "DeadLetter", "Outcome", "RetryAfter", "RetryFromStore", "Succeeded", "run_attempt"]


class Apart(ThreadPool):
    """Where a process would be killed, nobody waits any more."""

    async def start(self, call: Call) -> Work:
        work = await super().start(call)
        return Work(done=work.done, stop=work.done.cancel)


async def run_attempt(
    handlers: Handlers,
    type: str,
    payload: object,
    *,
    attempt: int = 1,
    generation: int = 1,
    timeout: float = 30.0,
    retry: RetryPolicy | None = None,
    deadline: datetime | None = None,
    job_id: UUID | None = None,
    cancelled_after: float | None = None,
) -> Outcome:
    """Return what comes of an attempt (1…) of a generation (1…); `timeout` in s and `retry` are the JobQueue's, `deadline`
    the job's. Two attempts with one `job_id` are of one job; without it each is of its own. `cancelled_after` so many s the
    job is cancelled, 0: before it starts.

    Jitter takes half of what it may. Raises KeyError for a type without a handler, ValueError for a deadline without an offset.
    """
    if deadline and deadline.tzinfo is None:
        raise ValueError("a deadline needs an offset, as datetime.now(UTC) has one")
    handler = handlers[type]
    until = deadline_of(deadline) if deadline else None
    body = json.dumps(payload).encode()
    job = Envelope(job_id or uuid4(), "test.queue", type, body, attempt=attempt, generation=generation, deadline=until)
    if late := too_late(job, datetime.now(UTC)):
        return late
    commands = Commands(job.queue)
    load, threads, apart = Load(1), ThreadPool(1), Apart(1, Daemons())
    attempts = Attempts(
        Rules("test", timedelta(seconds=timeout), retry or RetryPolicy()),
        {Pool.LOOP: LoopPool(), Pool.THREAD: threads, Pool.PROCESS: apart},
        load,
        Reports(),
        now=lambda: datetime.now(UTC),
        draw=lambda: 0.5,
        overrun=lambda _: None,
        commands=commands,
        stops_within=0 if handler.pool is Pool.PROCESS else STOPS_WITHIN,
    )

    def cancel() -> None:
        now = datetime.now(UTC)
        named = Cancel(job.queue, control.pack([(job.id, job.generation)]), control.until(now))
        commands.hear(Control(now, [named]), now)
        attempts.stop_cancelled()

    if cancelled_after == 0:
        cancel()
    elif cancelled_after:
        asyncio.get_running_loop().call_later(cancelled_after, cancel)
    try:
        return (await attempts.run(job, handler, await load.take())).outcome
    finally:
        threads.close()
