"""What is said about queues, how often, and that decisions outlive a connection."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

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
from leveret_operator.announcements import Announcements
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
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return broker.said


async def test_a_definition_is_repeated_each_minute_at_a_change_and_on_a_connection(jobqueue: JobQueue) -> None:
    announcements = Announcements("leveret")
    for second in (0, 1, 59, 60, 61):
        announcements.define(jobqueue, None, at(second))
    announcements.define(replace(jobqueue, timeout=timedelta(seconds=9)), None, at(62))
    announcements.new_connection()
    announcements.define(jobqueue, None, at(63))
    assert [event.at for event in await published(announcements)] == [at(0), at(60), at(62), at(63)]


async def test_all_jobqueues_are_listed_each_minute_and_on_a_connection() -> None:
    announcements, there = Announcements("leveret"), dict[str, str | None]()
    for second in (0, 1, 59, 60, 61):
        there[f"jobqueue-{second}"] = f"leveret.jobqueue-{second}"
        announcements.list_all(lambda: there, at(second))
    announcements.new_connection()
    announcements.list_all(lambda: {"odd": None}, at(62))
    assert await published(announcements) == [
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
    for second, ready in ((0, 1), (1, 2), (5, 2), (19, 2), (30, 2), (44, 2), (65, 2)):
        announcements.observe(limited, QueueObserved(at(second), ready=ready))
    assert [event.at for event in await published(announcements)] == [at(second) for second in said]


async def test_a_definition_tells_the_limit_and_whose_dead_letters_are_taken(jobqueue: JobQueue) -> None:
    announcements, limited = (
        Announcements("leveret"),
        replace(jobqueue, queue_spec=QueueSpec("shop.mails", 500, 3, "other")),
    )
    announcements.define(limited, None, at(0))
    announcements.define(limited, Source("shop.other"), at(1))
    told = [
        (event.max_length, event.dead_letters_of)
        for event in await published(announcements)
        if isinstance(event, QueueDefined)
    ]
    assert told == [(500, None), (500, "shop.other")]


async def test_a_decision_waits_for_the_next_connection() -> None:
    announcements, broker = Announcements("leveret"), Broker(fails=1)
    decided = QueueDecided(at(0), 0, 5, "Backlog", "m")
    announcements.decide("leveret.a", decided)
    announcements.remove("leveret.a", at(1))
    with pytest.raises(BrokerGone):
        await announcements.publish(broker)
    assert await published(announcements) == [decided, QueueRemoved(at(1))]
