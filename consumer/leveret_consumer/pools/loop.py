"""Handlers that are `async def`: a task each, on the process's own event loop."""

import asyncio
from collections.abc import Awaitable
from typing import cast

from leveret_consumer.ends import End, end_of, failure_of
from leveret_consumer.exits import EXITS, contain
from leveret_consumer.pools.work import Call, Work


class LoopPool:
    def __init__(self) -> None:
        self._running: dict[asyncio.Task[End], str] = {}

    async def start(self, call: Call) -> Work:
        task = asyncio.create_task(_run(call))
        self._running[task] = str(call.context.job_id)
        task.add_done_callback(self._forget)
        return Work(ended=task, stop=task.cancel)

    def jobs(self) -> list[str]:
        """Return the ids of the jobs that are on the loop; may be called in any thread."""
        return list(self._running.values())

    def close(self) -> None:
        pass

    def _forget(self, task: asyncio.Task[End]) -> None:
        self._running.pop(task, None)


async def _run(call: Call) -> End:
    handler = call.handler
    contain(str(call.context.job_id))
    try:
        result = await cast(Awaitable[object], handler.function(call.begin(), call.payload))
        return end_of(handler.write(result), handler.retry)
    except (Exception, *EXITS) as problem:  # noqa: BLE001 - sys.exit() in a task would end the loop and all jobs
        return failure_of(problem, handler.retry)
