"""Operators beside a real broker, their cluster played."""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from operator_link import operating
from played import Cluster

from leveret.retry import RetryPolicy
from leveret.scaling.decide import Policy
from leveret.settings import Broker
from leveret_operator.broker_statistics import BrokerStatistics
from leveret_operator.jobqueue import Consumer, JobQueue

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

    def one(self) -> contextlib.AbstractAsyncContextManager[None]:
        return operating(self.cluster, self.broker, self.statistics, self.jobqueues)

    def conditions(self) -> dict[str, dict[str, tuple[str, str]]]:
        return {
            name: {one["type"]: (one["status"], one["lastTransitionTime"]) for one in status["conditions"]}
            for name, status in self.cluster.statuses.items()
        }

    def all_well(self) -> bool:
        said = [status for one in self.conditions().values() for status, _ in one.values()]
        return len(said) == 6 * len(self.jobqueues) and set(said) == {"True"}
