"""A consumer's process in one session, on a connection that notes what it is asked for."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pretended_broker import Connection

from leveret import Handlers, Retry, control, wire
from leveret.control import Cancel, Control
from leveret.jobs import Envelope
from leveret.retry import RetryPolicy
from leveret.sdk.handlers import Pool
from leveret_consumer.attempt import Attempts, Rules
from leveret_consumer.commands import Commands
from leveret_consumer.control_inbox import ControlInbox
from leveret_consumer.jobqueue_inbox import JobQueueInbox
from leveret_consumer.lane import AioPika
from leveret_consumer.load import Heartbeats, Load
from leveret_consumer.pools import LoopPool
from leveret_consumer.prefetch import Prefetching
from leveret_consumer.remembered import Remembered
from leveret_consumer.reports import Reports
from leveret_consumer.session import Process, Session
from leveret_consumer.settings import Settings
from leveret_consumer.status import Status, Stop

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
TWICE = Retry(2, initial=4, jitter="none")


class Consumer:
    def __init__(
        self,
        handlers: Handlers,
        *,
        slots: int = 1,
        timeout: float = 30.0,
        retry: RetryPolicy = TWICE,
        now: Callable[[], datetime] = lambda: NOON,
    ) -> None:
        self.connection = Connection(queues={"q"})
        self.overruns: list[str] = []
        settings = Settings("q", "m:handlers", "pod", concurrency=slots, grace=timedelta(seconds=20))
        self.load, reports = Load(slots), Reports()
        self.stop, self.status = Stop(), Status("q")
        self.commands = Commands("q")
        attempts = Attempts(
            Rules("pod", timedelta(seconds=timeout), retry),
            {Pool.LOOP: LoopPool()},
            self.load,
            reports,
            now=now,
            draw=lambda: 0.5,
            overrun=self.overruns.append,
            commands=self.commands,
        )
        self.process = Process(
            settings=settings,
            handlers=handlers,
            attempts=attempts,
            remembered=Remembered(slots),
            load=self.load,
            reports=reports,
            heartbeats=Heartbeats("pod", "q", self.load, now),
            status=self.status,
            stop=self.stop,
            now=now,
            jobqueue=JobQueueInbox("q", "", now=now),
            control=ControlInbox(self.commands, self.load, self.status, now=now, changed=attempts.stop_cancelled),
            prefetching=Prefetching(slots, settings.timeout, has_source=False),
            lane=AioPika(),  # the frames of the other are for a real channel
        )
        self.process.control.up_to_date.set()
        self.running = self.connect(self.connection)

    def connect(self, connection: Any) -> asyncio.Task[None]:
        return asyncio.create_task(Session.run(self.process, connection))

    def deliver(self, number: int, type: str = "wait", tag: str = "pod", **fields: Any) -> asyncio.Task[None]:
        job = Envelope(UUID(int=number), "q", type, b'{"n":1}', **fields)
        return self.connection.deliver(wire.to_message(job, {"mine": 1}), tag)

    def cancel(self, *numbers: int) -> None:
        """As the control stream tells."""
        now = self.process.now()
        jobs = control.pack((UUID(int=number), 1) for number in numbers)
        self.commands.hear(Control(now, [Cancel("q", jobs, control.until(now))]), now)
        self.process.attempts.stop_cancelled()

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not seen():  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.01)

    async def ready(self) -> None:
        await self.until(lambda: self.status.readiness().ready)

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.wait({self.running})
