"""What the operator tells of this consumer's JobQueue: the present version of the handlers, and how long jobs run.

What was heard counts for one connection: the JobQueue may change while there is none. Hearing is not what jobs depend on:
the queue is exclusive and short, and whatever keeps it from being heard is tried again beside the work, never at its cost.
"""

import asyncio
import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, ExchangeType, FieldValue

from leveret import signals, topology
from leveret.jobs import Envelope
from leveret.rabbitmq.connection import BrokerErrors
from leveret.signals import JobQueueTold
from leveret_consumer.ends import DeadLetter, GivenBack
from leveret_consumer.present_version import DEFAULT_LIMITS, Limits, Told, gives_back

log = structlog.get_logger(__name__)

LENGTH = 10  # messages; each replaces the one before
OPENED_WITHIN = 20.0  # s
OPENS_AGAIN_AFTER = 1.0  # s
# s without a word, after which a queue is opened anew: somebody may have deleted the exchange, and all that is bound to it.
# Doubled each time, for an operator that is away.
PATIENCE, LONGEST_PATIENCE = 15.0, 240.0
SAYS_EVERY = 60.0  # s, of one type and version
SAID = 100  # lines in that time: any client may name any type


class JobQueueInbox:
    """The process's; `listen` is a session's."""

    def __init__(
        self,
        queue: str,
        version: str,
        *,
        now: Callable[[], datetime],
        limits: Limits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
        told_run_seconds: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._queue, self._version, self._now, self._limits = queue, version, now, limits
        self._clock, self._patience, self._told_run_seconds = clock, patience, told_run_seconds
        self._told: str | None = None
        self._at = clock()  # it was told, or this process began
        self._said: dict[tuple[str, str | None], float] = {}

    def connected(self) -> None:
        """Begin to listen anew: what was told before may have changed while nothing was heard."""
        self._told, self._at = None, self._clock()

    def told(self) -> Told:
        return Told(self._told, timedelta(seconds=self._clock() - self._at))

    def judge(self, job: Envelope, dead: DeadLetter) -> DeadLetter | GivenBack:
        """Return what becomes of a message that is a dead letter by this consumer's handlers."""
        told, now = self.told(), self._now()
        again = gives_back(dead.reason, self._version, told, job.given_back_since, now, self._limits)
        if again is None:
            return dead
        if self._is_news(job.type):
            log.info(
                "jobs are given back: only a consumer of the JobQueue's present version may call them dead letters",
                type=job.type,
                because=dead.reason,
                own_version=self._version,
                present_version=self._told,
            )
        return GivenBack(again.level, again.since, dead.error)

    def hear(self, body: bytes) -> None:
        """Take a message; one that is none of the operator's about this queue is left out."""
        try:
            said = signals.decode(body)
        except ValueError as problem:
            log.debug("a message about the JobQueue is no signal; it is left out", problem=str(problem))
            return
        if not isinstance(said, JobQueueTold) or said.queue != self._queue:
            return
        self._told, self._at = said.version, self._clock()
        if said.run_seconds is not None:
            self._told_run_seconds(said.run_seconds)

    async def listen(self, connection: AbstractConnection) -> None:
        """Hear what is told, until cancelled. Raises nothing that the connection or its broker does."""
        if not self._version:  # then all is judged here, whatever is told
            await asyncio.Event().wait()
        patience = self._patience
        while True:
            heard_at = self._at
            try:
                async with asyncio.timeout(OPENED_WITHIN):
                    channel = await connection.channel(publisher_confirms=False)
                async with channel:
                    await self._subscribe(channel)
                    await self._until_silent(channel, patience)
            except (*BrokerErrors, RuntimeError) as problem:  # the last is what a closed connection raises
                log.debug("the operator is not heard; it is tried again", because=str(problem))
            patience = self._patience if self._at > heard_at else min(2 * patience, LONGEST_PATIENCE)
            await asyncio.sleep(OPENS_AGAIN_AFTER)

    async def _subscribe(self, channel: AbstractChannel) -> None:
        async def take(message: AbstractIncomingMessage) -> None:
            self.hear(message.body)

        async with asyncio.timeout(OPENED_WITHIN):
            await channel.declare_exchange(topology.SIGNALS, ExchangeType.TOPIC, durable=True)
            arguments: dict[str, FieldValue] = {"x-max-length": LENGTH, "x-overflow": "drop-head"}
            queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments=arguments)
            await queue.bind(topology.SIGNALS, signals.jobqueue_key(self._queue))
            await queue.consume(take, no_ack=True)

    async def _until_silent(self, channel: AbstractChannel, patience: float) -> None:
        """Wait until nothing has been heard for so long, or the channel is closed."""
        closed, heard_at = asyncio.ensure_future(channel.closed()), -math.inf
        while self._at > heard_at and not closed.done():
            heard_at = self._at
            await asyncio.wait({closed}, timeout=patience)
        closed.cancel()

    def _is_news(self, type: str) -> bool:
        now, one = self._clock(), (type, self._told)
        self._said = {said: at for said, at in self._said.items() if now - at < SAYS_EVERY}
        if one in self._said or len(self._said) >= SAID:
            return False
        self._said[one] = now
        return True
