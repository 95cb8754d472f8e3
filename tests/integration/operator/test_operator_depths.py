"""Live depths and the last check before zero."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from containers import Server

from leveret.rabbitmq.publisher import Publisher
from leveret.scaling.backlog import Depth
from leveret.settings import Broker
from leveret.topology import DEAD, dead_queue
from leveret_operator.live_depths import LiveDepths, QueueMissing

QUEUE = "leveret.bench"


@pytest.fixture
def depths(connection: AbstractConnection, asked: Counter[str]) -> LiveDepths:
    return LiveDepths(connection, lambda: datetime.now(UTC), lambda kind: asked.update([kind]))


async def test_a_publish_shows_at_once(depths: LiveDepths, publisher: Publisher, job: aio_pika.Message) -> None:
    for expected in range(1, 4):
        await publisher.publish("leveret.jobs", QUEUE, job)
        seen = (await depths.read([QUEUE]))[QUEUE]
        assert isinstance(seen, Depth)
        assert (seen.ready, seen.unacked) == (expected, None)


async def test_a_missing_queue_is_named_and_disturbs_no_other(
    depths: LiveDepths, publisher: Publisher, job: aio_pika.Message
) -> None:
    await publisher.publish("leveret.jobs", QUEUE, job)
    for _ in range(3):  # the broker closes the channel each time
        answers = await depths.read(["leveret.gone", *[QUEUE] * 8, "leveret.gone.too"])
        assert isinstance(answers["leveret.gone"], QueueMissing)
        assert isinstance(answers["leveret.gone.too"], QueueMissing)
        assert isinstance(answers[QUEUE], Depth)


async def test_a_broker_that_hangs_does_not_answer_and_then_does(depths: LiveDepths, rabbitmq: Server) -> None:
    rabbitmq.pause()
    try:
        assert await depths.read([QUEUE]) == {QUEUE: None}
        assert not await depths.is_empty(QUEUE)
    finally:
        rabbitmq.unpause()
    async with asyncio.timeout(60):
        while not isinstance((await depths.read([QUEUE]))[QUEUE], Depth):  # noqa: ASYNC110 - it happens in the broker
            await asyncio.sleep(0.1)


async def test_only_the_queue_itself_says_that_it_is_empty(
    depths: LiveDepths, publisher: Publisher, job: aio_pika.Message
) -> None:
    assert await depths.is_empty(QUEUE)
    await publisher.publish("leveret.jobs", QUEUE, job)
    for _ in range(25):  # more often than the broker's delivery limit: looking must not use it up
        assert not await depths.is_empty(QUEUE)
    async with asyncio.timeout(60):  # what was handed back is ready again a moment later
        while not _ready(await depths.read([QUEUE])):  # noqa: ASYNC110 - it happens in the broker
            await asyncio.sleep(0.05)
    assert not await depths.is_empty("leveret.gone")


async def test_a_queue_of_dead_letters_can_not_be_asked_by_a_get_and_answers_what_waits(
    depths: LiveDepths, publisher: Publisher, job: aio_pika.Message
) -> None:
    dead = dead_queue(QUEUE)
    assert not await depths.is_empty(dead)  # the broker refuses the question: one consumer at a time may take from it
    assert _waits(await depths.read([dead]), dead) == 0
    await publisher.publish(DEAD, QUEUE, job)
    assert _waits(await depths.read([dead]), dead) == 1


async def test_a_queue_without_its_leader_is_not_called_empty(
    depths: LiveDepths, publisher: Publisher, job: aio_pika.Message, rabbitmq: Server, broker: Broker
) -> None:
    await publisher.publish("leveret.jobs", QUEUE, job)
    name = f"'{broker.vhost}_{QUEUE}'"
    stop = f"ra:stop_server(quorum_queues, {{{name}, node()}})."
    rabbitmq.run("rabbitmqctl", "eval", stop)
    answer = (await depths.read([QUEUE]))[QUEUE]
    assert answer is None or (isinstance(answer, Depth) and not answer.ready)  # a zero of this kind is no knowledge
    assert not await depths.is_empty(QUEUE)
    rabbitmq.run("rabbitmqctl", "eval", f"ra:restart_server(quorum_queues, {{{name}, node()}}).")


def _ready(answers: Mapping[str, Depth | QueueMissing | None]) -> int:
    return _waits(answers, QUEUE) or 0


def _waits(answers: Mapping[str, Depth | QueueMissing | None], queue: str) -> int | None:
    answer = answers[queue]
    return answer.ready if isinstance(answer, Depth) else None
