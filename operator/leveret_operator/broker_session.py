"""One session of the operator with the broker, and what is looked after in it beside the turns."""

import asyncio
from dataclasses import dataclass, field

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelClosed, ChannelNotFoundEntity

from leveret.rabbitmq.claim import claim
from leveret.rabbitmq.declare import Declared, declare
from leveret.settings import Broker
from leveret.topology import Topology, for_queue
from leveret_operator.fence import Held
from leveret_operator.live_depths import LiveDepths

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Session:
    number: int
    connection: AbstractConnection
    declared: Declared
    depths: LiveDepths
    looked_after: set[str] = field(default_factory=set)  # job queues that were asked about lately
    missing: set[str] = field(default_factory=set)  # those of which something is not there


async def look_after(session: Session, broker: Broker | None, every: float, held: Held) -> None:
    """Declare and bind again what somebody may have deleted. Beside the turns: a broker under an alarm lets it wait.

    So is the claim: whoever has taken over the virtual host ends the session.
    """
    while True:
        await asyncio.sleep(every)
        await held()
        if broker and broker.installation:
            await claim(session.connection, broker.installation, broker.vhost)
        try:
            await session.declared.again()
        except ChannelClosed as problem:
            log.warning("what is shared can't be declared as it has to be", because=str(problem))
        queues, session.looked_after = session.looked_after, set()
        for queue in queues:
            try:
                async with await session.declared.channel() as channel:
                    # No queue is asked anything: one without a leader would not answer.
                    await declare(channel, Topology((), (), for_queue(queue).bindings))
            except ChannelNotFoundEntity:
                session.missing.add(queue)
            except ChannelClosed as problem:  # somebody else's queue of that name, perhaps
                log.warning("a queue can't be bound", queue=queue, because=str(problem))
