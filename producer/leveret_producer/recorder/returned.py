"""See to what was published to the jobs' exchange for no queue: put it back into the outbox, or keep it as a dead letter.

It has a connection of its own: anybody may publish there, under any routing key.
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import partial

from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from leveret import topology
from leveret.jobs import Envelope
from leveret.rabbitmq.publisher import Publisher
from leveret_producer.health import Health
from leveret_producer.metrics import Metrics
from leveret_producer.recorder import letters
from leveret_producer.recorder.answers import Answers
from leveret_producer.recorder.batch import SetAside
from leveret_producer.recorder.committing import Refused, commit
from leveret_producer.recorder.inbox import Inbox
from leveret_producer.recorder.merge import Report
from leveret_producer.recorder.net import Messages, handle_all
from leveret_producer.recorder.sessions import until_stopped
from leveret_producer.recorder.writer import NOT_ITS_QUEUE, Writer
from leveret_producer.store.returning import Returning

_Returned = tuple[Envelope, AbstractIncomingMessage]

PREFETCH = 10  # each is kept whole, as large as the broker takes messages
TOO_LARGE = "it is a dead letter, and its body is too large for the store"


class ReturnedMessages:
    def __init__(self, writer: Writer, returning: Returning, metrics: Metrics, health: Health | None = None) -> None:
        self._writer = writer
        self._metrics = metrics
        self._returning = returning
        self._health = health or Health()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish the batch at hand, and no other."""
        self._stopping.set()

    async def session(self, connection: AbstractConnection) -> None:
        """See to what comes over one connection until it ends, or until told to stop."""
        publisher, answers = await Publisher.open(connection), Answers(connection, self._metrics)
        inbox = await Inbox.subscribe(connection, topology.UNROUTABLE, PREFETCH)
        await until_stopped(self._stopping, publisher, self._work(inbox, publisher, answers), answers)

    async def _work(self, inbox: Inbox, publisher: Publisher, answers: Answers) -> None:
        while not self._stopping.is_set():
            if messages := await inbox.batch():
                with self._health.returned.batch(messages):
                    await handle_all(messages, partial(self._put_back, answers), self._writer, publisher)
                    await inbox.acknowledge(messages)

    async def _put_back(self, answers: Answers, messages: Messages, publisher: Publisher) -> None:
        live = await self._live({message.routing_key or "" for message in messages})
        now = datetime.now(UTC)
        found = [(letters.without_queue(one, now, live=one.routing_key in live), one) for one in messages]
        jobs = [(job, message) for job, message in found if isinstance(job, Envelope)]
        refused = await commit(jobs, self._return)
        dead = [report for report, _ in found if isinstance(report, Report)]
        aside = [SetAside.of_letter(message, because) for (_, message), because in refused]
        aside += await self._writer.record(dead, publisher, answers)
        # A body that is too large for the store would be gone, since the message is in no queue of dead letters.
        large = [report for report in dead if report.letter and not report.letter.keeps_body]
        aside += [SetAside.of_report(report, TOO_LARGE) for report in large]
        await self._writer.set_aside(aside, publisher)

    async def _live(self, queues: Collection[str]) -> set[str]:
        """Return which of these queues a JobQueue has; one that the database refuses to look for is none."""
        live: set[str] = set()

        async def look(names: Sequence[str]) -> Refused[str]:
            live.update(await self._returning.live(names))
            return []

        await commit(sorted(queues), look)
        return live

    async def _return(self, jobs: Sequence[_Returned]) -> Refused[_Returned]:
        misplaced = await self._returning.put_back([job for job, _ in jobs])
        return [(one, NOT_ITS_QUEUE) for one in jobs if one[0] in misplaced]
