"""Answer who submitted a job and named a queue for the reply, once the job is final.

A reply is confirmed by the broker before the job's delivery is acknowledged: a crash repeats it and does not lose it. It's
not mandatory: a client that is gone is no error. And a queue that takes no more must not hold up everybody's jobs: after a
few tries within 10 s the reply is dropped, with a line in the log.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import aio_pika
import structlog

from leveret.rabbitmq.publisher import NotConfirmed
from leveret.reply import may_reply_to

log = structlog.get_logger(__name__)

DEFAULT_EXCHANGE = ""  # the routing key is a queue's name, or a direct reply's address
PAUSES = (0.1, 0.5)  # s after a refusal; then it's dropped
DROPPED_AFTER = 10.0  # s without an answer of the broker


class Publish(Protocol):
    async def __call__(
        self, exchange: str, routing_key: str, message: aio_pika.Message, timeout: float, *, mandatory: bool = True
    ) -> None: ...


class Replies:
    def __init__(
        self, publish: Publish, *, pauses: Sequence[float] = PAUSES, dropped_after: float = DROPPED_AFTER
    ) -> None:
        self._publish, self._pauses, self._dropped_after = publish, pauses, dropped_after

    async def send(self, reply_to: str, reply: aio_pika.Message, *, job: str) -> bool:
        """Publish a reply; tell whether the broker has confirmed it."""
        if not may_reply_to(reply_to):
            log.warning("no reply is sent to a queue of Leveret's own", reply_to=reply_to, job=job)
            return False
        try:
            async with asyncio.timeout(self._dropped_after):
                return await self._in_a_few_tries(reply_to, reply, job)
        except TimeoutError:
            log.warning("a reply is dropped: the broker does not confirm it", reply_to=reply_to, job=job)
            return False

    async def _in_a_few_tries(self, reply_to: str, reply: aio_pika.Message, job: str) -> bool:
        because = ""
        for pause in (*self._pauses, 0):
            try:
                # The time-out is the caller's, over all tries: a confirm that is late still comes.
                await self._publish(DEFAULT_EXCHANGE, reply_to, reply, 2 * self._dropped_after, mandatory=False)
                return True
            except NotConfirmed as problem:
                because = str(problem)
                await asyncio.sleep(pause)
        log.warning("a reply is dropped: its queue refuses it", reply_to=reply_to, job=job, because=because)
        return False
