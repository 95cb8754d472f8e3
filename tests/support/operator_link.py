"""The operator beside a real broker: its session alone, or all of it with its cluster played."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from played import Cluster, Scene

from leveret.settings import Broker
from leveret.signals import Signal
from leveret_operator.announcements import Announcements
from leveret_operator.broker import BrokerLink
from leveret_operator.broker_statistics import BrokerStatistics
from leveret_operator.bulk import Bulk
from leveret_operator.fence import Held, alone
from leveret_operator.jobqueue import JobQueue
from leveret_operator.loop import CentralLoop
from leveret_operator.parsing import parse_recorded
from leveret_operator.present_versions import PresentVersions
from leveret_operator.registry import Registry


def now() -> datetime:
    return datetime.now(UTC)


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
    held: Held = alone,
) -> AsyncIterator[BrokerLink]:
    link = BrokerLink(
        announcements or Announcements("leveret"),
        versions or PresentVersions(),
        heard=heard,
        changed=lambda: None,
        clock=now,
        asked=lambda kind: None,
        held=held,
        looks_after_every=1.0,
    )
    task = asyncio.create_task(link.run(read, "test-operator"))
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def operating(
    cluster: Cluster, broker: Broker, statistics: BrokerStatistics, jobqueues: Sequence[JobQueue]
) -> AsyncIterator[None]:
    loop, announcements, versions = CentralLoop(), Announcements("leveret"), PresentVersions()
    changed, nobody = loop.wake_all, lambda _: None
    link = BrokerLink(announcements, versions, heard=loop.hear, changed=changed, clock=now, asked=nobody)
    bulk, registry = Bulk(statistics, lambda: broker, now), Registry(loop.wake)
    for jobqueue in jobqueues:
        recorded = parse_recorded({"status": cluster.statuses.get(jobqueue.name, {})})
        registry.jobqueue_is(jobqueue, recorded)
    scene = Scene(jobqueues[0])
    own: dict[str, Any] = {"api": cluster, "events": cluster}
    tools = replace(
        scene.tools,
        **own, broker=link, bulk=bulk, registry=registry, announcements=announcements, versions=versions, clock=now,
    )  # fmt: skip
    works = (loop.run(tools), link.run(lambda: broker, "test-operator"), bulk.run())
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
