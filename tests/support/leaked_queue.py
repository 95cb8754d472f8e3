"""A quorum queue that RabbitMQ 4.3 can't make any more, until it's restarted (rabbitmq-server#17457).

Two deletions and a declaration do it: the second deletion, begun when the first had ended the queue's Raft cluster, removes the
record of the queue that was declared in between, and the new cluster, of which nothing is known, is in the way for good.
"""

import asyncio
import random

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ConnectionInternalError

from leveret.rabbitmq.connection import BrokerErrors, open_connection
from leveret.settings import Broker
from leveret.topology import Queue

SECOND_WITHIN, DECLARED_WITHIN = 0.004, 0.02  # s after the first deletion; measured: some hundred rounds, 7 s
WITHIN = 150.0  # s; beside a load of 25 on two cores it took 8 to 33 s


class _Client:
    """One that comes back when the broker hangs up."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._connection: AbstractConnection | None = None

    async def ask(self, queue: Queue, *, declares: bool, wait: float = 0.0) -> Exception | None:
        """Return what the broker has against it."""
        await asyncio.sleep(wait)
        try:
            if self._connection is None:
                self._connection = await open_connection(self._broker, "leaking")
            async with self._connection.channel(publisher_confirms=False) as channel:
                if declares:
                    await channel.declare_queue(queue.name, durable=True, arguments={**queue.arguments})
                else:
                    await channel.queue_delete(queue.name)
        except (*BrokerErrors, RuntimeError) as problem:
            await self.close()
            return problem
        return None

    async def close(self) -> None:
        if self._connection:
            await self._connection.close()
        self._connection = None


async def leak(broker: Broker, queue: Queue) -> None:
    """Have the broker be unable to make a queue.

    Not one that dead-letters at least once: its worker, which finds no record of the queue, begins and crashes all the time.
    """
    one, other, third = clients = [_Client(broker) for _ in range(3)]
    drawn = random.Random(17457)
    async with asyncio.timeout(WITHIN):
        while True:
            await one.ask(queue, declares=True)
            await asyncio.gather(
                one.ask(queue, declares=False),
                other.ask(queue, declares=False, wait=drawn.uniform(0, SECOND_WITHIN)),
                third.ask(queue, declares=True, wait=drawn.uniform(0, DECLARED_WITHIN)),
            )
            again = [await one.ask(queue, declares=True) for _ in range(2)]
            if all(isinstance(problem, ConnectionInternalError) for problem in again):
                break
    for client in clients:
        await client.close()
