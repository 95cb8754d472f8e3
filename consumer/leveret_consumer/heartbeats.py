"""Tell the operator that this consumer is there and how busy it is.

Every 5 s, and at once when it turns idle, busy or starts to stop, but at most twice a second: many short jobs turn a
consumer idle and busy hundreds of times a second. Not persistent, not confirmed: the next one replaces it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime

from leveret.signals import Heartbeat
from leveret.version import VERSION
from leveret_consumer.load import Load

EVERY = 5.0  # s
AT_MOST_EVERY = 0.5  # s


Send = Callable[[Heartbeat], Awaitable[None]]


class Heartbeats:
    def __init__(self, consumer: str, queue: str, load: Load, now: Callable[[], datetime]) -> None:
        self._consumer, self._queue, self._load, self._now = consumer, queue, load, now
        self._stopping = False
        self._send: Send | None = None

    def beat(self) -> Heartbeat:
        load = self._load
        return Heartbeat(
            consumer=self._consumer,
            queue=self._queue,
            at=self._now(),
            slots=load.slots,
            in_flight=load.held,
            finished=load.finished.attempts,
            busy_seconds=round(load.finished.busy_seconds, 6),
            stopping=self._stopping,
            leveret=VERSION,
        )

    async def stopping(self) -> None:
        """Tell at once that this consumer is about to stop, and call it again when it has."""
        self._stopping = True
        if self._send:
            await self._send(self.beat())

    async def run(self, send: Send) -> None:
        """Send heartbeats until cancelled."""
        self._send = send
        while True:
            self._load.turned.clear()
            await send(self.beat())
            await asyncio.sleep(AT_MOST_EVERY)
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: it forgets that it was cancelled if what it waits for happens in the same moment.
                async with asyncio.timeout(EVERY - AT_MOST_EVERY):
                    await self._load.turned.wait()
