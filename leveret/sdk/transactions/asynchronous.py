"""The form for `async def`: nothing that cancels the handler cuts its COMMIT off."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from leveret import marks
from leveret.ending import looked_at
from leveret.sdk.commit import ANSWERS_WITHIN
from leveret.sdk.context import Context
from leveret.sdk.transactions.steps import COMMITS_WITHIN, LETS_GO_WITHIN, Kept, Steps, no_answer


class AsyncTransaction(Kept):
    """For `async def`: write through `connection`, SQLAlchemy's."""

    connection: AsyncConnection

    def __init__(self, engine: AsyncEngine, ctx: Context) -> None:
        self._steps, self._engine = Steps(engine.sync_engine, ctx), engine
        self._broken = False

    async def __aenter__(self) -> Self:
        self._steps.commit.take()
        self.connection = await self._engine.connect()
        try:
            if mark := await self.connection.run_sync(self._steps.enter):
                raise self._steps.already_done(mark)
        except BaseException:
            await _uninterrupted(self._let_go())
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self.connection.run_sync(self._steps.finish)
                self._steps.commit.begin()
                await _uninterrupted(self._commit())
                if self._steps.prunes:
                    with suppress(Exception):  # the next one will
                        await self.connection.run_sync(marks.prune)
        finally:
            await _uninterrupted(self._let_go())

    async def _commit(self) -> None:
        sent = asyncio.create_task(self.connection.commit())
        problem = await _problem_of(sent, COMMITS_WITHIN)
        if problem is None:
            return self._steps.end(committed=True)
        self._broken = True
        if sent.done():  # with an error, perhaps before it was sent: what is open there would hold the mark
            await self._let_go()
        committed = await self._settle()
        sent.cancel()
        self._steps.told(problem, committed=committed)
        if not committed:
            raise problem
        return None

    async def _settle(self) -> bool:
        beside = AsyncEngine(self._steps.beside())
        while True:
            asked = asyncio.create_task(self._ask(beside))
            problem = await _problem_of(asked, ANSWERS_WITHIN)
            if problem is None:
                return asked.result()
            asked.cancel()
            await asyncio.sleep(self._steps.pause(problem))

    async def _ask(self, beside: AsyncEngine) -> bool:
        async with beside.connect() as connection:
            return await connection.run_sync(self._steps.asks)

    async def _let_go(self) -> None:
        """Roll back what was not committed; give the connection up where the database does not answer even that."""
        for last in (self._give_up,) if self._broken else (self.connection.close, self._give_up):
            closing = asyncio.create_task(last())
            if await _problem_of(closing, LETS_GO_WITHIN) is None:
                break
            closing.cancel()

    async def _give_up(self) -> None:
        if not self.connection.closed:
            await self.connection.invalidate()
            await self.connection.close()


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Wait for the end of what must not be cut off; a cancellation counts afterwards."""
    task, cancelled = asyncio.create_task(work), None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as problem:
            cancelled = problem
    if cancelled:
        looked_at(task)
        raise cancelled
    task.result()


async def _problem_of(task: "asyncio.Task[Any]", seconds: float) -> BaseException | None:
    """Return what a task raised, or a TimeoutError where it is not done in time; None where it returned."""
    task.add_done_callback(looked_at)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        return no_answer(seconds)
    return asyncio.CancelledError() if task.cancelled() else task.exception()
