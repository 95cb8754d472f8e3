"""Where follow-ups go: to their queues, to the store, and what is told of them, until all of it is confirmed."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aio_pika
import pytest
from virtual_time import run

from leveret.events import JobEvent
from leveret.jobs import Envelope, State
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import Nacked, NotConfirmed, Unroutable
from leveret.sdk.follow_ups import FollowUp
from leveret_consumer.reports import Reports
from leveret_consumer.submitting import Submitting

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
PARENT = Envelope(UUID(int=1), "leveret.q", "parent", b"{}", reply_to="answers", traceparent="00-a-b-01", deadline=NOON)


def child(number: int, queue: str = "leveret.q", run_at: datetime | None = None) -> FollowUp:
    return FollowUp(UUID(int=number), queue, "child", b'{"n":%d}' % number, run_at)


class Broker:
    def __init__(self, *problems: Exception) -> None:
        self.problems = list(problems)  # of its first publishes
        self.published: list[tuple[str, str, aio_pika.Message]] = []
        self.batches: list[tuple[str | None, list[JobEvent]]] = []

    async def publish(
        self, exchange: str, routing_key: str, message: aio_pika.Message, timeout: float, *, mandatory: bool = True
    ) -> None:
        assert mandatory
        if self.problems:
            raise self.problems.pop(0)
        self.published.append((exchange, routing_key, message))

    async def report(self, batch: list[JobEvent], queue: str | None) -> None:
        self.batches.append((queue, batch))

    async def submit(self, *follow_ups: FollowUp) -> None:
        reports = Reports()
        reporting = asyncio.create_task(reports.run(self.report))
        await asyncio.sleep(0)
        try:
            await Submitting("leveret.q", "pod", reports, self.publish, lambda: NOON).submit(PARENT, follow_ups)
        finally:
            reporting.cancel()
            await asyncio.wait({reporting})

    @property
    def told(self) -> list[tuple[int, str | None, State]]:
        return [(event.id.int, queue, event.state) for queue, batch in self.batches for event in batch]


def submitted(*follow_ups: FollowUp, problems: list[Exception] | None = None) -> Broker:
    broker = Broker(*(problems or []))
    run(broker.submit(*follow_ups))
    return broker


def test_each_goes_to_its_queue_and_each_queues_are_told_of_in_a_batch() -> None:
    queues = ["leveret.other", "leveret.q", "leveret.mail"]
    broker = submitted(*(child(n, queues[n % 3]) for n in range(2, 11)))
    assert {(exchange, key, message.message_id) for exchange, key, message in broker.published} == {
        ("leveret.jobs", queues[n % 3], str(UUID(int=n))) for n in range(2, 11)
    }
    assert [(queue, {one.id.int for one in batch}) for queue, batch in broker.batches] == [
        (None, {4, 7, 10}),
        ("leveret.mail", {2, 5, 8}),
        ("leveret.other", {3, 6, 9}),
    ]
    assert {event.state for _, batch in broker.batches for event in batch} == {State.QUEUED}


LEFT = [
    pytest.param(NOON + timedelta(hours=1), [], NOON + timedelta(hours=1), id="one whose time is ahead"),
    pytest.param(None, [Nacked("full")], NOON, id="one whose queue is full"),
    pytest.param(None, [Unroutable("no queue")], NOON, id="one that has no queue"),
    pytest.param(NOON, [Nacked("full")], NOON, id="one whose time has come, and whose queue is full"),
]


@pytest.mark.parametrize(("run_at", "problems", "at"), LEFT)
def test_what_is_left_to_the_store_is_told_as_it_publishes_it(
    run_at: datetime | None, problems: list[Exception], at: datetime
) -> None:
    broker = submitted(child(2, "leveret.other", run_at), problems=problems)
    assert broker.published == []
    ((queue, (event,)),) = broker.batches
    assert (queue, event.state, event.attempt, event.delivery) == ("leveret.other", State.RETRYING, 0, 0)
    assert (event.publish_at, event.retry_at, bytes(event.payload)) == (at, at, b'{"n":2}')
    assert (event.traceparent, event.reply_to, event.deadline, event.error) == ("00-a-b-01", None, None, None)
    assert event.of_no_attempt


def test_what_may_have_arrived_is_published_again_until_that_is_known() -> None:
    broker = submitted(child(2), child(3), problems=[NotConfirmed("a time-out"), NotConfirmed("the channel is closed")])
    assert {message.message_id for _, _, message in broker.published} == {str(UUID(int=n)) for n in (2, 3)}
    assert sorted(broker.told) == [(2, None, State.QUEUED), (3, None, State.QUEUED)]


def test_where_one_can_not_be_published_the_others_end_too_and_nothing_is_told() -> None:
    endless: list[Exception] = [BrokerGone("no confirm for an hour"), *[NotConfirmed("closed")] * 1_000]
    broker = Broker(*endless)

    async def work() -> None:
        before = asyncio.all_tasks()
        with pytest.raises(BrokerGone):
            await broker.submit(child(2), child(3))
        assert asyncio.all_tasks() == before

    run(work())
    assert (broker.published, broker.batches) == ([], [])


def test_a_thousand_go_at_once() -> None:
    waiting: list[Any] = []

    class Slow(Broker):
        async def publish(self, *words: Any, mandatory: bool = True) -> None:
            waiting.append(words)
            while len(waiting) < 1_000:  # noqa: ASYNC110 - until all have come
                await asyncio.sleep(0.01)

    broker = Slow()
    run(broker.submit(*(child(n) for n in range(2, 1_002))))
    assert (len(waiting), len(broker.told)) == (1_000, 1_000)
