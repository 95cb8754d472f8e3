"""Hints and heartbeats, through a queue of this process's own.

The queue is exclusive (it goes with the connection) and short: signals are for now, so when we are slow the oldest are
dropped. If somebody deletes the exchange, its bindings go with it, and nobody else knows of this one.
"""

from collections.abc import Callable

import structlog
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from leveret.rabbitmq.declare import declare
from leveret.signals import Signal, decode
from leveret.topology import SIGNALS, Binding, Topology

log = structlog.get_logger(__name__)

LENGTH = 10_000


async def open_inbox(connection: AbstractConnection, heard: Callable[[Signal], None]) -> Topology:
    """Call `heard` with every signal from now on, for as long as the connection lasts; return what has to stay bound."""
    channel = await connection.channel(publisher_confirms=False)
    queue = await channel.declare_queue(exclusive=True, arguments={"x-max-length": LENGTH, "x-overflow": "drop-head"})
    # What is told to consumers is none of ours.
    bound = Topology((), (), tuple(Binding(SIGNALS, queue.name, key) for key in ("hint.#", "heartbeat.#")))
    await declare(channel, bound)

    async def take(message: AbstractIncomingMessage) -> None:
        try:
            heard(decode(message.body))
        except ValueError as problem:
            log.warning("a message on leveret.signals is no signal; it is left out", problem=str(problem))

    await queue.consume(take, no_ack=True)
    return bound
