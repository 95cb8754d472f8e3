"""Cancels at their edges: of jobs nobody knows, named wrongly, and of those whose last message comes once more."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from cancel_world import World
from producers import QUEUE

from leveret.events import Error
from leveret.jobs import State
from leveret_producer.store.cancels import cancel
from leveret_producer.store.commands import CANCEL

FAILED = Error("Failed", "boom")
HOUR = timedelta(hours=1)


async def test_a_cancel_in_a_generation_that_there_is_not_hides_no_report(world: World) -> None:
    await world.ask(7, unseen=True)
    await world.report(State.SUCCEEDED, 1)
    assert (await world.row()).state == "succeeded"


async def test_a_cancel_that_names_the_wrong_queue_hides_no_report(world: World) -> None:
    await world.ask(unseen=True, queue="leveret.wrong")
    recorded = await world.report(State.SUCCEEDED, 1)
    assert (recorded.misplaced, (await world.row()).state) == (frozenset(), "succeeded")


async def test_a_job_ended_by_the_database_whose_message_comes_once_more_is_told_to_consumers(world: World) -> None:
    """The consumer was killed between its report, that the next attempt is due in an hour, and its ack."""
    await world.publish()
    at = datetime.now(UTC) + HOUR
    await world.report(State.RETRYING, retry_at=at, publish_at=at, payload=msgspec.Raw(b"1"), error=FAILED)
    assert await world.ask() == {QUEUE: 1}
    assert [one.job for one in await world.commands.take((CANCEL,), 10)] == [world.id]


async def test_one_that_a_rule_stands_for_is_named_as_soon_as_it_is_known_to_run(world: World) -> None:
    """A rule stops no job that runs, and its start may be recorded only after the rule was told."""
    await world.publish()
    await world.run("UPDATE jobs SET created_at = created_at - interval '1 minute' WHERE id = :id")
    await world.run("INSERT INTO cancel_rules (id, queue, before) VALUES (:id, 'leveret.test', now())")
    async with world.postgres.transaction() as connection:
        assert (await cancel(connection, [(world.id, 1)], rule=world.id)).asked == 1
    assert await world.commands.take((CANCEL,), 10) == []
    await world.report(State.RUNNING, started_at=datetime.now(UTC))
    assert [one.job for one in await world.commands.take((CANCEL,), 10)] == [world.id]
    await world.report(State.RUNNING, 1, started_at=datetime.now(UTC), delivery=1)
    assert await world.commands.take((CANCEL,), 10) == []
    await world.report(State.CANCELLED, 2)
    assert await world.standing() == []


IDS = {
    "nil": UUID(int=0),
    "max": UUID(int=(1 << 128) - 1),
    "of 1970": UUID("00000000-0001-7000-8000-000000000000"),
    "of the last year": UUID("ffffffff-ffff-7000-8000-000000000000"),
    "of 2024": UUID("018d0000-0000-7000-8000-000000000000"),
    "of 2030": UUID("01b80000-0000-7000-8000-000000000000"),
    "random": UUID("c2a4d2a8-5b8a-4c7e-9b1d-5d8a4c7e9b1d"),
}


@pytest.mark.parametrize("id", IDS.values(), ids=IDS.keys())
async def test_any_id_can_be_cancelled_unseen(world: World, id: UUID) -> None:
    world.id = id
    assert await world.ask(unseen=True) == {}
    assert await world.standing() == [1]
    page = await world.cancels.page(None)
    assert [one.wanted.id for one in page] == [id]
    await world.report(State.CANCELLED, 1)
    assert ((await world.row()).state, await world.standing()) == ("cancelled", [])
