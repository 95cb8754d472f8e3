"""Sessions on a real broker: one whose work asks nothing of the connection ends with it, too."""

import asyncio
from urllib.parse import quote

from aio_pika.abc import AbstractConnection
from containers import Server, management
from producers import eventually, eventually_true

from leveret.rabbitmq.connection import stay_connected
from leveret.settings import Broker


class Listener:
    def __init__(self) -> None:
        self.said: list[str] = []

    def connected(self) -> None:
        self.said.append("connected")

    def disconnected(self, because: str) -> None:
        self.said.append(because)


async def test_a_connection_that_the_broker_closes_is_made_anew_though_nobody_uses_it(
    rabbitmq: Server, broker: Broker
) -> None:
    async def idle(connection: AbstractConnection) -> None:
        await asyncio.Event().wait()

    listener = Listener()
    task = asyncio.create_task(stay_connected(lambda: broker, "idle", idle, listener))
    await eventually(lambda: bool(listener.said), "it is connected")

    async def closed() -> bool:
        return await asyncio.to_thread(close_connections, rabbitmq, broker.vhost)

    await eventually_true(closed, "the management pages know the connection, and close it")
    await eventually(lambda: len(listener.said) == 3, "it is connected again")
    assert listener.said == ["connected", "the connection was closed", "connected"]
    task.cancel()
    await asyncio.wait({task})


def close_connections(rabbitmq: Server, vhost: str) -> bool:
    """Close all connections of a virtual host; say whether there were any."""
    found = management(rabbitmq, f"vhosts/{vhost}/connections")
    assert isinstance(found, list)
    for one in found:
        management(rabbitmq, f"connections/{quote(one['name'], safe='')}", "DELETE")
    return bool(found)
