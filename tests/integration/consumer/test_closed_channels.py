"""The broker closes a channel for what it doesn't take: the consumer goes on, and so does its queue."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import aio_pika
import amqp1
import uuid_utils.compat as uuid_utils

from leveret.rabbitmq.publisher import takes

DIRECT = "amq.rabbitmq.reply-to"


async def test_an_exchange_that_was_deleted_is_declared_again(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    await consumer().ready()
    channel = await rig.connection.channel()
    await channel.exchange_delete("leveret.delay.0")
    fails = await rig.submit("fail-slowly", {"witness": witness, "times": 1})
    others = [await rig.submit("noop", {}) for _ in range(20)]
    ends = await rig.final(fails, *others, seconds=60)
    assert {str(end.state) for end in ends} == {"succeeded"}
    assert await rig.ready_messages() == 0


async def test_a_reply_address_that_the_broker_has_not_replaced_harms_nobody(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    one = consumer()
    await one.ready()
    address = "/exchanges/leveret.jobs/leveret.under-test"
    jobs = []
    for kind, payload in (("fail", {"witness": str(witness), "times": 1}), ("nonsense", {})):
        jobs.append(uuid_utils.uuid7())
        await amqp1.send(
            rig.broker,
            address,
            json.dumps(payload).encode(),
            message_id=str(jobs[-1]),
            type=kind,
            reply_to=DIRECT,
        )
    ends = await rig.final(*(UUID(str(job)) for job in jobs))
    assert [str(end.state) for end in ends] == ["succeeded", "dead"]
    assert [end.delivery for end in ends] == [0, 0], "and the connection held"
    dead = await rig.dead()
    assert (dead.message_id, dead.reply_to) == (str(jobs[1]), None)
    assert "published on was closed" not in one.log.read_text()


async def test_what_the_broker_does_not_take_is_known_before_it_is_published(rig: Any) -> None:
    assert await takes(rig.connection, aio_pika.Message(b"{}", reply_to="answers"))
    assert not await takes(rig.connection, aio_pika.Message(b"{}", reply_to=DIRECT))
    assert await takes(rig.connection, aio_pika.Message(b"{}")), "the connection has nothing from it"
