"""Without the Lease nothing is done on a broker; and with it, everything that waited."""

import asyncio
from datetime import UTC, datetime

from aio_pika.abc import AbstractConnection
from containers import Server, management
from operator_link import linked, until

from leveret.events import QueueDecided
from leveret.settings import Broker
from leveret.topology import dead_queue
from leveret_operator.announcements import Announcements
from leveret_operator.present_versions import PresentVersions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUEUE = "leveret.led"


def queues(rabbitmq: Server) -> set[str]:
    listed = management(rabbitmq, "queues")
    assert isinstance(listed, list)
    return {one["name"] for one in listed}


async def test_without_the_lease_nothing_is_done_and_then_all_that_waited(
    connection: AbstractConnection, broker: Broker, rabbitmq: Server
) -> None:
    lease, announcements, versions = asyncio.Event(), Announcements("leveret"), PresentVersions()

    async def held() -> None:
        await lease.wait()

    async with linked(lambda: broker, announcements, versions, held=held) as link:
        announcements.decide(QUEUE, QueueDecided(NOW, 0, 1, "Backlog", "work"))
        declaring = asyncio.create_task(link.declare(QUEUE))
        await asyncio.sleep(1)  # as long as a session takes, several times
        assert (link.session, announcements.waiting, declaring.done()) == (None, 1, False)
        lease.set()
        await until(lambda: link.session is not None and announcements.waiting == 0)
        await asyncio.gather(declaring, return_exceptions=True)  # it may have come before the session
        lease.clear()
        announcements.decide(QUEUE, QueueDecided(NOW, 1, 2, "Backlog", "work"))
        versions.present(QUEUE, "v")
        declaring = asyncio.create_task(link.declare(QUEUE))
        await asyncio.sleep(1)
        assert (announcements.waiting, declaring.done()) == (1, False)
        lease.set()
        async with asyncio.timeout(60):
            await declaring
        await until(lambda: announcements.waiting == 0)
    assert {QUEUE, dead_queue(QUEUE)} <= queues(rabbitmq)
