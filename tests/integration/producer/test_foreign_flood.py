"""A foreign client writes nonsense to everything of ours: the recorders keep up, and their connections."""

import asyncio
import random

import structlog
from foreign_flood import flood, message, properties
from producers import eventually_true, known, operating, producing, ready

from leveret import signals, topology
from leveret.rabbitmq.connection import open_connection
from leveret.settings import Broker, Database
from leveret_operator.signal_inbox import open_inbox

COUNT, SECONDS = 300, 1.0


def test_the_same_seed_writes_the_same() -> None:
    one, other = random.Random(7), random.Random(7)
    assert [(message(one), properties(one)) for _ in range(200)] == [
        (message(other), properties(other)) for _ in range(200)
    ]


async def test_a_flood_of_malformed_messages_is_taken_out_of_every_queue(broker: Broker, database: Database) -> None:
    heard: list[signals.Signal] = []
    with structlog.testing.capture_logs() as logs:
        async with (
            producing(broker, database) as producer,
            operating(broker),
            await open_connection(broker, "look") as look,
        ):
            await ready(producer)
            await open_inbox(look, heard.append)
            login = broker.host, broker.port, broker.username, broker.password, broker.vhost
            assert await asyncio.to_thread(flood, *login, count=COUNT, seconds=SECONDS) == COUNT

            async def all_taken() -> bool:
                async with look.channel() as channel:
                    found = [
                        await channel.declare_queue(name, passive=True)
                        for name in (topology.EVENTS, topology.UNROUTABLE)
                    ]
                return not any(one.declaration_result.message_count for one in found)

            await eventually_true(all_taken, "nothing waits", 30)
            async with operating(broker, "leveret.test"):
                await known(producer)
            assert not look.is_closed
    assert heard == []
    assert {one["event"] for one in logs if one["log_level"] != "info"} == {
        "events are set aside",
        "messages on leveret.signals are no signals; they are left out",
        "no reply is sent to a queue of Leveret's own",
    }
