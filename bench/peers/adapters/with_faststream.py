"""FastStream: a handler starts for each message that comes, so its prefetch is its number of slots."""

from functools import partial
from typing import Any

import uvloop
from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from bench.peers.adapters import QUEUE, SLOTS, URL, at_once, run_async

queue = RabbitQueue(QUEUE, queue_type=QueueType.QUORUM)
broker = RabbitBroker(URL, default_channel=Channel(prefetch_count=SLOTS), logger=None)
broker.subscriber(queue)(run_async)


async def _publish(jobs: list[dict[str, Any]]) -> None:
    async with broker:
        await broker.declare_queue(queue)
        await at_once(partial(broker.publish, queue=QUEUE, persist=True), jobs)


def publish(jobs: list[dict[str, Any]]) -> None:
    uvloop.run(_publish(jobs))


if __name__ == "__main__":
    uvloop.run(FastStream(broker).run())
