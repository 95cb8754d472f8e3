"""taskiq over taskiq-aio-pika: quorum queues and confirms are its defaults. It holds as many again as it has slots."""

from typing import Any

import uvloop
from taskiq_aio_pika import AioPikaBroker, Queue

from bench.peers.adapters import QUEUE, SLOTS, URL, at_once, run_async

broker = AioPikaBroker(URL, qos=2 * SLOTS, task_queues=[Queue(name=QUEUE)])
task = broker.task("job")(run_async)


async def _publish(jobs: list[dict[str, Any]]) -> None:
    await broker.startup()
    await at_once(task.kiq, jobs)
    await broker.shutdown()


def publish(jobs: list[dict[str, Any]]) -> None:
    uvloop.run(_publish(jobs))
