"""The loop over several JobQueues: who has a queue that two claim, and what happens when its owner goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from played import START, Scene

from leveret.signals import Heartbeat, Hint
from leveret_operator.jobqueue import JobQueue, QueueSpec, Recorded
from leveret_operator.loop import CentralLoop
from leveret_operator.registry import Registry


class Looping:
    """A loop that turns, on a cluster and a broker that are played, with the real clock."""

    def __init__(self, jobqueue: JobQueue) -> None:
        self.jobqueue, self.loop = jobqueue, CentralLoop()
        scene = Scene(jobqueue)
        self.cluster, self.broker = scene.cluster, scene.broker
        self.registry = Registry(self.loop.wake)
        self.broker.now = lambda: datetime.now(UTC)
        self.tools = replace(scene.tools, registry=self.registry, clock=lambda: datetime.now(UTC))

    def applies(
        self, name: str, queue: str | None = None, *, second: int = 0, uid: str | None = None, **more: str
    ) -> None:
        consumer = replace(self.jobqueue.consumer, image=more.get("image", self.jobqueue.consumer.image))
        spec = QueueSpec(queue, dead_letters_of=more.get("takes"))
        made = replace(
            self.jobqueue,
            name=name,
            uid=uid or name,
            consumer=consumer,
            queue_spec=spec,
            created=START + timedelta(seconds=second),
        )
        self.registry.jobqueue_is(made, Recorded())

    def ready(self, name: str) -> tuple[str, str]:
        return self.cluster.condition("Ready", name)

    def applied(self) -> list[str]:
        return [manifest["metadata"]["name"] for manifest in self.cluster.applied]


@pytest.fixture
async def looping(jobqueue: JobQueue) -> AsyncIterator[Looping]:
    made = Looping(jobqueue)
    task = asyncio.create_task(made.loop.run(made.tools))
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not probe():  # noqa: ASYNC110 - the loop turns beside us
            await asyncio.sleep(0.02)


READY = ("True", "Reconciled")


async def test_what_a_heartbeat_says_is_kept_its_version_too(looping: Looping) -> None:
    looping.applies("mails")
    await until(lambda: looping.ready("mails") == READY)
    looping.loop.hear(Heartbeat("c", "leveret.mails", START, 5, 2, 7, 1.5, leveret="0.2.0"))
    beat = looping.loop._kept["mails"].memory.signals.beats["c"]
    assert (beat.in_flight, beat.finished, beat.version) == (2, 7, "0.2.0")


async def test_a_new_consumer_is_told_at_once_and_how_long_jobs_ran_lately(looping: Looping) -> None:
    versions = looping.tools.versions
    looping.applies("mails")
    await until(lambda: looping.ready("mails") == READY)
    told = versions.due(START)
    assert [(one.queue, one.run_seconds) for one in told] == [("leveret.mails", None)]
    for consumer, finished, busy in (("a", 0, 0.0), ("a", 100, 5.0), ("b", 100, 9.0)):
        looping.loop.hear(Heartbeat(consumer, "leveret.mails", START, 5, 0, finished, busy))
    looping.loop.wake("mails")
    await until(lambda: versions._run_seconds["leveret.mails"] is not None)
    told = versions.due(START)
    assert [(one.queue, one.run_seconds) for one in told] == [("leveret.mails", 0.05)], "b's are of another time"
    looping.loop.hear(Heartbeat("b", "leveret.mails", START, 5, 0, 100, 9.0))
    assert not versions.due(START), "b is known"


async def test_the_second_claim_waits_until_the_first_is_gone(looping: Looping) -> None:
    looping.applies("first", "leveret.mails", second=0)
    looping.applies("second", "leveret.mails", second=9)
    await until(lambda: looping.ready("first") == READY and looping.ready("second") == ("False", "QueueNameTaken"))
    assert looping.applied() == ["first-consumer"]
    looping.registry.jobqueue_is_gone("second")
    looping.applies("third", "leveret.mails", second=10)
    await until(lambda: looping.ready("third") == ("False", "QueueNameTaken"))
    looping.registry.jobqueue_is_gone("first")
    await until(lambda: looping.ready("third") == READY)
    assert looping.applied() == ["first-consumer", "third-consumer"]
    waiting = looping.tools.announcements._waiting.items()
    told = [type(event).__name__ for (key, _), event in waiting if key == "queue.leveret.mails"]
    assert told.count("QueueRemoved") == 1  # the second one's end was nobody's business
    assert told.index("QueueRemoved") < len(told) - 1 - told[::-1].index("QueueDefined")


async def test_of_two_of_the_same_second_the_one_that_was_seen_first_may_have_to_give_way(looping: Looping) -> None:
    looping.applies("b", "leveret.mails", uid="2")
    await until(lambda: looping.ready("b") == READY)
    looping.applies("a", "leveret.mails", uid="1")
    await until(lambda: looping.ready("a") == READY and looping.ready("b") == ("False", "QueueNameTaken"))
    assert looping.cluster.sizes == [0]  # the consumers of b, which are not a's


async def test_a_hint_goes_to_the_owner(looping: Looping) -> None:
    looping.applies("first", "leveret.mails", second=0)
    looping.applies("second", "leveret.mails", second=9)
    await until(lambda: looping.ready("first") == READY and looping.ready("second") == ("False", "QueueNameTaken"))
    looping.loop.hear(Hint("p", "leveret.mails", datetime.now(UTC), 700, 700))
    await until(lambda: bool(looping.cluster.sizes))
    assert looping.cluster.sizes == [7]
    assert looping.cluster.statuses["second"]["desiredReplicas"] is None


async def test_hints_that_come_while_the_queue_grows_are_answered_in_one_write(looping: Looping) -> None:
    looping.applies("first", "leveret.mails")
    await until(lambda: looping.ready("first") == READY)
    looping.loop.hear(Hint("p", "leveret.mails", datetime.now(UTC), 300, 300))
    gathers = looping.loop._kept["first"]
    await until(lambda: gathers.gathering is not None and gathers.gathering.jobs == 300)  # it was looked at
    looping.loop.hear(Hint("q", "leveret.mails", datetime.now(UTC), 400, 400))
    await until(lambda: bool(looping.cluster.sizes))
    assert looping.cluster.sizes == [7]


async def test_a_jobqueue_that_is_made_anew_with_another_queue_leaves_the_old_one(looping: Looping) -> None:
    looping.applies("first", "leveret.old", uid="1")
    await until(lambda: looping.ready("first") == READY)
    looping.applies("first", "leveret.new", uid="2", second=1)  # its deletion was not seen
    await until(lambda: "leveret.new" in looping.broker.declared)
    told = [(key, type(event).__name__) for (key, _), event in looping.tools.announcements._waiting.items()]
    assert ("queue.leveret.old", "QueueRemoved") in told
    assert ("queue.leveret.new", "QueueRemoved") not in told


async def test_a_source_that_comes_later_is_taken_from_and_let_go_with_its_jobqueue(looping: Looping) -> None:
    looping.applies("taker", takes="maker")
    await until(lambda: looping.cluster.condition("TopologyReady", "taker") == ("True", "SourceMissing"))
    looping.applies("maker", "leveret.made")

    def takes(queue: str) -> Callable[[], bool]:
        def probe() -> bool:
            last = next(one for one in reversed(looping.cluster.applied) if one["metadata"]["name"] == "taker-consumer")
            env = last["spec"]["template"]["spec"]["containers"][0]["env"]
            return next(one["value"] for one in env if one["name"] == "LEVERET_SOURCE_QUEUE") == queue

        return probe

    await until(takes("leveret.made.dead"))
    looping.registry.jobqueue_is_gone("maker")
    await until(takes(""))


async def test_consumers_are_told_the_version_of_the_one_that_has_the_queue(looping: Looping) -> None:
    def told() -> list[tuple[str, str]]:
        looping.tools.versions.new_connection()
        return [(one.queue, one.version) for one in looping.tools.versions.due(START)]

    looping.applies("first", "leveret.mails")
    looping.applies("second", "leveret.mails", second=1, image="example/shop:1.5")
    await until(lambda: looping.ready("second") == ("False", "QueueNameTaken"))
    await until(lambda: looping.ready("first") == READY)
    old, new = (looping.registry.jobqueues[name].version for name in ("first", "second"))
    assert told() == [("leveret.mails", old)]
    looping.registry.jobqueue_is_gone("first")
    await until(lambda: looping.ready("second") == READY)
    assert told() == [("leveret.mails", new)]
    looping.registry.jobqueue_is_gone("second")
    await until(lambda: told() == [])
