"""Run one attempt of a handler as a consumer runs it, without a broker: for tests of handlers.

Payload, time-out, result and whatever is raised mean here what they mean in a pod. Only a handler with `cpu=True` runs in
a thread here, where a debugger can follow it, so at its time-out it runs on, and is not waited for.
"""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from leveret.jobs import Envelope
from leveret.retry import RetryPolicy
from leveret.sdk.handlers import BadPayload, Handlers, Pool
from leveret_consumer.attempts import STOPS_WITHIN, Attempts, Rules
from leveret_consumer.load import Load
from leveret_consumer.outcomes import DeadLetter, Outcome, RetryAfter, RetryFromStore, Succeeded, unreadable
from leveret_consumer.pools.loop import LoopPool
from leveret_consumer.pools.threads import ThreadPool
from leveret_consumer.reports import Reports

__all__ = ["DeadLetter", "Outcome", "RetryAfter", "RetryFromStore", "Succeeded", "run_attempt"]


async def run_attempt(
    handlers: Handlers,
    type: str,
    payload: object,
    *,
    attempt: int = 1,
    timeout: float = 30.0,
    retry: RetryPolicy | None = None,
) -> Outcome:
    """Return what comes of attempt `attempt` (1…); `timeout` in s and `retry` are the JobQueue's.

    Jitter takes half of what it may. Raises KeyError for a type without a handler.
    """
    handler = handlers[type]
    job = Envelope(uuid4(), "test.queue", type, json.dumps(payload).encode(), attempt=attempt)
    try:
        read = handler.read(job.body)
    except BadPayload as problem:
        return unreadable(problem.reason, str(problem))
    load, threads = Load(1), ThreadPool(1)
    attempts = Attempts(
        Rules("test", timedelta(seconds=timeout), retry or RetryPolicy()),
        {Pool.LOOP: LoopPool(), Pool.THREAD: threads, Pool.PROCESS: threads},
        load,
        Reports(),
        now=lambda: datetime.now(UTC),
        draw=lambda: 0.5,
        overrun=lambda _: None,
        stops_within=0 if handler.pool is Pool.PROCESS else STOPS_WITHIN,
    )
    try:
        return (await attempts.run(job, handler, read, await load.take())).outcome
    finally:
        threads.close()
