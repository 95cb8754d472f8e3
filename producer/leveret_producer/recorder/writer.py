"""Write what a batch says, and set aside on `leveret.events.dead` what of it can't be recorded, with the reason."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from leveret import topology
from leveret.events import encode
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed, Publisher
from leveret_producer.metrics import Metrics
from leveret_producer.recorder import next_attempts, tally
from leveret_producer.recorder.answers import Answers
from leveret_producer.recorder.batch import AskedCancel, SetAside, cancel_rounds, rounds
from leveret_producer.recorder.chunks import chunks
from leveret_producer.recorder.committing import Refused, commit
from leveret_producer.recorder.merge import Report
from leveret_producer.recorder.told import Told
from leveret_producer.store.cancels import Cancels, Wanted, told_generation
from leveret_producer.store.recording import Recording

log = structlog.get_logger(__name__)

NO_PAYLOAD = "it asks to publish the job again, and neither it nor the store has the job's payload"
NOT_ITS_QUEUE = "the job's id belongs to another queue"
AT_ONCE = 100  # set aside and not confirmed yet
MOST_REPORTS = 4_000  # in a transaction: anybody may put more into a message
_REASONS = 3  # in the log, of a batch
_SAID = 300  # characters of each


class Writer:
    """Of both recorders: of events, and of what the broker had no queue for."""

    def __init__(self, recording: Recording, cancels: Cancels, metrics: Metrics) -> None:
        self._recording = recording
        self._cancels = cancels
        self._metrics = metrics

    async def record(self, reports: Sequence[Report], publisher: Publisher, answers: Answers) -> list[SetAside]:
        """Write what was reported and answer for what is dead; return what can't be recorded."""
        dead: list[Report] = []

        async def write(some: Sequence[Report]) -> Refused[Report]:
            recorded = await self._recording.record(some)
            tally.count(self._metrics, some, recorded)
            dead.extend(one for one in some if (one.event.id, one.event.generation) in recorded.dead)
            without = {id(one) for one in recorded.without_payload}
            lost = [one for one in some if one.event.id in recorded.misplaced and id(one) not in without]
            return [(one, NO_PAYLOAD) for one in recorded.without_payload] + [(one, NOT_ITS_QUEUE) for one in lost]

        # An id that two queues claim: the claim that came first is recorded before the other is looked at.
        refused = [
            one for part in rounds(reports) for some in chunks(part, MOST_REPORTS) for one in await commit(some, write)
        ]
        await answers.answer(dead)
        misplaced = [report for report, because in refused if because == NOT_ITS_QUEUE]
        published = await next_attempts.publish(misplaced, publisher, datetime.now(UTC))
        aside = [one for one in refused if one[1] != NOT_ITS_QUEUE]
        aside += [(report, "; ".join(filter(None, (NOT_ITS_QUEUE, what)))) for report, what in published]
        return [SetAside.of_report(report, because) for report, because in aside]

    async def tell(self, told: Sequence[Told]) -> list[SetAside]:
        """Write what was told of queues; return what can't be recorded."""

        async def write(some: Sequence[Told]) -> Refused[Told]:
            await self._recording.record((), some)
            return []

        return [SetAside.of_told(one, because) for one, because in await commit(told, write)]

    async def cancel(self, asked: Sequence[AskedCancel]) -> list[SetAside]:
        """Have jobs cancelled, also such as the store has not seen; return what can't be."""

        async def write(some: Sequence[AskedCancel]) -> Refused[AskedCancel]:
            wanted = [Wanted(one.id, told_generation(one.generation), queue) for queue, one in some]
            noted = await self._cancels.ask(wanted, unseen=True)
            self._metrics.cancelled(noted.ended)
            return [(one, NOT_ITS_QUEUE) for one in some if one[1].id in noted.misplaced]

        refused = [one for part in cancel_rounds(asked) for one in await commit(part, write)]
        return [SetAside(f"cancel.{queue}", encode(one), because) for (queue, one), because in refused]

    async def set_aside(self, events: Sequence[SetAside], publisher: Publisher) -> None:
        """Return once the broker has all; one that floods us neither waits for each nor fills the log."""
        if not events:
            return
        reasons = list(dict.fromkeys(f"{one.routing_key}: {one.because}"[:_SAID] for one in events))
        log.warning("events are set aside", number=len(events), first_reasons=reasons[:_REASONS])
        for some in chunks(events, AT_ONCE):
            await asyncio.gather(*(self._set_aside(one, publisher) for one in some))

    async def _set_aside(self, one: SetAside, publisher: Publisher) -> None:
        try:
            await publisher.publish("", topology.EVENTS_DEAD, one.message())
        except NotConfirmed as problem:
            raise BrokerGone(f"an event can't be set aside: {problem}") from problem
        self._metrics.set_aside.inc()
