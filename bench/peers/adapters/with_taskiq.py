"""taskiq over taskiq-aio-pika: quorum queues and confirms are its defaults. It holds as many again as it has slots."""

from taskiq_aio_pika import AioPikaBroker, Queue

from bench.peers import QUEUE, SLOTS
from bench.peers.adapters import URL, Job, at_once, run_async

broker = AioPikaBroker(URL, qos=2 * SLOTS, task_queues=[Queue(name=QUEUE)])
task = broker.task("job")(run_async)


async def publish(jobs: list[Job]) -> None:
    await broker.startup()
    await at_once(task.kiq, jobs)
    await broker.shutdown()
