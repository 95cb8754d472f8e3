"""The operator's session with a broker, alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from leveret.settings import Broker
from leveret.signals import Signal
from leveret_operator.announcements import Announcements
from leveret_operator.broker import BrokerLink
from leveret_operator.present_versions import PresentVersions


async def until(probe: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not probe():  # noqa: ASYNC110 - what is waited for happens in the broker
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def linked(
    read: Callable[[], Broker],
    announcements: Announcements | None = None,
    versions: PresentVersions | None = None,
    heard: Callable[[Signal], None] = lambda _: None,
) -> AsyncIterator[BrokerLink]:
    link = BrokerLink(
        announcements or Announcements("leveret"),
        versions or PresentVersions(),
        heard=heard,
        changed=lambda: None,
        clock=lambda: datetime.now(UTC),
        asked=lambda kind: None,
        looks_after_every=1.0,
    )
    task = asyncio.create_task(link.run(read, "test-operator"))
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
