"""What is said about queues, how often, and that decisions outlive a connection."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
import pytest

from leveret.events import (
    JobQueuesListed,
    QueueDecided,
    QueueDefined,
    QueueEvent,
    QueueObserved,
    QueueRemoved,
    decode,
)
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed
from leveret_operator.announcements import DECISIONS_KEPT, Announcements
from leveret_operator.dead_letter_sources import Source
from leveret_operator.jobqueue import JobQueue, QueueSpec

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


class Broker:
    """Takes what is published; fails as often as it is told."""

    def __init__(self, fails: int = 0) -> None:
        self.fails, self.said = fails, list[QueueEvent | JobQueuesListed]()

    async def publish(self, exchange: str, routing_key: str, message: aio_pika.Message) -> None:
        assert exchange == "leveret.events"
        if self.fails:
            self.fails -= 1
            raise NotConfirmed("gone")
        event = decode(routing_key, message.body)[1]
        assert isinstance(event, JobQueuesListed | QueueDefined | QueueRemoved | QueueObserved | QueueDecided)
        self.said.append(event)


async def published(announcements: Announcements, broker: Broker | None = None) -> list[QueueEvent | JobQueuesListed]:
    broker = broker or Broker()
    task = asyncio.create_task(announcements.publish(broker))
    for _ in range(20 + 2 * announcements.waiting):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return broker.said


async def test_a_definition_is_repeated_each_minute_at_a_change_and_on_a_connection(jobqueue: JobQueue) -> None:
    announcements, said = Announcements("leveret"), list[datetime]()

    async def defines(second: float, **changes: Any) -> None:
        announcements.define(replace(jobqueue, **changes), None, at(second))
        said.extend(event.at for event in await published(announcements))

    for second in (0, 1, 59, 60, 61):
        await defines(second)
    await defines(62, timeout=timedelta(seconds=9))
    announcements.new_connection()
    await defines(63)
    assert said == [at(0), at(60), at(62), at(63)]


async def test_all_jobqueues_are_listed_each_minute_and_on_a_connection() -> None:
    announcements, there, broker = Announcements("leveret"), dict[str, str | None](), Broker()
    for second in (0, 1, 59, 60, 61):
        there[f"jobqueue-{second}"] = f"leveret.jobqueue-{second}"
        announcements.list_all(lambda: there, at(second))
        await published(announcements, broker)
    announcements.new_connection()
    announcements.list_all(lambda: {"odd": None}, at(62))
    assert await published(announcements, broker) == [
        JobQueuesListed(at(0), {"jobqueue-0": "leveret.jobqueue-0"}),
        JobQueuesListed(at(60), {f"jobqueue-{second}": f"leveret.jobqueue-{second}" for second in (0, 1, 59, 60)}),
        JobQueuesListed(at(62), {"odd": None}),
    ]


@pytest.mark.parametrize(
    ("max_length", "said"),
    [pytest.param(None, [0, 5, 65], id="without-limit"), pytest.param(9, [0, 5, 30, 65], id="with-limit")],
)
async def test_an_observation_is_said_when_it_is_news_or_a_limit_needs_it(
    jobqueue: JobQueue, max_length: int | None, said: list[int]
) -> None:
    announcements, limited = Announcements("leveret"), replace(jobqueue, queue_spec=QueueSpec(max_length=max_length))
    broker = Broker()
    for second, ready in ((0, 1), (1, 2), (5, 2), (19, 2), (30, 2), (44, 2), (65, 2)):
        announcements.observe(limited, QueueObserved(at(second), ready=ready))
        await published(announcements, broker)
    assert [event.at for event in broker.said] == [at(second) for second in said]


async def test_a_definition_tells_the_limit_and_whose_dead_letters_are_taken(jobqueue: JobQueue) -> None:
    announcements, limited = (
        Announcements("leveret"),
        replace(jobqueue, queue_spec=QueueSpec("shop.mails", 500, 3, "other")),
    )
    broker = Broker()
    for second, source in enumerate((None, Source("shop.other"))):
        announcements.define(limited, source, at(second))
        await published(announcements, broker)
    told = [(event.max_length, event.dead_letters_of) for event in broker.said if isinstance(event, QueueDefined)]
    assert told == [(500, None), (500, "shop.other")]


async def test_a_decision_waits_for_the_next_connection() -> None:
    announcements, broker = Announcements("leveret"), Broker(fails=1)
    decided = QueueDecided(at(0), 0, 5, "Backlog", "m")
    announcements.decide("leveret.a", decided)
    announcements.remove("leveret.a", at(1))
    with pytest.raises(BrokerGone):
        await announcements.publish(broker)
    assert await published(announcements) == [decided, QueueRemoved(at(1))]


@pytest.mark.parametrize("number", [900, 1_100, 5_000])
async def test_no_definition_is_lost_however_many_queues_wait_and_however_long(jobqueue: JobQueue, number: int) -> None:
    announcements = Announcements("leveret")
    decisions = [QueueDecided(at(second), 0, 5, "Backlog", "m") for second in range(20)]
    announcements.list_all(lambda: {"a": "leveret.a"}, at(0))
    for minute, decided in enumerate(decisions):  # the broker takes nothing all the while
        announcements.decide("leveret.first", decided)
        for one in range(number):
            queue = replace(jobqueue, name=f"q{one}", uid=str(one))
            announcements.define(queue, None, at(60 * minute))
            announcements.observe(queue, QueueObserved(at(60 * minute), ready=minute))
    said = await published(announcements)
    assert [event for event in said if isinstance(event, QueueDecided)] == decisions
    told = [event for event in said if isinstance(event, QueueDefined)]
    assert [event.jobqueue for event in told] == [f"q{one}" for one in range(number)]
    assert {event.at for event in told} == {at(60 * 19)}, "the newest of each"
    assert len([event for event in said if isinstance(event, QueueObserved)]) == number
    assert any(isinstance(event, JobQueuesListed) for event in said)
    assert announcements.waiting == 0


async def test_of_too_many_decisions_the_oldest_is_dropped_and_nothing_else(jobqueue: JobQueue) -> None:
    announcements = Announcements("leveret")
    announcements.define(jobqueue, None, at(0))
    decisions = [QueueDecided(at(number), 0, number, "Backlog", "m") for number in range(DECISIONS_KEPT + 2)]
    for decided in decisions:
        announcements.decide("leveret.a", decided)
    said = await published(announcements)
    assert said[1:] == decisions[2:]
    assert isinstance(said[0], QueueDefined)


async def test_what_was_said_while_the_last_is_on_its_way_is_published_too(jobqueue: JobQueue) -> None:
    announcements = Announcements("leveret")

    class Slow(Broker):
        async def publish(self, exchange: str, routing_key: str, message: aio_pika.Message) -> None:
            await super().publish(exchange, routing_key, message)
            if len(self.said) == 1:
                announcements.observe(jobqueue, QueueObserved(at(5), ready=2))

    announcements.observe(jobqueue, QueueObserved(at(0), ready=1))
    assert [event.at for event in await published(announcements, Slow())] == [at(0), at(5)]


async def test_one_that_is_gone_is_not_defined_after_that(jobqueue: JobQueue) -> None:
    announcements = Announcements("leveret")
    announcements.define(jobqueue, None, at(0))
    announcements.observe(jobqueue, QueueObserved(at(0), ready=1))
    announcements.remove(jobqueue.queue, at(1))
    assert await published(announcements) == [QueueRemoved(at(1))]
    announcements.define(jobqueue, None, at(2))
    announcements.remove("leveret.other", at(3))
    assert [type(event) for event in await published(announcements)] == [QueueDefined, QueueRemoved]
