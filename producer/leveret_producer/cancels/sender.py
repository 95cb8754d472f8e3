"""Bring the table `outbox` to the broker: commands to the stream `leveret.control`, and replies to who waits for them.

Commands go out at most every half second, a thousand jobs in a message: each message costs every consumer there is. A row is
deleted once the broker has confirmed it. What was taken and not confirmed, since the connection broke, is sent over the next
one; of a producer that died, others send it when the lease has run out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial

import msgspec
import structlog
from aio_pika.abc import AbstractConnection

from leveret import topology
from leveret.control import MOST_JOBS, Control, encode
from leveret.jobs import State
from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.connection import BrokerErrors, BrokerGone
from leveret.rabbitmq.declare import Declared
from leveret.rabbitmq.publisher import NotConfirmed, Publisher, persistent_json
from leveret.rabbitmq.replies import Replies
from leveret.reply import job_cancelled, reply
from leveret_producer.cancels.messages import new_commands
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.together import together
from leveret_producer.store.commands import CANCEL, REPLY, RULE, Command, Commands
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain

log = structlog.get_logger(__name__)

EVERY = 0.5  # s between messages, and between looks
REPLIES = 100  # at once


class _To(msgspec.Struct, frozen=True):
    """The properties of a reply's row."""

    reply_to: str
    correlation_id: str


_to = msgspec.json.Decoder(_To)


class Sender:
    def __init__(self, commands: Commands, metrics: Metrics, clock: Callable[[], datetime], alarm: Alarm) -> None:
        """`alarm` is watched by whoever else publishes over the connection."""
        self._commands, self._metrics, self._clock, self._alarm = commands, metrics, clock, alarm
        self._taken: Sequence[Command] = ()  # and not confirmed
        self._told: Sequence[Command] = ()  # confirmed, and not deleted yet

    async def session(self, connection: AbstractConnection) -> None:
        """Send over one connection until it ends."""
        opens = partial(Publisher.open, connection, alarm=self._alarm)
        publisher = await opens(declared=Declared(connection, topology.shared()))
        replies = Replies(
            opens,
            lambda reason, queue: self._metrics.replies_dropped.labels(queue, reason).inc(),
            places=lambda: REPLIES,
            patience=self._alarm.patience,
        )
        await together(
            publisher.closed(),
            again_and_again("commands", lambda: self._tell(publisher), EVERY, self._metrics),
            again_and_again("replies", lambda: self._answer(replies, connection), EVERY, self._metrics),
        )

    async def _tell(self, publisher: Publisher) -> None:
        if not self._told:
            self._taken = self._taken or await self._commands.take((CANCEL, RULE), MOST_JOBS)
            if not self._taken:
                return
            message = new_commands(self._taken, self._clock())
            if message.commands:
                await publish(publisher, message)
            self._taken, self._told = (), self._taken
        # While the database is away this alone is tried again: each message costs every consumer.
        await self._commands.done(self._told)
        self._told = ()

    async def _answer(self, replies: Replies, connection: AbstractConnection) -> None:
        taken = await self._commands.take((REPLY,), REPLIES)
        sent = await asyncio.gather(*(self._reply(replies, one) for one in taken))
        # One that was dropped is counted as that; over a connection that is gone it was not even tried.
        done = [one for one, confirmed in zip(taken, sent, strict=True) if confirmed or not connection.is_closed]
        if done:
            await self._commands.done(done)

    async def _reply(self, replies: Replies, command: Command) -> bool:
        to = _to.decode(command.properties or "")
        body = job_cancelled(command.job, command.queue)
        message = reply(State.CANCELLED, to.correlation_id, body)
        return await replies.send(to.reply_to, message, job=str(command.job), queue=command.queue)


async def publish(publisher: Publisher, message: Control) -> None:
    """Write a message to the stream; raise NotConfirmed."""
    await publisher.publish("", topology.CONTROL, persistent_json(encode(message)))


async def again_and_again(what: str, once: Callable[[], Awaitable[None]], pause: float, metrics: Metrics) -> None:
    """Do it for as long as the connection lives, `pause` seconds after each other; jobs go over it, too: no defect ends it."""
    while True:
        try:
            await once()
        except (DatabaseUnavailable, TryAgain) as problem:
            log.debug("it waits for the database", what=what, because=str(problem))
        except NotConfirmed as problem:
            log.warning("not confirmed; it is sent again", what=what, because=str(problem))
        except (BrokerGone, *BrokerErrors):
            raise
        except Exception:
            log.exception("a background task failed and is started again", task=what)
            metrics.failures.labels(what).inc()
        await asyncio.sleep(pause)
