"""A queue that the broker really can't make any more: sessions begin without it, and have it when the broker was restarted."""

import asyncio
from collections.abc import Mapping

import pytest
from aio_pika.abc import AbstractConnection
from containers import Server
from leaked_queue import leak
from producers import eventually

from leveret import topology
from leveret.rabbitmq.connection import open_connection, stay_connected
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher, persistent_json
from leveret.settings import Broker
from leveret.topology import EVENTS, EVENTS_DEAD

(LEAKED,) = (queue for queue in topology.shared().queues if queue.name == EVENTS)


async def waiting(broker: Broker, queue: str) -> int:
    async with await open_connection(broker, "test") as connection, connection.channel() as channel:
        return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0


@pytest.mark.timeout(300)
async def test_a_session_begins_without_it_and_has_it_once_the_broker_was_restarted(
    rabbitmq: Server, broker: Broker
) -> None:
    await leak(broker, LEAKED)
    sessions, lacking = list[Publisher](), list[Mapping[str, str]]()

    async def work(connection: AbstractConnection) -> None:
        async with await connection.channel(publisher_confirms=False) as channel:
            await declare(channel, topology.shared())
        sessions.append(await Publisher.open(connection))
        await asyncio.Event().wait()

    def lacks(queues: Mapping[str, str]) -> None:
        lacking.append(dict(queues))

    staying = asyncio.create_task(stay_connected(lambda: broker, "test", work, lacks=lacks))
    await eventually(lambda: bool(sessions), "a session has begun")
    ((name, said),) = lacking[-1].items()
    assert name == EVENTS
    assert "cluster_not_formed" in said
    await sessions[-1].publish(EVENTS, "job.q", persistent_json(b"[]"))
    assert await waiting(broker, EVENTS_DEAD) == 1
    await asyncio.to_thread(rabbitmq.stop)
    await asyncio.to_thread(rabbitmq.start)
    await eventually(lambda: lacking[-1] == {} and len(sessions) > 1, "it is there, and a session, too")
    await sessions[-1].publish(EVENTS, "job.q", persistent_json(b"[]"))
    assert [await waiting(broker, queue) for queue in (EVENTS, EVENTS_DEAD)] == [1, 1]
    staying.cancel()
    await asyncio.gather(staying, return_exceptions=True)
