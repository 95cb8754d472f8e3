"""Replies on a real broker: direct, to an exclusive queue and to a fixed one; and to places where nothing may arrive."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import QueueEmpty
from containers import Server
from hung_queue import hung

from leveret import topology

BENCH = "examples.bench.handlers:handlers"
DIRECT = "amq.rabbitmq.reply-to"


class Client:
    """Sends requests, and hears what is answered."""

    def __init__(self, rig: Any, channel: Any) -> None:
        self.rig, self.channel = rig, channel
        self.answers: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def ask(self, type: str, payload: object, **properties: Any) -> UUID:
        job = uuid4()
        body = json.dumps(payload).encode()
        message = aio_pika.Message(body, message_id=str(job), type=type, **properties)
        exchange = await self.channel.get_exchange(topology.JOBS, ensure=False)
        await exchange.publish(message, "leveret.under-test")
        return job

    async def listen(self, queue: str) -> None:
        await (await self.channel.get_queue(queue, ensure=False)).consume(self.answers.put, no_ack=True)

    async def answer(self) -> AbstractIncomingMessage:
        return await asyncio.wait_for(self.answers.get(), 60)


@pytest.fixture
async def client(rig: Any) -> Client:
    return Client(rig, await rig.connection.channel())


async def direct(client: Client) -> str:
    await client.listen(DIRECT)
    return DIRECT


async def exclusive(client: Client) -> str:
    queue = await client.channel.declare_queue(exclusive=True)
    await client.listen(queue.name)
    return str(queue.name)


async def fixed(client: Client) -> str:
    await client.channel.declare_queue("answers", durable=True, arguments={"x-queue-type": "quorum"})
    await client.listen("answers")
    return "answers"


@pytest.mark.parametrize("place", [direct, exclusive, fixed])
async def test_each_job_is_answered_once_when_it_is_final(
    rig: Any, consumer: Callable[..., Any], client: Client, place: Callable[[Client], Any]
) -> None:
    reply_to = await place(client)
    await consumer(handlers=BENCH, retry='{"maxAttempts":2,"backoff":{"initial":"0s"}}').ready()
    asked = {
        str(await client.ask("echo", {"value": {"n": 1}}, reply_to=reply_to, correlation_id="one")): "one",
        str(await client.ask("fail", {"times": 1}, reply_to=reply_to, correlation_id="after a retry")): "after a retry",
        str(await client.ask("fail", {"times": 9}, reply_to=reply_to, correlation_id="dead")): "dead",
        str(await client.ask("echo", {}, reply_to=reply_to, correlation_id="invalid")): "invalid",
    }
    no_name = str(await client.ask("echo", {"value": 5}, reply_to=reply_to))
    got = {message.correlation_id: message for message in [await client.answer() for _ in range(len(asked) + 1)]}
    said = {key: (one.headers["leveret-outcome"], json.loads(one.body)) for key, one in got.items()}
    assert said["one"] == ("succeeded", {"n": 1})
    assert said["after a retry"] == ("succeeded", 2)
    assert said[no_name] == ("succeeded", 5), "the message's id where it has no correlation id"
    problems = {key: said[key][1] for key in ("dead", "invalid")}
    assert {key: problem["reason"] for key, problem in problems.items()} == {
        "dead": "AttemptsExhausted",
        "invalid": "InvalidPayload",
    }
    assert asked[problems["dead"]["job"]] == "dead"
    assert problems["dead"]["error"]["type"] == "ToldToFail"
    assert got["dead"].content_type == "application/problem+json"
    await asyncio.sleep(0.5)
    assert client.answers.empty(), "nobody is answered twice"


async def test_a_client_that_is_gone_and_a_full_queue_hold_up_nobody(
    rig: Any, consumer: Callable[..., Any], client: Client
) -> None:
    await full(client)
    one = consumer(handlers=BENCH, concurrency=2)
    await one.ready()
    gone = ("nobody", "amq.gen-nobody", "amq.rabbitmq.reply-to.garbage", "x" * 255, "\0")
    begun = time.monotonic()
    jobs = [await client.ask("noop", {}, reply_to=name) for name in gone]
    jobs += [await client.ask("noop", {}, reply_to="full") for _ in range(100)]
    await rig.final(*jobs, seconds=60)
    assert time.monotonic() - begun < 10, "0.6 s each would be 30"
    jobs = [await client.ask("noop", {}, reply_to=await exclusive(client))]
    assert (await client.answer()).correlation_id == str(jobs[0])
    assert one.readiness()[0]
    assert await rig.ready_messages() == 0
    async with asyncio.timeout(10):  # the last ones are left to themselves for a moment
        while _dropped(one) < 10:  # noqa: ASYNC110 - a queue that refuses takes some more than its length
            await asyncio.sleep(0.1)
    assert "a reply is dropped: its queue refuses it" in one.log.read_text()


def _dropped(one: Any) -> float:
    lines = [line for line in one.metrics().splitlines() if line.startswith("leveret_replies_dropped_total{")]
    return sum(float(line.split()[-1]) for line in lines)


async def full(client: Client) -> str:
    arguments = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
    await client.channel.declare_queue("full", durable=True, arguments=arguments)
    return "full"


@pytest.mark.parametrize("kind", ["hung", "full", "gone"])
async def test_ten_slots_keep_nine_tenths_of_their_throughput_whatever_becomes_of_replies(
    rig: Any, consumer: Callable[..., Any], client: Client, rabbitmq: Server, kind: str
) -> None:
    """While replies shared a channel with copies and events, one to a queue that hung held up all of them for a minute."""
    reply_to = await full(client) if kind == "full" else kind
    with contextlib.ExitStack() as stack:
        if kind == "hung":
            await client.channel.declare_queue("hung", durable=True, arguments={"x-queue-type": "quorum"})
            stack.enter_context(hung(rabbitmq, rig.broker, "hung"))
        one = consumer(handlers=BENCH)
        await one.ready()
        begun = time.monotonic()
        jobs = [await client.ask("sleep", {"seconds": 1}, reply_to=reply_to) for _ in range(54)]
        await rig.final(*jobs, seconds=120)
        assert time.monotonic() - begun < 6 / 0.9 + 2, "54 in six rounds of nine; and the start"
        answered = await client.ask("noop", {}, reply_to=await exclusive(client))
        assert (await client.answer()).correlation_id == str(answered), "nor are others' answers held up"
        assert one.readiness()[0]


async def test_nobody_writes_events_or_dead_letters_by_way_of_a_reply(
    rig: Any, consumer: Callable[..., Any], client: Client
) -> None:
    one = consumer(handlers=BENCH)
    await one.ready()
    event = [{"id": str(uuid4()), "type": "echo", "state": "succeeded", "at": "2026-09-01T12:00:00Z", "consumer": "x"}]
    for name in (topology.EVENTS, topology.dead_queue("leveret.under-test"), topology.delay_exchange(0)):
        await rig.final(await client.ask("echo", {"value": event}, reply_to=name), seconds=60)
    heard = len(rig.told)
    await rig.final(await client.ask("noop", {}), seconds=60)
    assert {event.type for event in rig.told[heard:]} == {"noop"}
    assert rig.dead_letters == []
    assert one.log.read_text().count("no reply is sent to a queue of Leveret's own") == 3


async def test_a_reply_waits_in_a_fixed_queue_for_its_reader(
    rig: Any, consumer: Callable[..., Any], client: Client
) -> None:
    queue = await client.channel.declare_queue("later", durable=True, arguments={"x-queue-type": "quorum"})
    await consumer(handlers=BENCH).ready()
    job = await client.ask("echo", {"value": 1}, reply_to="later")
    await rig.final(job)
    for _ in range(600):
        try:
            message = await queue.get(no_ack=True)
            break
        except QueueEmpty:
            await asyncio.sleep(0.1)
    assert (message.body, message.delivery_mode) == (b"1", aio_pika.DeliveryMode.PERSISTENT)


@pytest.mark.parametrize(("dies", "replies"), [("before", 1), ("after", 2)])
@pytest.mark.parametrize(("type", "outcome"), [("echo", "succeeded"), ("fail", "dead")])
async def test_a_consumer_that_dies_around_its_reply_repeats_it_and_loses_none(
    rig: Any, consumer: Callable[..., Any], client: Client, type: str, outcome: str, dies: str, replies: int
) -> None:
    settings = {"handlers": "dying_jobs:handlers", "retry": '{"maxAttempts":1}'}
    reply_to = await exclusive(client)
    job = await client.ask(type, {"value": 1}, reply_to=reply_to)
    assert await consumer(**settings, dies=dies).ended(60) == 137
    last = consumer(**settings)
    await last.ready()
    heard = [await client.answer() for _ in range(replies)]
    assert {(one.correlation_id, one.headers["leveret-outcome"]) for one in heard} == {(str(job), outcome)}
    last.signal(signal.SIGTERM)
    assert await last.ended(60) == 0
    assert await rig.ready_messages() == 0
    assert client.answers.empty()
