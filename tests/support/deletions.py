"""Delete on a broker, as somebody does by hand."""

from aio_pika.abc import AbstractConnection

from leveret.topology import Binding

Deleted = str | Binding  # "queue …", "exchange …"


async def delete(connection: AbstractConnection, *those: Deleted) -> None:
    async with connection.channel() as channel:
        for one in those:
            match one:
                case Binding(exchange, queue, key):
                    await (await channel.get_queue(queue, ensure=False)).unbind(exchange, key)
                case str() if one.startswith("queue "):
                    await channel.queue_delete(one.removeprefix("queue "))
                case str():
                    await channel.exchange_delete(one.removeprefix("exchange "))
