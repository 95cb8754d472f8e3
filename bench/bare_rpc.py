"""The other side of the bare RPC: a process that answers each message with its body, the reply confirmed before the ack."""

import asyncio
import os

import aio_pika
from aio_pika.abc import AbstractIncomingMessage


async def main() -> None:
    async with await aio_pika.connect(os.environ["BARE_URL"]) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=int(os.environ["BARE_PREFETCH"]))

        async def answer(message: AbstractIncomingMessage) -> None:
            reply = aio_pika.Message(message.body, correlation_id=message.correlation_id, delivery_mode=2)
            await channel.default_exchange.publish(reply, message.reply_to or "", mandatory=False)
            await message.ack()

        await (await channel.get_queue(os.environ["BARE_QUEUE"], ensure=False)).consume(answer)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
