"""Declare a topology on a broker. What is there with the same arguments stays as it is, messages included."""

from aio_pika.abc import AbstractChannel

from leveret.topology import Topology


async def declare(channel: AbstractChannel, topology: Topology) -> None:
    """Declare exchanges, then queues, then bindings, all durable.

    Raises aio_pika's ChannelPreconditionFailed, and the broker closes the channel, where something of that name
    exists with other arguments.
    """
    for exchange in topology.exchanges:
        await channel.declare_exchange(
            exchange.name, exchange.type, durable=True, arguments=dict(exchange.arguments) or None
        )
    for queue in topology.queues:
        await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))
    for binding in topology.bindings:
        queue_handle = await channel.get_queue(binding.queue, ensure=False)
        await queue_handle.bind(binding.exchange, binding.key)
