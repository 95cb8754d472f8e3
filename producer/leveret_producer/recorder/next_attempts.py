"""The next attempts that the store should publish and can't: their ids belong to other queues' jobs.

A consumer leaves a wait that must not be early, or is above 4,096 s, to the store and acknowledges the job on the word of an
event. If the store has no row for the job, that event is all that is left of it. So the broker has its next attempt wait. As
anything that is published before its event is acknowledged, it may come twice.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from leveret import next_attempts
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed, Publisher
from leveret_producer.recorder.chunks import chunks
from leveret_producer.recorder.committing import defect
from leveret_producer.recorder.merge import Report

AT_ONCE = 100
PUBLISHED = "its next attempt was published all the same, and its wait may be longer: at most twice as long, or 1 s"


async def publish(reports: Sequence[Report], publisher: Publisher, now: datetime) -> list[tuple[Report, str]]:
    """Publish the next attempts that are asked for; return each report, as it is to be set aside, and what came of it."""
    done: list[tuple[Report, str]] = []
    for some in chunks(reports, AT_ONCE):
        done += await asyncio.gather(*(_publish(report, publisher, now) for report in some))
    return done


async def _publish(report: Report, publisher: Publisher, now: datetime) -> tuple[Report, str]:
    try:
        if (found := next_attempts.message(report.queue, report.event, now)) is None:
            return report, ""
        exchange, message = found
        await publisher.publish(exchange, report.queue, message)
    except NotConfirmed as problem:
        raise BrokerGone(f"a next attempt can't be published: {problem}") from problem
    except Exception as problem:  # noqa: BLE001 - anybody may publish an event, with fields that no message can have
        return report, f"its next attempt can't be published: {defect(problem)}"
    # What is set aside may be put back, and must not be published again then.
    return replace(report, event=next_attempts.told(report.event)), PUBLISHED
