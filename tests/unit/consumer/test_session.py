"""A session from its start to its end, on a connection that notes what it is asked for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from moved_clock import move_clock, turns
from pretended_broker import Connection
from pretended_consumer import Consumer

from leveret import Context, Handlers
from leveret.rabbitmq.connection import BrokerGone
from leveret_consumer.intake import SUBSCRIBES_AGAIN_AFTER


class World(Consumer):
    """With one slot, and jobs that wait."""

    def __init__(self) -> None:
        self.move = move_clock(asyncio.get_running_loop())
        self.go = asyncio.Event()
        self.started: list[int] = []
        handlers = Handlers()

        @handlers.job("wait")
        async def wait(ctx: Context, job: dict[str, object]) -> None:
            self.started.append(ctx.job_id.int)
            await self.go.wait()

        super().__init__(handlers)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.close()


async def test_a_publishing_channel_that_is_closed_ends_the_session(world: World) -> None:
    await world.ready()
    world.connection.publisher().close_for(ChannelPreconditionFailed("fast reply consumer does not exist"))
    with pytest.raises(BrokerGone, match="fast reply consumer"):
        await world.running


async def test_a_deleted_exchange_costs_the_session_nothing_that_runs(world: World) -> None:
    await world.ready()
    world.deliver(1)
    await world.until(lambda: world.started == [1])
    world.connection.publisher().close_for(ChannelNotFoundEntity("no exchange 'leveret.delay.0'"))
    await world.until(lambda: world.connection.declared.count("leveret.delay.0") == 2)
    world.go.set()
    await world.until(lambda: "ack 1" in world.connection.told)
    assert (world.started, world.running.done()) == ([1], False)


async def test_a_session_that_is_over_starts_nothing_though_its_connection_lives(world: World) -> None:
    await world.ready()
    for number in (1, 2, 3):
        world.deliver(number)
    await world.until(lambda: world.started == [1])
    world.connection.publisher().close_for(ChannelPreconditionFailed("fast reply consumer does not exist"))
    await asyncio.wait({world.running})
    await world.until(lambda: world.load.busy == world.load.held == 0)
    assert world.started == [1], "the others are the broker's again, and would have nobody to stop them here"
    assert not [line for line in world.connection.told if line.startswith("ack")]
    assert isinstance(world.running.exception(), BrokerGone)


async def test_a_stop_under_an_alarm_starts_nothing_that_waits(world: World) -> None:
    await world.ready()
    deliveries = [world.deliver(number) for number in (1, 2, 3)]
    await world.until(lambda: world.started == [1])
    world.connection.answers.clear()
    world.stop.signalled("SIGTERM")
    await asyncio.wait(deliveries[1:])
    await world.until(lambda: "nack 2" in world.connection.told and "nack 3" in world.connection.told)
    assert "cancel pod" in world.connection.told[:-2], "before, or the broker would send them here again"
    world.go.set()
    await turns(100)
    assert world.started == [1]
    world.connection.answers.set()
    await world.running
    assert world.connection.told[-1] == "ack 1"


async def test_a_stop_drains_and_ends(world: World) -> None:
    await world.ready()
    world.deliver(1)
    await world.until(lambda: world.started == [1])
    world.stop.signalled("SIGTERM")
    await world.until(lambda: "cancel pod" in world.connection.told)
    assert not world.status.readiness().ready
    world.go.set()
    await world.running
    assert world.connection.told[-1] == "ack 1"
    assert ("leveret.events", "handlers.q") in world.connection.published


async def test_what_does_not_end_within_the_grace_period_is_stopped_and_given_back_before_the_last_events(
    world: World,
) -> None:
    await world.ready()
    deliveries = [world.deliver(number) for number in (1, 2)]
    await world.until(lambda: world.started == [1])
    world.stop.signalled("SIGTERM")
    await asyncio.wait(deliveries[1:])
    await turns()
    world.move(20)
    await world.running
    told = [line for line in world.connection.told if line.split()[0] in ("cancel", "nack", "ack")]
    assert told == ["cancel pod", "nack 2", "nack 1"]
    assert world.load.busy == 0


@pytest.mark.parametrize("hangs", ["open 1", "declare", "open 2"])
async def test_a_stop_ends_a_set_up_that_the_broker_does_not_answer(world: World, hangs: str) -> None:
    """A stop was looked at once, before: whoever hung in the set-up waited for the grace period and 10 s more."""
    silent: Any = Connection(queues={"q"}, hangs=hangs)
    setting_up = world.connect(silent)
    await turns(200)
    assert not setting_up.done()
    world.stop.signalled("SIGTERM")
    await setting_up
    await world.running


async def test_a_closed_channel_of_a_retired_subscription_costs_its_own_deliveries_and_no_neighbours(
    world: World,
) -> None:
    """Nobody noticed: the run went on beside the one that the broker had somebody start, and held its slot."""
    await world.ready()
    retired = world.connection.consumers()["pod"]
    lost = world.deliver(1)
    await world.until(lambda: world.started == [1])
    retired.end_consumer("pod")
    await turns()
    world.move(SUBSCRIBES_AGAIN_AFTER)
    await world.until(lambda: "pod.1" in world.connection.consumers())
    neighbour = world.deliver(2, tag="pod.1")
    retired.close_for(ChannelPreconditionFailed("unknown delivery tag"))
    await asyncio.wait({lost})
    await world.until(lambda: world.started == [1, 2])
    again = world.deliver(1, tag="pod.1")
    world.go.set()
    await asyncio.gather(neighbour, again)
    assert (world.started, world.running.done()) == ([1, 2, 1], False)
    assert [line for line in world.connection.told if line.startswith(("ack", "nack"))] == ["ack 2", "ack 3"]


async def test_after_a_stop_no_session_begins(world: World) -> None:
    await world.ready()
    world.stop.signalled("SIGTERM")
    await world.running
    other: Any = Connection(queues={"q"})
    await world.connect(other)
    assert other.channels == []


async def test_two_copies_of_a_message_are_one_attempt_and_each_is_acknowledged(world: World) -> None:
    await world.ready()
    first = world.deliver(1)
    await world.until(lambda: world.started == [1])
    second = world.deliver(1)  # waits for its slot as a plain one, or finds the attempt
    await turns()
    world.go.set()
    await asyncio.gather(first, second)
    assert world.started == [1]
    assert sorted(line for line in world.connection.told if line.startswith("ack")) in (["ack 1", "ack 2"], ["ack 2"])


async def test_a_copy_that_waits_for_a_slot_finds_the_attempt_of_the_other(world: World) -> None:
    await world.ready()
    world.deliver(9)
    await world.until(lambda: world.started == [9])
    copies = [world.deliver(1), world.deliver(1)]
    await turns()
    world.go.set()
    await asyncio.gather(*copies)
    assert world.started == [9, 1]
    assert world.load.busy == world.load.held == 0


async def test_what_has_ended_as_its_connection_went_is_settled_from_memory(world: World) -> None:
    await world.ready()

    async def never(exchange: str, message: object) -> None:
        if exchange == "leveret.events":
            await asyncio.Event().wait()

    world.connection.confirms = never
    world.go.set()
    world.deliver(1)
    await world.until(lambda: world.load.finished.attempts == 1)
    world.running.cancel()
    await asyncio.wait({world.running})
    assert world.load.busy == world.load.held == 0
    other = Connection(queues={"q"})
    world.connection = other
    world.running = world.connect(other)
    await world.ready()
    await world.until(lambda: "pod" in other.consumers())
    await world.deliver(1)
    assert world.started == [1]
    assert [line for line in other.told if line.startswith("ack")] == ["ack 1"]
