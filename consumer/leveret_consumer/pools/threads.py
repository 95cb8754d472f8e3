"""Handlers that are plain `def`: a thread each.

Python can't stop a thread. One that outlives its time-out goes on, with its slot, until it ends or the process does.
"""

import contextvars
from concurrent.futures import Executor, ThreadPoolExecutor

from leveret_consumer.ends import End, end_of, failure_of
from leveret_consumer.pools.work import Call, Work, submit


class ThreadPool:
    def __init__(self, slots: int, executor: Executor | None = None) -> None:
        self._executor = executor or ThreadPoolExecutor(slots, thread_name_prefix="handler")

    async def start(self, call: Call) -> Work:
        context = contextvars.copy_context()
        return Work(ended=submit(self._executor, context.run, _run, call), stop=None)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _run(call: Call) -> End:
    handler = call.handler
    try:
        return end_of(handler.write(handler.function(call.begin(), call.payload)), handler.retry)
    except BaseException as problem:  # noqa: BLE001 - SystemExit in a thread is a failed attempt too
        return failure_of(problem, handler.retry)
