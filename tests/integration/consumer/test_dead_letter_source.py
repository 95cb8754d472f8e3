"""A consumer that takes another queue's dead letters, on a real broker: jobs of its own queue, under ids of their own."""

import asyncio
import json
import signal
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import aio_pika

from leveret import topology, wire
from leveret.events import Error
from leveret.jobs import DeadLetterInfo, Envelope
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher
from leveret_consumer.dead_letter_source import job_made_of
from leveret_consumer.ends import as_header

QUEUE, OTHER = "leveret.under-test", "leveret.other"
BENCH = "examples.bench.handlers:handlers"
SOURCE = {"handlers": BENCH, "source_queue": f"{OTHER}.dead", "retry": '{"maxAttempts":2,"backoff":{"initial":"0s"}}'}


async def die(rig: Any, type: str, payload: object, **fields: Any) -> UUID:
    """Put a dead letter into the other queue's, as its consumer would."""
    job = Envelope(uuid4(), OTHER, type, json.dumps(payload).encode(), attempt=5, **fields)
    why = {wire.REASON: "AttemptsExhausted", wire.ERROR: as_header(Error("AttemptsExhausted", "no luck"))}
    await (await Publisher.open(rig.connection)).publish(topology.DEAD, OTHER, wire.to_message(job, why))
    return job.id


def made_of(job: UUID) -> UUID:
    return job_made_of(job, 1, QUEUE)


async def test_dead_letters_become_jobs_that_succeed_are_tried_again_and_die(
    rig: Any, consumer: Callable[..., Any]
) -> None:
    await declare(await rig.connection.channel(), topology.for_queue(OTHER))
    answers = await (await rig.connection.channel()).declare_queue(exclusive=True)
    fine = await die(rig, "echo", {"value": 1}, reply_to=answers.name)
    again = await die(rig, "fail", {"times": 1})
    never = await die(rig, "fail", {"times": 9})
    one = consumer(**SOURCE)
    await one.ready()
    own = await rig.submit("noop", {})
    ends = await rig.final(made_of(fine), made_of(again), made_of(never), own, seconds=60)
    assert [(str(end.state), end.attempt, end.generation) for end in ends] == [
        ("succeeded", 1, 1),
        ("succeeded", 2, 1),
        ("dead", 2, 1),
        ("succeeded", 1, 1),
    ]
    dead = await rig.dead(60)
    assert (dead.message_id, dead.headers[wire.REASON]) == (str(made_of(never)), "AttemptsExhausted")
    assert json.loads(dead.headers[wire.ERROR])["type"] == "ToldToFail", "the new error, and not the old one"
    read = wire.from_message(dead, QUEUE)
    assert isinstance(read, Envelope)
    assert read.dead_letter == DeadLetterInfo(never, OTHER, "AttemptsExhausted", "no luck", 5)
    await gone(rig, one)
    assert await answers.get(no_ack=True, fail=False) is None, "who asked was answered when the first job died"


async def test_one_that_ends_its_process_is_counted_from_here_and_given_up(
    rig: Any, consumer: Callable[..., Any]
) -> None:
    await declare(await rig.connection.channel(), topology.for_queue(OTHER))
    job = await die(rig, "crash", {"times": 99})
    for _ in range(2):
        assert await consumer(**SOURCE, delivery_limit=2).ended(60) == 137
    one = consumer(**SOURCE, delivery_limit=2)
    await one.ready()
    (end,) = await rig.final(made_of(job), seconds=60)
    assert (end.error.reason, end.delivery) == ("DeliveryLimit", 2)
    dead = await rig.dead(60)
    assert dead.message_id == str(made_of(job))
    await gone(rig, one)


async def test_what_the_broker_dropped_itself_is_run_once_more(rig: Any, consumer: Callable[..., Any]) -> None:
    await declare(await rig.connection.channel(), topology.for_queue(OTHER))
    job = uuid4()
    message = aio_pika.Message(b'{"value":1}', message_id=str(job), type="echo")
    await (await Publisher.open(rig.connection)).publish(topology.JOBS, OTHER, message)
    async with await open_connection(rig.broker, "crashes") as connection:
        for _ in range(topology.BROKER_DELIVERY_LIMIT + 1):
            channel = await connection.channel()
            got: asyncio.Queue[Any] = asyncio.Queue()
            await (await channel.get_queue(OTHER, ensure=False)).consume(got.put)
            await asyncio.wait_for(got.get(), 60)
            await channel.close()
    one = consumer(**SOURCE)
    await one.ready()
    (end,) = await rig.final(made_of(job), seconds=60)
    assert (str(end.state), end.delivery) == ("succeeded", 0)
    await gone(rig, one)


async def gone(rig: Any, one: Any) -> None:
    """Stop the consumer, which gives back what it has not acknowledged: nothing is left of the other queue's dead letters."""
    one.signal(signal.SIGTERM)
    assert await one.ended(60) == 0
    assert await rig.messages(f"{OTHER}.dead") == [0]
