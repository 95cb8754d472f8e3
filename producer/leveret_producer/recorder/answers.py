"""Reply for the jobs that the recorder itself finds dead: no consumer has them, so none replies.

A reply goes out after the commit and before the message is acknowledged, so a crash repeats it and does not lose it. A
client that is gone is no error, and a queue that takes no reply is not waited for.
"""

import asyncio
from collections.abc import Iterable

import structlog

from leveret.jobs import State
from leveret.rabbitmq.publisher import NotConfirmed, Publisher
from leveret.reply import job_dead, may_reply_to, reply
from leveret_producer.recorder.merge import Report

log = structlog.get_logger(__name__)

CONFIRM_TIMEOUT = 10.0  # s
AT_ONCE = 100


async def answer(reports: Iterable[Report], publisher: Publisher) -> None:
    """Reply to whoever submitted these jobs, which are dead, and waits for an answer."""
    waiting = [report for report in reports if report.letter and report.letter.unanswered and report.event.reply_to]
    for start in range(0, len(waiting), AT_ONCE):
        await asyncio.gather(*(_answer(report, publisher) for report in waiting[start : start + AT_ONCE]))


async def _answer(report: Report, publisher: Publisher) -> None:
    event, letter = report.event, report.letter
    assert letter is not None
    assert event.reply_to is not None
    assert event.error is not None
    if not may_reply_to(event.reply_to):
        log.warning("no reply is sent to a queue of Leveret's own", reply_to=event.reply_to, job=str(event.id))
        return
    body = job_dead(event.id, report.queue, event.error)
    message = reply(State.DEAD, event.correlation_id or letter.message.message_id, body)
    try:
        await publisher.publish("", event.reply_to, message, CONFIRM_TIMEOUT, mandatory=False)
    except NotConfirmed as problem:
        log.warning("a reply is dropped", reply_to=event.reply_to, job=str(event.id), because=str(problem))
