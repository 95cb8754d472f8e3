"""Write what a batch says, and set aside on `leveret.events.dead` what of it can't be recorded, with the reason."""

from collections.abc import Sequence

import structlog

from leveret import topology
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed, Publisher
from leveret_producer.metrics import Metrics
from leveret_producer.recorder import tally
from leveret_producer.recorder.answers import answer
from leveret_producer.recorder.batch import SetAside, rounds
from leveret_producer.recorder.committing import Refused, commit
from leveret_producer.recorder.merge import Report
from leveret_producer.store.recording import Recording, Told

log = structlog.get_logger(__name__)

NO_PAYLOAD = "it asks to publish the job again, and neither it nor the store has the job's payload"
NOT_ITS_QUEUE = "the job's id belongs to another queue"


class Writer:
    """Of both recorders: of events, and of what the broker had no queue for."""

    def __init__(self, recording: Recording, metrics: Metrics) -> None:
        self._recording = recording
        self._metrics = metrics

    async def record(self, reports: Sequence[Report], publisher: Publisher) -> None:
        dead: list[Report] = []

        async def write(some: Sequence[Report]) -> Refused[Report]:
            recorded = await self._recording.record(some)
            tally.count(self._metrics, some, recorded)
            dead.extend(one for one in some if (one.event.id, one.event.generation) in recorded.dead)
            lost = [one for one in some if one.event.id in recorded.misplaced and one not in recorded.without_payload]
            return [(one, NO_PAYLOAD) for one in recorded.without_payload] + [(one, NOT_ITS_QUEUE) for one in lost]

        # An id that two queues claim: the claim that came first is recorded before the other is looked at.
        refused = [one for part in rounds(reports) for one in await commit(part, write)]
        for report, because in refused:
            await self.set_aside(SetAside.of_report(report, because), publisher)
        await answer(dead, publisher)

    async def tell(self, told: Sequence[Told]) -> list[SetAside]:
        """Write what was told of queues; return what the database refused."""

        async def write(some: Sequence[Told]) -> Refused[Told]:
            await self._recording.record((), some)
            return []

        return [SetAside.of_told(one, because) for one, because in await commit(told, write)]

    async def set_aside(self, one: SetAside, publisher: Publisher) -> None:
        log.warning("an event is set aside", because=one.because, routing_key=one.routing_key)
        try:
            await publisher.publish("", topology.EVENTS_DEAD, one.message())
        except NotConfirmed as problem:
            raise BrokerGone(f"an event can't be set aside: {problem}") from problem
        self._metrics.set_aside.inc()
