"""The relay carried out: `Relay` by a task of an event loop, `RelayThread` by a thread of its own.

Any number may run at once, in the application or by themselves. What fails is logged and tried again.
"""

import asyncio
import logging
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from leveret.client.asynchronous import AsyncClient
from leveret.client.blocking import Client
from leveret.client.decide import Patience
from leveret.client.errors import LeveretError
from leveret.client.outbox import waking
from leveret.client.outbox.connections import borrowed, run, run_in_loop
from leveret.client.outbox.deliveries import Heard, Post, Relaying, Run, Wait
from leveret.client.outbox.psycopg_kept import Kept

if TYPE_CHECKING:
    import ssl
    from pathlib import Path
    from types import TracebackType

log = logging.getLogger("leveret.outbox")

PATIENCE = Patience(timeout=10.0, attempts=2, one_try=10.0)  # there are other queues; the relay itself tries again
STATEMENT = 10.0  # s
LAST_ROUND = 15.0  # s for what is being sent when a relay is stopped


class Relay:
    """Sends what is in the outbox while its context is open: `async with Relay(engine):`."""

    def __init__(
        self, database: Any, url: str | None = None, token: str | None = None, *, folder: "str | Path" = "/etc/leveret",
        verify: "bool | ssl.SSLContext" = True,
    ) -> None:  # fmt: skip
        """`database` is an AsyncEngine, a pool of asyncpg or an async one of psycopg, or a URL for asyncpg.

        The others are as an AsyncClient's. Raises NotConfigured.
        """
        self._client = AsyncClient(url, token, folder=folder, patience=PATIENCE, verify=verify)
        self._given, self._database = database, database
        self._woken, self._stopping = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        if isinstance(self._given, str):
            import asyncpg

            self._database = await asyncpg.create_pool(self._given, min_size=0, max_size=1, timeout=5.0)
        self._loop = asyncio.get_running_loop()
        waking.listening.add(self._wake)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        waking.listening.discard(self._wake)
        self._stopping.set()
        self._woken.set()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._task, LAST_ROUND)
        finally:
            if self._database is not self._given:
                with suppress(Exception):
                    await asyncio.wait_for(self._database.close(), 1.0)
            await self._client.aclose()

    async def _run(self) -> None:
        steps = Relaying(random.random).rounds()
        step = next(steps)
        while not (self._stopping.is_set() and isinstance(step, Wait)):
            step = steps.send(await self._heard(step))

    async def _heard(self, step: Run | Post | Wait) -> Heard:
        found, error, woken = None, None, False
        try:
            match step:
                case Run(statement, value):
                    async with asyncio.timeout(STATEMENT), borrowed(self._database) as connection:
                        found = await run_in_loop(connection, statement, value)
                case Post(queue, jobs):
                    await self._client.submit_many(queue, jobs)
                case Wait(seconds, wakeable):
                    if wakeable:
                        self._woken.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(seconds):
                            woken = await (self._woken if wakeable else self._stopping).wait()
        except Exception as problem:  # noqa: BLE001 - also of drivers that are not ours: the loop goes on
            error = _told(problem)
        return Heard(time.monotonic(), found, error, woken)

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._woken.set)


class RelayThread:
    """The same for a blocking application: `with RelayThread(engine):`."""

    def __init__(
        self, database: Any, url: str | None = None, token: str | None = None, *, folder: "str | Path" = "/etc/leveret",
        verify: "bool | ssl.SSLContext" = True,
    ) -> None:  # fmt: skip
        """`database` is an Engine, a pool of psycopg or its conninfo. The others are as a Client's. Raises NotConfigured."""
        self._client = Client(url, token, folder=folder, patience=PATIENCE, verify=verify)
        self._database = Kept(database) if isinstance(database, str) else database
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="leveret outbox", daemon=True)

    def __enter__(self) -> Self:
        waking.listening.add(self._woken.set)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        waking.listening.discard(self._woken.set)
        self._stopping.set()
        self._woken.set()
        self._thread.join(LAST_ROUND)
        if isinstance(self._database, Kept):
            self._database.close()
        self._client.close()

    def _run(self) -> None:
        steps = Relaying(random.random).rounds()
        step = next(steps)
        while not (self._stopping.is_set() and isinstance(step, Wait)):
            step = steps.send(self._heard(step))

    def _heard(self, step: Run | Post | Wait) -> Heard:
        found, error, woken = None, None, False
        try:
            match step:
                case Run(statement, value):
                    with borrowed(self._database) as connection:
                        found = run(connection, statement, value)
                case Post(queue, jobs):
                    self._client.submit_many(queue, jobs)
                case Wait(seconds, True):
                    self._woken.clear()
                    woken = self._woken.wait(seconds)
                case Wait(seconds):
                    self._stopping.wait(seconds)
        except Exception as problem:  # noqa: BLE001 - also of drivers that are not ours: the loop goes on
            error = _told(problem)
        return Heard(time.monotonic(), found, error, woken)


def _told(problem: Exception) -> Exception:
    kept = "its jobs stay in the outbox" if isinstance(problem, LeveretError) else "jobs stay in the outbox"
    log.warning("%s: %s; %s", type(problem).__name__, problem, kept)
    return problem
