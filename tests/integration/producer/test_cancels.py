"""What becomes of a cancel in the database, however the job is: ended at once, or asked for until a consumer has ended it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import uuid_utils.compat
from cancel_world import World
from producers import QUEUE

from leveret.events import Error
from leveret.jobs import Envelope, State
from leveret_producer.store.cancels import Wanted
from leveret_producer.store.commands import CANCEL, REPLY

FAILED = Error("Failed", "boom")
HOUR = timedelta(hours=1)


async def _accepted(world: World) -> None:
    await world.submit()


async def _scheduled(world: World) -> None:
    await world.submit(delay=HOUR)


async def _retrying_until_a_time(world: World) -> None:
    await world.publish()
    at = datetime.now(UTC) + HOUR
    await world.report(State.RETRYING, retry_at=at, publish_at=at, payload=msgspec.Raw(b"1"), error=FAILED)


async def _on_its_way(world: World) -> None:
    await world.submit(lease=30)


async def _given_back(world: World) -> None:
    await world.submit()
    [taken] = await world.rows.take(10)
    await world.rows.release([taken.lease])


async def _queued(world: World) -> None:
    await world.publish()


async def _running(world: World) -> None:
    await world.publish()
    await world.report(State.RUNNING, started_at=datetime.now(UTC))


async def _in_a_delay_level(world: World) -> None:
    await _running(world)
    await world.report(State.RETRYING, 1, retry_at=datetime.now(UTC) + HOUR, error=FAILED)


async def _without_a_queue(world: World) -> None:
    await world.publish()
    await world.returning.put_back([Envelope(world.id, QUEUE, "t", b"1", submitted_at=world.now)])


Way = Callable[[World], Awaitable[None]]
ALONE = {"accepted": _accepted, "scheduled": _scheduled, "retrying until a time": _retrying_until_a_time}
OTHERS = {
    "on its way": _on_its_way,
    "taken and given back": _given_back,
    "queued": _queued,
    "running": _running,
    "in a delay level": _in_a_delay_level,
    "back, for its queue is gone": _without_a_queue,
}


@pytest.mark.parametrize("way", ALONE.values(), ids=ALONE.keys())
async def test_what_nobody_else_can_have_is_ended_at_once_and_never_published(world: World, way: Way) -> None:
    await way(world)
    assert await world.ask() == {QUEUE: 1}
    assert await world.ask() == {}
    row = await world.row()
    assert (row.state, row.error, row.finished_at >= row.created_at) == ("cancelled", None, True)
    await world.run("UPDATE jobs SET lease_until = now() WHERE id = :id")
    assert await world.rows.take(10) == []
    told = [world.id] if way is _retrying_until_a_time else []  # of which there was a message
    assert ([one.job for one in await world.commands.take((CANCEL,), 10)], await world.standing()) == (told, [])


@pytest.mark.parametrize("way", OTHERS.values(), ids=OTHERS.keys())
async def test_what_may_be_with_the_broker_is_asked_for_until_it_has_ended(world: World, way: Way) -> None:
    await way(world)
    before = await world.row()
    assert [await world.ask(), await world.ask()] == [{}, {}]
    row = await world.row()
    assert row.cancel_requested_at is not None
    assert (row.state, row.merge_key, row.lease_until) == (before.state, before.merge_key, before.lease_until)
    [command] = await world.commands.take((CANCEL,), 10)
    assert (command.queue, command.job, command.generation) == (QUEUE, world.id, 1)
    assert await world.commands.take((CANCEL,), 10) == [], "another one has it"
    await world.commands.done([command])
    assert await world.standing() == [1]
    finished = (await world.report(State.CANCELLED, 2)).finished
    assert [(one.id, one.state) for one in finished] == [(world.id, "cancelled")]
    assert await world.standing() == []
    assert (await world.row()).cancel_requested_at is not None


@pytest.mark.parametrize("end", [State.SUCCEEDED, State.DEAD])
async def test_what_has_ended_is_left_as_it_is(world: World, end: State) -> None:
    await _running(world)
    await world.report(end, 1, error=FAILED if end is State.DEAD else None)
    before = await world.row()
    assert await world.ask() == {}
    assert await world.row() == before
    assert await world.standing() == []


async def test_a_redrive_is_touched_by_its_own_cancel_only(world: World) -> None:
    await _running(world)
    await world.ask()
    await world.run(
        "UPDATE jobs SET generation = 2, state = 'accepted', merge_key = 17179869184, published_at = NULL, "
        "due_at = now(), lease_until = now(), cancel_requested_at = NULL WHERE id = :id"
    )
    assert await world.ask(1) == {}
    assert (await world.row()).state == "accepted"
    assert await world.ask(2) == {QUEUE: 1}
    assert (await world.row()).state == "cancelled"


async def test_a_retry_that_would_wait_in_the_store_is_ended_as_it_is_recorded_and_answered(world: World) -> None:
    await _running(world)
    await world.ask()
    at = datetime.now(UTC) + HOUR
    recorded = await world.report(
        State.RETRYING, 1, retry_at=at, publish_at=at, payload=msgspec.Raw(b"1"), reply_to="mine", correlation_id="c",
        error=FAILED,
    )  # fmt: skip
    assert [(one.id, one.state) for one in recorded.finished] == [(world.id, "cancelled")]
    assert ((await world.row()).state, await world.standing(), await world.rows.take(10)) == ("cancelled", [], [])


async def test_who_waits_for_a_job_that_the_database_ends_is_answered(world: World) -> None:
    at = datetime.now(UTC) + HOUR
    waits: dict[str, Any] = {
        "retry_at": at,
        "publish_at": at,
        "payload": msgspec.Raw(b"1"),
        "reply_to": "mine",
        "error": FAILED,
    }
    await world.report(State.RETRYING, **waits)
    assert await world.ask() == {QUEUE: 1}
    [reply] = await world.commands.take((REPLY,), 10)
    assert (reply.job, msgspec.json.decode(reply.properties or "")) == (
        world.id,
        {"reply_to": "mine", "correlation_id": str(world.id)},
    )


async def test_a_job_that_was_not_seen_is_there_from_then_on_and_its_first_report_says_what_it_is(world: World) -> None:
    assert await world.ask() == {}
    assert await world.standing() == []
    assert await world.ask(unseen=True) == {}
    assert ((await world.row()).state, await world.standing()) == ("queued", [1])
    assert (await world.cancels.ask([Wanted(world.id, 1, "leveret.other")], unseen=True)).misplaced == {world.id}
    submitted = datetime.now(UTC) - HOUR
    await world.report(State.RUNNING, submitted_at=submitted, correlation_id="c")
    row = await world.row()
    assert (row.type, row.state, row.created_at, row.correlation_id) == ("t", "running", submitted, "c")
    await world.report(State.CANCELLED, 1)
    assert ((await world.row()).state, await world.standing()) == ("cancelled", [])


async def test_of_a_cancel_and_a_take_at_once_one_has_the_job(world: World) -> None:
    """Never is a job both ended by the database and published; and what is published is asked for."""
    ended = taken = 0
    for number in range(150):
        world.id = uuid_utils.compat.uuid7()
        await world.submit()
        steps: list[Callable[[], Awaitable[object]]] = [world.ask, lambda: world.rows.take(10)]
        random.Random(number).shuffle(steps)
        found = await asyncio.gather(*(step() for step in steps))
        was_ended = {QUEUE: 1} in found
        was_taken = any(isinstance(one, list) and one for one in found) or bool(await world.rows.take(10))
        assert was_ended is not was_taken, number
        assert (await world.standing() == [1]) is was_taken
        ended, taken = ended + was_ended, taken + was_taken
    assert min(ended, taken) > 5, (ended, taken)
