"""From a delivery to its ack, where the job is cancelled: as it comes, at its slot, while it runs, and between its end and its ack."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from moved_clock import move_clock
from pretended_consumer import Consumer

from leveret import Context, Handlers

PLAIN, CARED_FOR = {}, {"reply_to": "answers"}
BOTH = pytest.mark.parametrize("fields", [pytest.param(PLAIN, id="plain"), pytest.param(CARED_FOR, id="with a reply")])


class World(Consumer):
    def __init__(self, slots: int = 1) -> None:
        self.move = move_clock(asyncio.get_running_loop())
        self.go = asyncio.Event()
        self.started: list[int] = []
        handlers = Handlers()

        @handlers.job("wait")
        async def wait(ctx: Context, job: dict[str, object]) -> str:
            self.started.append(ctx.job_id.int)
            await self.go.wait()
            return "done"

        @handlers.job("fail")
        async def fail(ctx: Context, job: dict[str, object]) -> None:
            self.started.append(ctx.job_id.int)
            raise ValueError("no")

        super().__init__(handlers, slots=slots)

    def told(self, number: int) -> list[str]:
        """What was written on a job, in its order; starts left out, acks by their tag."""
        found = []
        for what, *frame in self.connection.frames:
            if what != "publish":
                with_others = what == "ack" and frame[1] and frame[0] > number and "ack" not in found
                found += [what] if frame[0] == number or with_others else []
            elif frame[1] == "job.q":
                events = json.loads(frame[2].body)
                of_it = [one["state"] for one in events if one["id"] == str(UUID(int=number))]
                found += [state for state in of_it if state != "running"]
            elif str(UUID(int=number)) in (frame[2].message_id, frame[2].correlation_id):
                found.append(frame[0] or frame[2].headers["leveret-outcome"])
        return found

    async def is_told(self, number: int, *what: str) -> None:
        await self.until(lambda: self.told(number)[-1:] == ["ack"])
        assert self.told(number) == [*what, "ack"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.ready()
    yield made
    await made.close()


def answers(fields: dict[str, Any]) -> list[str]:
    return ["cancelled"] if fields else []


@BOTH
async def test_one_that_comes_cancelled_is_told_answered_and_acknowledged_without_a_slot(
    world: World, fields: dict[str, Any]
) -> None:
    world.deliver(1)
    world.cancel(2)
    world.deliver(2, **fields)
    await world.is_told(2, "cancelled", *answers(fields))
    assert (world.started, world.load.held) == ([1], 1)


@BOTH
async def test_one_that_is_cancelled_at_its_slot_does_not_start(world: World, fields: dict[str, Any]) -> None:
    for number in (1, 2, 3):
        world.deliver(number, **fields)
    await world.until(lambda: world.started == [1])
    world.cancel(2)
    world.go.set()
    await world.is_told(2, "cancelled", *answers(fields))
    await world.is_told(3, "succeeded", *["succeeded" for _ in fields])
    assert world.started == [1, 3]


@BOTH
async def test_one_that_runs_ends_and_its_neighbour_goes_on(fields: dict[str, Any]) -> None:
    world = World(slots=2)
    await world.ready()
    world.deliver(1, **fields)
    world.deliver(2, **fields)
    await world.until(lambda: world.started == [1, 2])
    world.cancel(1)
    await world.is_told(1, "cancelled", *answers(fields))
    assert world.load.busy == 1
    world.go.set()
    await world.is_told(2, "succeeded", *["succeeded" for _ in fields])
    await world.close()


@BOTH
async def test_a_success_that_is_not_acknowledged_yet_stays_one(world: World, fields: dict[str, Any]) -> None:
    confirm = asyncio.Event()

    async def confirms(exchange: str, message: Any) -> None:
        if b'"succeeded"' in message.body:
            await confirm.wait()

    world.connection.confirms = confirms
    world.go.set()
    world.deliver(1, **fields)
    await world.until(lambda: world.told(1) == ["succeeded"])
    world.cancel(1)
    confirm.set()
    await world.is_told(1, "succeeded", *["succeeded" for _ in fields])


async def test_of_one_whose_retry_is_on_its_way_the_next_attempt_does_not_start(world: World) -> None:
    confirm = asyncio.Event()

    async def confirms(exchange: str, message: Any) -> None:
        if exchange == "leveret.delay.2":
            await confirm.wait()

    world.connection.confirms = confirms
    world.deliver(1, "fail")
    await world.until(lambda: world.told(1) == ["leveret.delay.2"])
    world.cancel(1)
    confirm.set()
    await world.is_told(1, "leveret.delay.2", "retrying")
    world.deliver(1, "fail", attempt=2)
    await world.until(lambda: world.told(1)[-1] == "cancelled")
    assert world.started == [1]


async def test_what_no_handler_is_for_is_cancelled_too(world: World) -> None:
    world.cancel(1)
    world.deliver(1, "nobody")
    await world.is_told(1, "cancelled")


async def test_while_it_is_not_known_what_is_cancelled_nothing_starts(world: World) -> None:
    world.load.pause()
    world.deliver(1)
    world.deliver(2, **CARED_FOR)
    await world.until(lambda: world.load.held == 2)
    assert world.started == []
    world.cancel(1)
    world.go.set()
    world.load.resume()
    await world.is_told(1, "cancelled")
    await world.is_told(2, "succeeded", "succeeded")
    assert world.started == [2]


async def test_a_drain_meanwhile_gives_back_what_waits(world: World) -> None:
    world.load.pause()
    waiting = [world.deliver(1), world.deliver(2, **CARED_FOR)]
    await world.until(lambda: world.load.held == 2)
    world.stop.signalled("SIGTERM")
    await asyncio.wait({world.running})
    await asyncio.wait(waiting)
    assert (world.told(1), world.told(2), world.started) == (["nack"], ["nack"], [])


async def test_a_session_consumes_only_when_that_is_known() -> None:
    world = World()
    world.process.control.up_to_date.clear()
    await world.until(lambda: "it reads what is cancelled first" in world.status.readiness().says)
    world.move(60)
    assert not world.connection.consumers()
    world.process.control.up_to_date.set()
    await world.ready()
    await world.close()


async def test_a_stop_before_that_ends_the_session() -> None:
    world = World()
    world.process.control.up_to_date.clear()
    await world.until(lambda: "it reads what is cancelled first" in world.status.readiness().says)
    world.stop.signalled("SIGTERM")
    await asyncio.wait({world.running}, timeout=timedelta(seconds=60).total_seconds())
    assert world.running.done()
    world.running.result()
