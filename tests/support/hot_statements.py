"""What a producer asks of its database all day, once each, and how much of the tables was read for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import uuid_utils.compat as uuid_utils
from msgspec.structs import replace

from leveret.events import Error, JobEvent
from leveret.jobs import Envelope, State
from leveret.settings import Database
from leveret_producer.dead_letters.selection import DeadLetterFilter, DeadLetterSelection
from leveret_producer.recorder.merge import Report
from leveret_producer.store.cancels import Cancels, Wanted
from leveret_producer.store.dead_letters import DeadLetters, WantedDeadLetters
from leveret_producer.store.jobs import Jobs, NewJob
from leveret_producer.store.keys import Key, Keys
from leveret_producer.store.listing import Wanted as WantedJobs
from leveret_producer.store.operations import Operations
from leveret_producer.store.outbox import OutboxRows, Publication
from leveret_producer.store.outcomes import Outcomes
from leveret_producer.store.queues import Queues
from leveret_producer.store.recording import Recording
from leveret_producer.store.returning import Returning
from leveret_producer.store.sweeping import Sweeping
from tests.support.month import Explained, ExplainedPostgres, Plans

QUEUE = "team-1.queue-1"
CALLS = (
    "insert", "pending", "take", "renew", "mark", "running", "retrying", "succeeded", "foreign", "dead", "put back", "get",
    "page", "dead letters", "dead letter", "redrive", "purge", "sweep", "queues", "known", "oldest",
    "insert by id", "insert once", "first answer", "outcomes", "cancel",
)  # fmt: skip
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Hot:
    """The store on a month of jobs."""

    postgres: ExplainedPostgres
    plans: Plans

    async def each_call(self, batch: int) -> dict[str, list[Explained]]:
        """Make each call on as many jobs, new ones; return what the server did for each."""
        found: dict[str, list[Explained]] = {}

        async def did(name: str, call: Awaitable[_T]) -> _T:
            with self.plans.of() as found[name]:
                answer = await call
                await asyncio.sleep(0)  # what the server told beside its answer is handed on in the loop's next turn
            return answer

        rows, recording, operations = OutboxRows(self.postgres), Recording(self.postgres), Operations(self.postgres)
        ids, now = _ids(batch), datetime.now(UTC)
        running = [JobEvent(one, "t", State.RUNNING, now, "c", submitted_at=now, started_at=now) for one in ids]
        foreign = [
            replace(event, id=other, submitted_at=None) for event, other in zip(running, _ids(batch), strict=True)
        ]
        retrying = [replace(event, state=State.RETRYING, retry_at=now) for event in running]
        succeeded = [replace(event, state=State.SUCCEEDED) for event in foreign]
        boom = Error("AttemptsExhausted", "boom")
        dead = [replace(event, attempt=5, state=State.DEAD, error=boom) for event in running]
        new = [NewJob(_envelope(one), 5) for one in ids]
        await did("insert", Jobs(self.postgres).insert(new, now, 0.0))
        again = [*new, *(NewJob(_envelope(one), 5, due_at=datetime.max.replace(tzinfo=UTC)) for one in _ids(5))]
        assert (
            len((await did("insert by id", Jobs(self.postgres).insert(again, now, 0.0, own_ids=True))).there) == batch
        )
        key = Key("c", str(ids[0]), b"", (1, -1))
        once = [NewJob(_envelope(one), 5, due_at=datetime.max.replace(tzinfo=UTC)) for one in _ids(5)]
        await did("insert once", Jobs(self.postgres).insert(once, now, 0.0, key))
        first = await did("first answer", Keys(self.postgres).first(key))
        assert first is not None
        assert list(first.ids) == [one.job.id for one in once]
        await did("pending", rows.pending())
        taken = await did("take", rows.take(batch))
        assert len(taken) == batch
        await did("renew", rows.renew([one.lease for one in taken]))
        assert len(await did("mark", rows.mark([Publication(one, 1, 1) for one in ids]))) == batch
        await did("running", recording.record(_reports(running)))
        cancels = Cancels(self.postgres)
        noted = await did("cancel", cancels.ask([Wanted(one, 1, QUEUE) for one in ids], unseen=False))
        assert (noted.asked, noted.ended.total()) == (batch, 0)
        await did("retrying", recording.record(_reports(retrying)))
        await did("put back", Returning(self.postgres).put_back([_envelope(one) for one in ids]))
        await did("foreign", recording.record(_reports(foreign)))
        await did("succeeded", recording.record(_reports(succeeded)))
        await did("dead", recording.record(_reports(dead)))
        await did("get", Jobs(self.postgres).get(ids[0]))
        assert len((await did("outcomes", Outcomes(self.postgres).part(ids))).jobs) == batch
        await did("page", Jobs(self.postgres).page(WantedJobs(queue=QUEUE)))
        await did("dead letters", DeadLetters(self.postgres).page(WantedDeadLetters(QUEUE, DeadLetterFilter())))
        await did("dead letter", DeadLetters(self.postgres).get(ids[0]))
        for action, some in (("redrive", ids[::2]), ("purge", ids[1::2])):
            await operations.create(UUID(str(uuid_utils.uuid7())), QUEUE, action, DeadLetterSelection(ids=some))
            claimed = await operations.claim()
            assert claimed is not None
            assert (await did(action, operations.step(claimed))).jobs == len(some)
            await operations.step(claimed)
        await did("sweep", Sweeping(self.postgres).known(ids))
        await did("queues", Queues(self.postgres).view(QUEUE))
        await did("known", Queues(self.postgres).known())
        await did("oldest", Queues(self.postgres).oldest_waiting())
        redriven = await rows.take(batch)  # the outbox is empty for the next round
        await rows.mark([Publication.of(one.job, one.returned) for one in redriven])
        return found

    async def take_of_many(self, waiting: int, batch: int) -> list[Explained]:
        """Take a few of many that wait, in a partition that was not analysed since they came."""
        new = [NewJob(_envelope(one), 5) for one in _ids(waiting)]
        await Jobs(self.postgres).insert(new, datetime.now(UTC), 0.0)
        with self.plans.of() as found:
            assert len(await OutboxRows(self.postgres).take(batch)) == batch
            await asyncio.sleep(0)
        return found


@asynccontextmanager
async def hot(database: Database) -> AsyncIterator[Hot]:
    plans = Plans()
    postgres = ExplainedPostgres(database, plans)
    try:
        yield Hot(postgres, plans)
    finally:
        await postgres.close()


def _ids(count: int) -> list[UUID]:
    return [UUID(str(uuid_utils.uuid7())) for _ in range(count)]


def _envelope(one: UUID) -> Envelope:
    return Envelope(id=one, queue=QUEUE, type="t", body=b"{}", submitted_at=datetime.now(UTC))


def _reports(told: list[JobEvent]) -> list[Report]:
    return [Report(QUEUE, event) for event in told]
