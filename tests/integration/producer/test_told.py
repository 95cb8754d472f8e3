"""What the operator tells of queues: two recorders write it at once, and clocks that are wrong freeze nothing."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from leveret.events import (
    HandlerInfo,
    HandlersRegistered,
    JobQueuesListed,
    QueueDecided,
    QueueDefined,
    QueueObserved,
    QueueRemoved,
)
from leveret.settings import Database
from leveret_producer.queue_bound import Length
from leveret_producer.recorder.told import Told
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.queues import Queues
from leveret_producer.store.recording import Recording

QUEUE = "leveret.a"
DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Postgres]:
    store = Postgres(lambda: database, connections=8, name="test")
    await migrate(store)
    yield store
    await store.close()


def defined(queue: str, at: datetime, *, max_length: int | None = 100) -> Told:
    namespace, _, jobqueue = queue.partition(".")
    return queue, QueueDefined(namespace, jobqueue, at, "v1", 5, 30.0, max_length)


def everything(queues: list[str], at: datetime) -> list[Told]:
    """All that is told of queues, each kind in an order of its own."""
    told: list[Told] = []
    for queue in random.sample(queues, len(queues)):
        told += [(queue, QueueObserved(at, ready=1)), (queue, HandlersRegistered("v1", {})), defined(queue, at)]
        told += [(queue, QueueDecided(at, 1, 2, "Backlog", "more")), (queue, QueueRemoved(at - DAY))]
    namespaces = {queue.partition(".")[0] for queue in queues}
    told += [
        (one, JobQueuesListed(at, dict.fromkeys(queue.partition(".")[2] for queue in queues))) for one in namespaces
    ]
    random.shuffle(told)
    return told


async def test_recorders_that_are_told_of_the_same_queues_at_once_do_not_deadlock(store: Postgres) -> None:
    """15 rounds; `record` would raise TryAgain for one that the database has ended. Half the queues are new in each."""
    recording, start = Recording(store), now() - DAY
    queues = [f"team-{number % 5}.queue-{number}" for number in range(20)]
    for number in range(15):
        some = [*queues, *(f"team-{number % 5}.new-{number}-{one}" for one in range(20))]
        at = start + timedelta(seconds=number)
        async with asyncio.timeout(60):
            await asyncio.gather(*(recording.record((), everything(some, at)) for _ in range(4)))


async def test_of_many_observations_of_one_batch_the_newest_counts_and_all_decisions_stay(store: Postgres) -> None:
    at = now() - timedelta(minutes=1)
    told: list[Told] = [defined(QUEUE, at)]
    for second in (3, 9, 1):
        then = at + timedelta(seconds=second)
        told += [(QUEUE, QueueObserved(then, ready=second)), (QUEUE, QueueDecided(then, 0, second, "Backlog", ""))]
    await Recording(store).record((), told)
    seen = await Queues(store).view(QUEUE)
    assert seen is not None
    assert (seen.ready, [decision.after for decision in seen.decisions]) == (9, [9, 3, 1])


OLD, NEW = ({"t": HandlerInfo({"type": type_})} for type_ in ("string", "integer"))


@pytest.mark.parametrize("batches", [pytest.param(True, id="one-by-one"), pytest.param(False, id="in-one-batch")])
@pytest.mark.parametrize(
    ("told", "counts"),
    [
        pytest.param([(OLD, False), (NEW, False)], NEW, id="the-new-image-starts"),
        pytest.param([(OLD, False), (NEW, False), (OLD, True)], NEW, id="a-pod-of-the-old-image-is-back-on-the-broker"),
        pytest.param([(OLD, False), (NEW, False), (OLD, True), (NEW, True), (OLD, True)], NEW, id="all-are-back"),
        pytest.param([(NEW, False), (OLD, False)], OLD, id="one-of-the-old-image-starts-last"),
        pytest.param([(OLD, True)], OLD, id="the-database-was-lost"),
        pytest.param([(OLD, True), (NEW, True), (NEW, False)], NEW, id="and-then-one-starts"),
    ],
)
async def test_of_two_images_under_one_tag_the_one_whose_consumer_started_last_counts(
    store: Postgres, told: list[tuple[dict[str, HandlerInfo], bool]], counts: dict[str, HandlerInfo], batches: bool
) -> None:
    events: list[Told] = [(QUEUE, HandlersRegistered("v1", types, again)) for types, again in told]
    await Recording(store).record((), [defined(QUEUE, now())])
    for batch in [[one] for one in events] if batches else [events]:
        await Recording(store).record((), batch)
    known = (await Queues(store).known())[QUEUE]
    assert known.handlers == counts


@pytest.mark.parametrize(
    "ahead",
    [timedelta(hours=1), datetime.max.replace(tzinfo=UTC) - datetime.now(UTC) - DAY],
    ids=["an hour", "for ever"],
)
async def test_an_operator_whose_clock_was_ahead_freezes_nothing(store: Postgres, ahead: timedelta) -> None:
    recording, queues, future = Recording(store), Queues(store), now() + ahead
    told: list[Told] = [defined(QUEUE, future), (QUEUE, QueueDecided(future, 0, 1, "Backlog", ""))]
    told += [
        (QUEUE, QueueDecided(future + timedelta(seconds=1), 1, 2, "Backlog", "")),
        (QUEUE, QueueObserved(future, ready=1)),
    ]
    await recording.record((), told)
    seen = await queues.view(QUEUE)
    assert seen is not None
    assert seen.observed_at is not None
    assert seen.observed_at <= now()
    assert [decision.after for decision in seen.decisions] == [2, 1]
    assert all(decision.time <= now() for decision in seen.decisions)

    right: list[Told] = [(QUEUE, QueueObserved(now(), ready=7)), (QUEUE, QueueDecided(now(), 2, 3, "ProvenZero", ""))]
    await recording.record((), right)
    seen = await queues.view(QUEUE)
    assert seen is not None
    assert (seen.ready, seen.decisions[0].after) == (7, 3)

    await recording.record((), [(QUEUE, QueueRemoved(future))])
    assert await queues.view(QUEUE) is None
    await recording.record((), [defined(QUEUE, now())])
    assert await queues.view(QUEUE) is not None, "it came again"
    await recording.record((), [("leveret", JobQueuesListed(future, {}))])
    await recording.record((), [defined(QUEUE, now())])
    assert await queues.view(QUEUE) is not None


async def test_times_of_the_future_that_a_version_before_wrote_do_not_win_for_ever(store: Postgres) -> None:
    recording, queues = Recording(store), Queues(store)
    await recording.record((), [defined(QUEUE, now()), (QUEUE, QueueObserved(now(), backlog=100))])
    async with store.transaction() as connection:
        times = "defined_at = now() + interval '2 day', observed_at = 'infinity', removed_at = now() + interval '1 day'"
        await connection.execute(text(f"UPDATE queues SET {times}"))  # noqa: S608 - a constant
        await connection.execute(
            text("INSERT INTO decisions VALUES ('leveret.a', now() + interval '1 day', 1, 2, '', '')")
        )
    seen = await queues.view(QUEUE)
    assert seen is not None
    assert seen.observed_at is not None
    assert seen.observed_at <= now()
    assert seen.decisions == []
    await recording.record(
        (), [defined(QUEUE, now()), (QUEUE, QueueRemoved(now() - DAY)), (QUEUE, QueueObserved(now(), ready=3))]
    )
    seen = await queues.view(QUEUE)
    assert seen is not None
    assert seen.ready == 3


@pytest.mark.parametrize(
    ("age", "believed"),
    [
        pytest.param(timedelta(seconds=5), True, id="as-it-should-be"),
        pytest.param(timedelta(minutes=1), False, id="too-old"),
        pytest.param(now() - datetime.min.replace(tzinfo=UTC) - DAY, False, id="before-all-calendars"),
    ],
)
async def test_a_limit_goes_by_the_age_that_the_database_tells(store: Postgres, age: timedelta, believed: bool) -> None:
    told: list[Told] = [
        defined(QUEUE, now()),
        (QUEUE, QueueObserved(now() - age, backlog=1)),
    ]
    await Recording(store).record((), told)
    length = (await Queues(store).known())[QUEUE].length
    assert isinstance(length, Length)
    assert length.believed(now()) is believed
