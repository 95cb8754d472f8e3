"""Hints and heartbeats, through a queue of this process's own.

The queue is exclusive (it goes with the connection) and short: signals are for now, so when we are slow the oldest are
dropped. If somebody deletes the exchange, its bindings go with it, and nobody else knows of this one.
"""

import asyncio
import math
from collections.abc import Callable

import structlog
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from leveret.rabbitmq.declare import declare
from leveret.signals import Signal, decode
from leveret.topology import SIGNALS, Binding, Topology

log = structlog.get_logger(__name__)

LENGTH = 10_000
SAYS_EVERY = 60.0  # s: anybody may send a thousand a second


async def open_inbox(connection: AbstractConnection, heard: Callable[[Signal], None]) -> Topology:
    """Call `heard` with every signal from now on, for as long as the connection lasts; return what has to stay bound."""
    channel = await connection.channel(publisher_confirms=False)
    queue = await channel.declare_queue(exclusive=True, arguments={"x-max-length": LENGTH, "x-overflow": "drop-head"})
    # What is told to consumers is none of ours.
    bound = Topology((), (), tuple(Binding(SIGNALS, queue.name, key) for key in ("hint.#", "heartbeat.#")))
    await declare(channel, bound)

    loop, said_at = asyncio.get_running_loop(), -math.inf

    async def take(message: AbstractIncomingMessage) -> None:
        nonlocal said_at
        try:
            heard(decode(message.body))
        except ValueError as problem:
            if loop.time() - said_at >= SAYS_EVERY:
                said_at = loop.time()
                log.warning("messages on leveret.signals are no signals; they are left out", first_problem=str(problem))

    await queue.consume(take, no_ack=True)
    return bound
