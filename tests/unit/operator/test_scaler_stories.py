"""Turns on a broker with statistics of its own clock: what is written to the Deployment, and never too little."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from played import START, Scene
from played_queue import PlayedQueue

from leveret.scaling.decide import Policy
from leveret.scaling.demand import Signals
from leveret_operator.jobqueue import JobQueue


class Turning:
    """A turn each second, and 150 ms after a hint of work; the Deployment's pods are those of the played queue."""

    def __init__(self, jobqueue: JobQueue, policy: Policy, *, replicas: int = 0, **world: float) -> None:
        self.scene = Scene(replace(jobqueue, policy=policy))
        self.queue = PlayedQueue(self._hears, **world)
        self.scene.cluster.replicas = replicas
        self.queue.scale(replicas)
        self.short: list[tuple[float, int, int]] = []  # writes of less than the true backlog asks for

    def _hears(self, heard: Callable[[Signals, datetime], Signals]) -> None:
        kept = self.scene.kept
        kept.hear(heard(kept.memory.signals, START + timedelta(seconds=self.queue.now)))

    async def until(self, second: float) -> None:
        queue, cluster, due = self.queue, self.scene.cluster, None
        while queue.now < second:
            queue.step()
            due = round(queue.now + 0.15, 2) if queue.hinted and due is None else due
            queue.hinted = False
            if due == queue.now or (due is None and queue.now == round(queue.now)):
                due, before = None, len(cluster.sizes)
                self.scene.broker.ready = queue.ready
                await self.scene.turn(queue.now, bulk=queue.bulk)
                asked = min(self.scene.kept.jobqueue.policy.max_replicas, -(-queue.backlog // 100))
                self.short += [(queue.now, size, asked) for size in cluster.sizes[before:] if size < asked]
                queue.scale(cluster.replicas)


@pytest.mark.parametrize(
    "producers", [pytest.param(1, id="one"), pytest.param(2, id="two"), pytest.param(4, id="four")]
)
async def test_the_first_write_is_the_last_however_many_producers_there_are(jobqueue: JobQueue, producers: int) -> None:
    policy = Policy(0, 100, 100, timedelta(seconds=60), timedelta(minutes=2))
    turning = Turning(jobqueue, policy, producers=producers, publishes=2_000)
    await turning.until(7)
    for producer in range(producers):
        turning.queue.commit(producer, 5_000 // producers)
    await turning.until(40)
    assert turning.scene.cluster.sizes == [50]


async def test_minute_long_jobs_keep_their_pods_without_any_window(jobqueue: JobQueue) -> None:
    policy = Policy(0, 10, 100, timedelta(0), timedelta(minutes=2))
    turning = Turning(jobqueue, policy, replicas=10)
    await turning.until(4)
    turning.queue.commit(0, 1_100)
    await turning.until(60)
    assert turning.short == []
    assert min(turning.scene.cluster.sizes[1:], default=10) == 10
    await turning.until(400)
    assert turning.short == []
    assert turning.scene.cluster.sizes[-1] == 0
