"""Put back by itself what was set aside only because the broker couldn't make `leveret.events`.

Once it is there again, and once after each start: it may have been made while no producer ran. Each connection learns within
seconds that it is there, and sets aside until then; so this waits. It may be put back twice, which changes no record.
"""

import asyncio
from collections.abc import Mapping

import structlog
from aio_pika.abc import AbstractConnection

from leveret import topology
from leveret.rabbitmq.connection import BrokerErrors
from leveret.rabbitmq.unmade import NOT_MADE, unmade_of
from leveret_producer.set_aside import PutBack, put_back_into

log = structlog.get_logger(__name__)

OTHERS_KNOW_AFTER = 10.0  # s; they look every 2 s
LONGEST_PAUSE = 600.0  # s


class StandIn:
    """The process's; `lacks` is told what can't be made."""

    def __init__(self) -> None:
        self._owed = asyncio.Event()
        self._owed.set()

    def lacks(self, unmade: Mapping[str, str]) -> None:
        if topology.EVENTS in unmade:
            self._owed.set()

    async def session(self, connection: AbstractConnection) -> None:
        """Put back over one connection what has to be, until it ends; what can't be, again after pauses that grow."""
        pause = OTHERS_KNOW_AFTER
        while True:
            await self._owed.wait()
            await asyncio.sleep(pause)
            if topology.EVENTS in unmade_of(connection).said:
                continue
            self._owed.clear()
            pause = OTHERS_KNOW_AFTER if await self._put_back(connection) else min(2 * pause, LONGEST_PAUSE)

    async def _put_back(self, connection: AbstractConnection) -> bool:
        outcome = PutBack()
        try:
            await put_back_into(outcome, connection, reason=NOT_MADE)
        except (*BrokerErrors, RuntimeError) as problem:  # the last is what a closed connection raises
            outcome.stay.append(f"{type(problem).__name__}: {problem}")
        except asyncio.CancelledError:
            self._owed.set()
            raise
        if outcome.done:
            log.info("what was set aside without leveret.events is put back", number=outcome.done)
        if outcome.stay:
            log.warning("what was set aside without leveret.events can't be put back yet", because=outcome.stay[0])
            self._owed.set()
        return not outcome.stay
