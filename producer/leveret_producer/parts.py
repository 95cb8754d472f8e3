"""The parts of a running producer, made once at its start and reached by requests as typed state."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from leveret_producer.cancels.sender import Sender
from leveret_producer.cancels.snapshots import Snapshots
from leveret_producer.catalog import Catalog
from leveret_producer.dead_letters.sweeper import Sweeper
from leveret_producer.health import Health
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import Bound
from leveret_producer.outbox.hinting import Hinting
from leveret_producer.outbox.relay import Relay
from leveret_producer.problems import database_unavailable, reads
from leveret_producer.recorder.recorder import Recorder
from leveret_producer.recorder.returned import ReturnedMessages
from leveret_producer.recorder.writer import Writer
from leveret_producer.retention.keeper import Keeper
from leveret_producer.schemas import Schemas
from leveret_producer.settings import Settings
from leveret_producer.store import budget
from leveret_producer.store.cancels import Cancels
from leveret_producer.store.commands import Commands
from leveret_producer.store.dead_letters import DeadLetters
from leveret_producer.store.jobs import Jobs
from leveret_producer.store.keys import Keys
from leveret_producer.store.operations import Operations
from leveret_producer.store.outbox import OutboxRows
from leveret_producer.store.outcomes import Outcomes
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.queues import Queues
from leveret_producer.store.recording import Recording
from leveret_producer.store.returning import Returning
from leveret_producer.store.sweeping import Sweeping
from leveret_producer.store.turns import Turns
from leveret_producer.submit import FrontDoor
from leveret_producer.worker import Worker


@dataclass(frozen=True, slots=True)
class Parts:
    settings: Settings
    health: Health
    metrics: Metrics
    requests_database: Postgres
    work_database: Postgres  # apart, so that a flood of requests doesn't hold up relay and recorder
    jobs: Jobs
    cancels: Cancels
    outcomes: Outcomes
    queues: Queues
    work_queues: Queues
    rows: OutboxRows
    relay: Relay
    hinting: Hinting
    sender: Sender
    snapshots: Snapshots
    recorder: Recorder
    returned: ReturnedMessages
    keeper: Keeper
    front_door: FrontDoor
    dead_letters: DeadLetters
    operations: Operations
    worker: Worker
    sweeper: Sweeper

    def trouble(self) -> str | None:
        """Return what is the matter with the database; None: nothing."""
        return max(self.requests_database, self.work_database, key=lambda pool: pool.asked_at).trouble


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def assemble(settings: Settings, health: Health, metrics: Metrics) -> AsyncIterator[Parts]:
    read = settings.places.database
    requests = Postgres(read, connections=budget.REQUESTS, name=f"{settings.name} requests")
    work = Postgres(read, connections=budget.WORK, name=f"{settings.name} work")
    rows = OutboxRows(work)
    bound = Bound(settings.outbox_limit)
    relay = Relay(rows, metrics, bound)
    hinting = Hinting(settings.name, relay, bound, clock=now)
    jobs, queues = Jobs(requests), Queues(requests)
    recording = Recording(work)
    cancels, turns = Cancels(work), Turns(work)
    writer = Writer(recording, cancels, metrics)
    try:
        yield Parts(
            settings=settings,
            health=health,
            metrics=metrics,
            requests_database=requests,
            work_database=work,
            jobs=jobs,
            cancels=Cancels(requests),
            outcomes=Outcomes(requests),
            queues=queues,
            work_queues=Queues(work),
            rows=rows,
            relay=relay,
            hinting=hinting,
            sender=Sender(Commands(work), metrics, now, relay.alarm),
            snapshots=Snapshots(cancels, turns, metrics, now, relay.alarm),
            recorder=Recorder(writer, metrics, health),
            returned=ReturnedMessages(writer, Returning(work), metrics, health),
            keeper=Keeper(read, settings.name, settings.retention, now, turns),
            front_door=FrontDoor(Catalog(queues), Schemas(), jobs, bound, relay, hinting, metrics, now, Keys(requests)),
            dead_letters=DeadLetters(requests),
            operations=Operations(requests),
            worker=Worker(Operations(work), bound, metrics),
            sweeper=Sweeper(Sweeping(work), turns, recording, metrics, now, settings.retention.jobs),
        )
    finally:
        await requests.close()
        await work.close()


# `async def`, though nothing is awaited: else each request would wait for a thread, and that one for Python's lock.
async def any_parts(request: Request) -> Parts:
    parts = request.state.parts
    assert isinstance(parts, Parts)
    return parts


async def migrated_parts(request: Request) -> Parts:
    """Refuse requests that need tables which aren't there yet."""
    parts = await any_parts(request)  # not a dependency of its own: each costs FastAPI a good deal
    if not parts.health.migrated:
        raise database_unavailable(reads=reads(request))
    return parts


Serving = Annotated[Parts, Depends(migrated_parts)]
Anyhow = Annotated[Parts, Depends(any_parts)]
