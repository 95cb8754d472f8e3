"""FastStream: a handler starts for each message that comes, so its prefetch is its number of slots."""

from functools import partial

import uvloop
from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from bench.peers import QUEUE, SLOTS
from bench.peers.adapters import URL, Job, at_once, run_async

queue = RabbitQueue(QUEUE, queue_type=QueueType.QUORUM)
broker = RabbitBroker(URL, default_channel=Channel(prefetch_count=SLOTS), logger=None)
broker.subscriber(queue)(run_async)


async def publish(jobs: list[Job]) -> None:
    async with broker:
        await broker.declare_queue(queue)
        await at_once(partial(broker.publish, queue=QUEUE, persist=True), jobs)


if __name__ == "__main__":
    uvloop.run(FastStream(broker).run())
