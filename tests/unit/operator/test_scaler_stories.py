"""Turns on a broker with statistics of its own clock: what is written to the Deployment, and never too little."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from played import START, Scene
from played_queue import PlayedQueue

from leveret.scaling.decide import Policy
from leveret.scaling.demand import Signals
from leveret.scaling.gathering import LOOK_AGAIN, gather
from leveret_operator.jobqueue import JobQueue


class Turning:
    """A turn each second, and 150 ms after a hint of work; the Deployment's pods are those of the played queue."""

    def __init__(self, jobqueue: JobQueue, policy: Policy, *, replicas: int = 0, **world: float) -> None:
        self.scene = Scene(replace(jobqueue, policy=policy))
        self.queue = PlayedQueue(self._hears, **world)
        self.scene.cluster.replicas = replicas
        self.queue.scale(replicas)
        self.due: float | None = None
        self.short: list[tuple[float, int, int]] = []  # writes of less than the true backlog asks for

    def _hears(self, heard: Callable[[Signals, datetime], Signals]) -> None:
        kept, now = self.scene.kept, START + timedelta(seconds=self.queue.now)
        before = kept.memory.signals
        kept.hear(heard(before, now))
        if self.queue.hinted:
            kept.gathering = gather(kept.gathering, before, now)

    async def until(self, second: float) -> None:
        queue, cluster = self.queue, self.scene.cluster
        while queue.now < second:
            queue.step()
            self.due = round(queue.now + 0.15, 2) if queue.hinted and self.due is None else self.due
            queue.hinted = False
            if self.due == queue.now or (self.due is None and queue.now == round(queue.now)):
                self.due, before = None, len(cluster.sizes)
                self.scene.broker.ready = queue.ready
                await self.scene.turn(queue.now, bulk=queue.bulk)
                if self.scene.kept.gathering is not None:
                    self.due = round(queue.now + LOOK_AGAIN.total_seconds(), 2)
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


@pytest.mark.parametrize("producers", [pytest.param(1, id="one"), pytest.param(2, id="two")])
@pytest.mark.parametrize("apart", [pytest.param(0.1, id="in-half-a-second"), pytest.param(0.2, id="in-a-second")])
async def test_requests_that_are_stored_one_after_the_other_are_answered_in_one_write(
    jobqueue: JobQueue, producers: int, apart: float
) -> None:
    policy = Policy(0, 100, 100, timedelta(seconds=60), timedelta(minutes=2))
    turning = Turning(jobqueue, policy, producers=producers, publishes=4_000)
    await turning.until(7)
    for request in range(5):
        turning.queue.commit(request % producers, 1_000)
        await turning.until(round(7 + apart * (request + 1), 2))
    await turning.until(40)
    assert turning.scene.cluster.sizes == [50]


async def test_the_first_job_of_a_queue_waits_for_no_others(jobqueue: JobQueue) -> None:
    policy = Policy(0, 100, 100, timedelta(seconds=60), timedelta(minutes=2))
    turning = Turning(jobqueue, policy)
    await turning.until(7)
    turning.queue.commit(0, 1)
    await turning.until(7.3)
    assert turning.scene.cluster.sizes == [1]


async def test_what_grows_on_and_on_is_answered_within_a_second_and_a_half(jobqueue: JobQueue) -> None:
    policy = Policy(0, 1_000, 100, timedelta(seconds=60), timedelta(minutes=2))
    turning = Turning(jobqueue, policy, publishes=100_000)
    await turning.until(7)
    while turning.queue.now < 8.5:
        turning.queue.commit(0, 1_000)
        await turning.until(round(turning.queue.now + 0.05, 2))
    assert len(turning.scene.cluster.sizes) == 1


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
