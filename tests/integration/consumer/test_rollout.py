"""Consumers of two versions side by side, as in a rolling update, on a real broker; the test tells what the operator does."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import aio_pika
import pytest
from containers import Server, management

from leveret import signals, topology, wire
from leveret.events import JobEvent
from leveret.jobs import Envelope
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher
from leveret_consumer.dead_letter_source import job_made_of
from leveret_consumer.jobqueue_inbox import JobQueueInbox

QUEUE, OTHER = "leveret.under-test", "leveret.other"
OLD = {"handlers": "rollout_jobs:old", "version": "old"}
NEW = {"handlers": "rollout_jobs:new", "version": "new"}


@contextlib.asynccontextmanager
async def telling(rig: Any, version: str, every: float = 0.5) -> AsyncIterator[None]:
    """Tell which version is the present one, as the operator does, and more often."""
    channel = await rig.connection.channel(publisher_confirms=False)
    exchange = await channel.get_exchange(topology.SIGNALS)

    async def tell() -> None:
        while True:
            told = signals.JobQueueTold(QUEUE, datetime.now(UTC), version)
            await exchange.publish(aio_pika.Message(signals.encode(told)), signals.routing_key(told), mandatory=False)
            await asyncio.sleep(every)

    task = asyncio.create_task(tell())
    yield
    task.cancel()
    await asyncio.wait({task})
    await channel.close()


def given_back(rig: Any, *jobs: UUID) -> list[JobEvent]:
    return [event for event in rig.told if event.given_back and (not jobs or event.id in jobs)]


async def test_jobs_of_a_new_type_and_a_new_model_end_in_their_first_attempt_though_old_consumers_take_them_too(
    rig: Any, consumer: Callable[..., Any]
) -> None:
    await declare(await rig.connection.channel(), topology.for_queue(OTHER))
    answers = await (await rig.connection.channel()).declare_queue(exclusive=True)
    dead = Envelope(uuid4(), OTHER, "b", b"3", attempt=5, submitted_at=datetime.now(UTC) - timedelta(days=3))
    from_dead = job_made_of(dead.id, 1, QUEUE)
    async with telling(rig, "new"):
        old, new = consumer(**OLD, source_queue=topology.dead_queue(OTHER)), consumer(**NEW)
        await asyncio.gather(old.ready(), new.ready())
        await (await Publisher.open(rig.connection)).publish(topology.DEAD, OTHER, wire.to_message(dead))
        brought = [await rig.submit("b", number) for number in range(20)]
        orders = [await rig.submit("order", {"item": "hat"}, attempt=2) for _ in range(20)]
        known = [await rig.submit("a", number) for number in range(10)]
        nobodys = [await rig.submit("c", 1, reply_to=answers.name) for _ in range(4)]
        async with asyncio.timeout(30):
            while len(given_back(rig, *brought, *orders)) < 10 or not given_back(rig, from_dead):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        old.signal(signal.SIGTERM)
        ends = await rig.final(*brought, *orders, *known, from_dead)
        dead_ends = await rig.final(*nobodys, seconds=15)
        back = given_back(rig)
        steady = [await rig.submit("c", 1), await rig.submit("order", {"item": 7}, attempt=3)]
        dead_ends += await rig.final(*steady)
    assert {str(end.state) for end in ends} == {"succeeded"}
    assert [end.attempt for end in ends] == [1] * 20 + [2] * 20 + [1] * 11
    assert {str(event.state) for event in back} == {"retrying"}
    assert {event.id for event in back if event.consumer != "pod-0"} <= {*nobodys}, "the new one knows all others"
    assert {event.attempt for event in back if event.id not in orders} == {0}
    assert {event.attempt for event in back if event.id in orders} <= {1}
    assert given_back(rig, *known) == []
    assert given_back(rig) == back, "the present version gives nothing back"
    assert {event.wait_seconds for event in rig.of(from_dead)} == {None}, (
        "the other job was submitted days ago, and not this one"
    )
    assert [(end.error.reason, end.attempt) for end in dead_ends] == [("UnknownType", 1)] * 5 + [("InvalidPayload", 3)]
    letters = [await rig.dead() for _ in dead_ends]
    assert {UUID(letter.message_id) for letter in letters} == {*nobodys, *steady}
    assert not any({wire.GIVEN_BACK_SINCE, wire.DELIVERED} & letter.headers.keys() for letter in letters)
    for _ in nobodys:
        assert (await answers.get(no_ack=True)).headers == {"leveret-outcome": "dead"}
    assert await answers.get(no_ack=True, fail=False) is None, "one answer each, and none to a give-back"
    lines = [line for line in map(json.loads, old.log.read_text().splitlines()) if "given back" in line["event"]]
    assert 1 <= len(lines) <= 6, "one for a type and a present version, and not one for a message"


JUDGES = [
    pytest.param({"silence": 1, "round_trips": 600}, None, id="nobody has told it anything for a while"),
    pytest.param({"silence": 60, "round_trips": 1}, "new", id="the message has gone round for long enough"),
]


@pytest.mark.parametrize(("limits", "told"), JUDGES)
async def test_a_consumer_of_an_old_version_judges_in_the_end(
    rig: Any, consumer: Callable[..., Any], limits: dict[str, float], told: str | None
) -> None:
    async with telling(rig, told) if told else contextlib.nullcontext():
        job = await rig.submit("b", 1)
        async with rig.connection.channel() as channel:
            future = wire.to_message(
                Envelope(uuid4(), QUEUE, "b", b"1"), {wire.GIVEN_BACK_SINCE: "9999-01-01T00:00:00Z"}
            )
            await (await channel.get_exchange(topology.JOBS)).publish(future, QUEUE)
        await consumer("impatient_consumer", **OLD, **limits).ready()
        ends = await rig.final(job, UUID(future.message_id))
    assert [(str(end.state), end.error.reason, end.attempt) for end in ends] == [("dead", "UnknownType", 1)] * 2
    backs = [len(given_back(rig, end.id)) for end in ends]
    assert all(1 <= number <= 2 for number in backs) if told else all(number <= 2 for number in backs)


async def test_a_consumer_without_a_version_judges_at_once(rig: Any, consumer: Callable[..., Any]) -> None:
    async with telling(rig, "new"):
        await consumer(handlers="rollout_jobs:old").ready()
        (end,) = await rig.final(await rig.submit("b", 1))
    assert end.error.reason == "UnknownType"
    assert given_back(rig) == []


async def test_what_no_version_takes_is_a_dead_letter_at_once(rig: Any, consumer: Callable[..., Any]) -> None:
    async with telling(rig, "new"):
        await consumer(**OLD).ready()
        await rig.send(aio_pika.Message(b"{", message_id=str(uuid4()), type="a"))
        await rig.send(aio_pika.Message(b"1", message_id="17", type="b"))
        await rig.send(aio_pika.Message(b" " * (wire.LARGEST_BODY + 1), message_id=str(uuid4()), type="b"))
        assert {(await rig.dead()).headers[wire.REASON] for _ in range(3)} == {"NotJson", "NoId", "TooLarge"}
    assert given_back(rig) == []


async def test_what_is_told_is_heard_though_exchange_and_queue_are_deleted_and_made_again(rig: Any) -> None:
    """In the same moment, by somebody else: nobody is told, and nothing is bound to the exchange any more."""
    inbox = JobQueueInbox(QUEUE, "old", now=lambda: datetime.now(UTC), patience=0.5)
    task = asyncio.create_task(inbox.listen(rig.connection))
    for version in ("1", "2"):
        async with telling(rig, version, every=0.1), asyncio.timeout(30):
            while inbox.told().version != version:  # noqa: ASYNC110 - it comes from the broker
                await asyncio.sleep(0.05)
        async with rig.connection.channel() as channel:
            await channel.exchange_delete(topology.SIGNALS)
            await declare(channel, topology.shared())
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})


async def test_a_consumer_that_is_back_says_so_of_its_handlers_and_one_that_starts_does_not(
    rig: Any, consumer: Callable[..., Any], rabbitmq: Server
) -> None:
    """The image behind a tag may have changed since the one that is back started."""
    await consumer(**OLD).ready()

    async def registered(number: int) -> list[bool]:
        async with asyncio.timeout(60):
            while len(rig.registered) < number:  # noqa: ASYNC110 - the consumer tells
                await asyncio.sleep(0.05)
        return [told.again for told in rig.registered]

    assert await registered(1) == [False]
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(close_consumers, rabbitmq, rig.broker.vhost):  # noqa: ASYNC110 - those pages know later
            await asyncio.sleep(0.2)
    assert await registered(2) == [False, True]
    await consumer(**OLD).ready()
    assert await registered(3) == [False, True, False]


def close_consumers(rabbitmq: Server, vhost: str) -> bool:
    """Close the consumers' connections; say whether the management pages knew any."""
    found = management(rabbitmq, f"vhosts/{vhost}/connections")
    assert isinstance(found, list)
    theirs = [one for one in found if str(one.get("user_provided_name")).startswith("leveret-consumer")]
    for one in theirs:
        management(rabbitmq, f"connections/{quote(one['name'], safe='')}", "DELETE")
    return bool(theirs)
