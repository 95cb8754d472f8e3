"""Reply for the jobs that the recorder itself finds dead: no consumer has them, so none replies.

A reply goes out after the commit. The broker confirms it before the message is acknowledged, so a crash repeats it and does
not lose it, unless that takes longer than a moment: the recorder has others to record, and what has no answer by then is
seen to beside it.
"""

import asyncio
from collections.abc import Iterable
from functools import partial

from aio_pika.abc import AbstractConnection

from leveret.jobs import DeadReason, State
from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.publisher import Publisher
from leveret.rabbitmq.replies import Replies
from leveret.reply import job_dead, reply
from leveret_producer.metrics import Metrics
from leveret_producer.recorder.chunks import chunks
from leveret_producer.recorder.merge import Report

AT_ONCE = 100
FINISHES_WITHIN = 2.0  # s, at a stop


class Answers:
    """Of one connection."""

    def __init__(self, connection: AbstractConnection, metrics: Metrics) -> None:
        self._connection, self._alarm = connection, Alarm()
        self._replies = Replies(
            partial(Publisher.open, connection, alarm=self._alarm),
            lambda reason, queue: metrics.replies_dropped.labels(queue, reason).inc(),
            places=lambda: 0,  # no batch waits for the next one's sake
            patience=self._alarm.patience,
        )

    async def watch(self) -> None:
        """Follow the connection's alarms until it ends."""
        await self._alarm.watch(self._connection)

    async def finish(self) -> None:
        """Before the connection is closed: see to what is under way."""
        await self._replies.finish(FINISHES_WITHIN)

    async def answer(self, reports: Iterable[Report]) -> None:
        """Reply to whoever submitted these jobs, which are dead, and waits for an answer."""
        waiting = [report for report in reports if report.letter and report.letter.unanswered and report.event.reply_to]
        for some in chunks(waiting, AT_ONCE):
            await asyncio.gather(*(self._answer(report) for report in some))

    async def _answer(self, report: Report) -> None:
        event, letter = report.event, report.letter
        assert letter is not None
        assert event.reply_to is not None
        assert event.error is not None
        body = job_dead(event.id, report.queue, event.error)
        message = reply(State.DEAD, event.correlation_id or letter.message.message_id, body)
        # Any client may name any queue: that would be a label each.
        queue = "" if event.error.reason == DeadReason.QUEUE_GONE else report.queue
        await self._replies.send(event.reply_to, message, job=str(event.id), queue=queue)
