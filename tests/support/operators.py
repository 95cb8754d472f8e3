"""Operators beside a real broker, their cluster played."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from played import Cluster, Scene

from leveret.retry import RetryPolicy
from leveret.scaling.decide import Policy
from leveret.settings import Broker
from leveret_operator.announcements import Announcements
from leveret_operator.broker import BrokerLink
from leveret_operator.broker_statistics import BrokerStatistics
from leveret_operator.bulk import Bulk
from leveret_operator.jobqueue import Consumer, JobQueue
from leveret_operator.loop import CentralLoop
from leveret_operator.parsing import parse_recorded
from leveret_operator.present_versions import PresentVersions
from leveret_operator.registry import Registry

POLICY = Policy(1, 10, 100, timedelta(seconds=60), timedelta(minutes=2))


def jobqueues(number: int) -> list[JobQueue]:
    return [
        JobQueue("leveret", f"q{n}", f"u{n}", 3, Consumer("i", "a:b", 1), RetryPolicy(), timedelta(seconds=30), POLICY)
        for n in range(number)
    ]


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Operators:
    """Starts one after the other; the cluster and the broker stay."""

    cluster: Cluster
    broker: Broker
    statistics: BrokerStatistics
    jobqueues: list[JobQueue]

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        loop, announcements, versions = CentralLoop(), Announcements("leveret"), PresentVersions()
        changed, nobody = loop.wake_all, lambda _: None
        link = BrokerLink(announcements, versions, heard=loop.hear, changed=changed, clock=now, asked=nobody)
        bulk, registry = Bulk(self.statistics, lambda: self.broker, now), Registry(loop.wake)
        for jobqueue in self.jobqueues:
            recorded = parse_recorded({"status": self.cluster.statuses.get(jobqueue.name, {})})
            registry.jobqueue_is(jobqueue, recorded)
        scene = Scene(self.jobqueues[0])
        own: dict[str, Any] = {"api": self.cluster, "events": self.cluster}
        tools = replace(
            scene.tools,
            **own, broker=link, bulk=bulk, registry=registry, announcements=announcements, versions=versions, clock=now,
        )  # fmt: skip
        works = (loop.run(tools), link.run(lambda: self.broker, "test-operator"), bulk.run())
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def conditions(self) -> dict[str, dict[str, tuple[str, str]]]:
        return {
            name: {one["type"]: (one["status"], one["lastTransitionTime"]) for one in status["conditions"]}
            for name, status in self.cluster.statuses.items()
        }

    def all_well(self) -> bool:
        said = [status for one in self.conditions().values() for status, _ in one.values()]
        return len(said) == 6 * len(self.jobqueues) and set(said) == {"True"}
