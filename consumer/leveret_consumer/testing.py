"""Run one attempt of a handler as a consumer runs it, without a broker: for tests of handlers.

Payload, time-out, result and whatever is raised mean here what they mean in a pod. Only a handler with `cpu=True` runs in
a thread here, where a debugger can follow it, so at its time-out it runs on, and nobody waits for it, not even Python's end.
"""

import json
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from typing import ParamSpec, TypeVar
from uuid import uuid4

from leveret.jobs import Envelope
from leveret.retry import RetryPolicy
from leveret.sdk.handlers import BadPayload, Handlers, Pool
from leveret.wire import deadline_of
from leveret_consumer.attempt import STOPS_WITHIN, Attempts, Rules
from leveret_consumer.ends import DeadLetter, Outcome, RetryAfter, RetryFromStore, Succeeded
from leveret_consumer.load import Load
from leveret_consumer.outcome import too_late, unreadable
from leveret_consumer.pools import LoopPool, ThreadPool
from leveret_consumer.reports import Reports

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["DeadLetter", "Outcome", "RetryAfter", "RetryFromStore", "Succeeded", "run_attempt"]


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
) -> Outcome:
    """Return what comes of an attempt (1…) of a generation (1…); `timeout` in s and `retry` are the JobQueue's, `deadline`
    the job's.

    Jitter takes half of what it may. Raises KeyError for a type without a handler, ValueError for a deadline without an offset.
    """
    if deadline and deadline.tzinfo is None:
        raise ValueError("a deadline needs an offset, as datetime.now(UTC) has one")
    handler = handlers[type]
    until = deadline_of(deadline) if deadline else None
    body = json.dumps(payload).encode()
    job = Envelope(uuid4(), "test.queue", type, body, attempt=attempt, generation=generation, deadline=until)
    if late := too_late(job, datetime.now(UTC)):
        return late
    try:
        read = handler.read(job.body)
    except BadPayload as problem:
        return unreadable(problem.reason, str(problem))
    load, threads, apart = Load(1), ThreadPool(1), ThreadPool(1, _Daemons())
    attempts = Attempts(
        Rules("test", timedelta(seconds=timeout), retry or RetryPolicy()),
        {Pool.LOOP: LoopPool(), Pool.THREAD: threads, Pool.PROCESS: apart},
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


class _Daemons(Executor):
    """Threads that nobody waits for."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as problem:  # noqa: BLE001 - whoever waits for it meets it
                future.set_exception(problem)

        threading.Thread(target=run, daemon=True).start()
        return future
