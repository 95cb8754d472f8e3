"""A session from its start to its end, on a connection that notes what it is asked for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from moved_clock import move_clock, turns
from pretended_broker import Connection

from leveret import Context, Handlers, Retry, wire
from leveret.jobs import Envelope
from leveret.rabbitmq.connection import BrokerGone
from leveret.sdk.handlers import Pool
from leveret_consumer.attempts import Attempts, Rules
from leveret_consumer.heartbeats import Heartbeats
from leveret_consumer.intake import SUBSCRIBES_AGAIN_AFTER
from leveret_consumer.jobqueue_inbox import JobQueueInbox
from leveret_consumer.load import Load
from leveret_consumer.pools.loop import LoopPool
from leveret_consumer.reports import Reports
from leveret_consumer.runs import Runs
from leveret_consumer.session import Process, Session
from leveret_consumer.settings import Settings
from leveret_consumer.status import Status
from leveret_consumer.stopping import Stop

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


class World:
    """A consumer with one slot, in one session."""

    def __init__(self) -> None:
        self.move = move_clock(asyncio.get_running_loop())
        self.connection = Connection(queues={"q"})
        self.go = asyncio.Event()
        self.started: list[int] = []
        self.handlers = Handlers()

        @self.handlers.job("wait")
        async def wait(ctx: Context, job: dict[str, object]) -> None:
            self.started.append(ctx.job_id.int)
            await self.go.wait()

        settings = Settings("q", "m:handlers", "pod", concurrency=1, grace=timedelta(seconds=20))
        self.load, reports = Load(1), Reports()
        rules = Rules("pod", timedelta(seconds=30), Retry(2))
        self.stop, self.status = Stop(), Status("q")
        attempts = Attempts(
            rules,
            {Pool.LOOP: LoopPool()},
            self.load,
            reports,
            now=lambda: NOON,
            draw=lambda: 0.5,
            overrun=lambda _: None,
        )
        self.process = Process(
            settings=settings,
            handlers=self.handlers,
            attempts=attempts,
            runs=Runs(slots=1),
            load=self.load,
            reports=reports,
            heartbeats=Heartbeats("pod", "q", self.load, lambda: NOON),
            status=self.status,
            stop=self.stop,
            now=lambda: NOON,
            jobqueue=JobQueueInbox("q", "", now=lambda: NOON),
        )
        connection: Any = self.connection
        self.running = asyncio.create_task(Session.run(self.process, connection))

    def deliver(self, number: int, tag: str = "pod") -> asyncio.Task[None]:
        return self.connection.deliver(wire.to_message(Envelope(UUID(int=number), "q", "wait", b"{}")), tag)

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not seen():  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.01)

    async def ready(self) -> None:
        await self.until(lambda: self.status.readiness().ready)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    made.running.cancel()
    await asyncio.wait({made.running})


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
    deliveries = [world.deliver(number) for number in (1, 2, 3)]
    await world.until(lambda: world.started == [1])
    world.connection.publisher().close_for(ChannelPreconditionFailed("fast reply consumer does not exist"))
    await asyncio.wait({world.running, *deliveries})
    await world.until(lambda: world.load.busy == 0)
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
    setting_up = asyncio.create_task(Session.run(world.process, silent))
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
    neighbour = world.deliver(2, "pod.1")
    retired.close_for(ChannelPreconditionFailed("unknown delivery tag"))
    await asyncio.wait({lost})
    await world.until(lambda: world.started == [1, 2])
    again = world.deliver(1, "pod.1")
    world.go.set()
    await asyncio.gather(neighbour, again)
    assert (world.started, world.running.done()) == ([1, 2, 1], False)
    assert [line for line in world.connection.told if line.startswith(("ack", "nack"))] == ["ack 2", "ack 3"]


async def test_after_a_stop_no_session_begins(world: World) -> None:
    await world.ready()
    world.stop.signalled("SIGTERM")
    await world.running
    other: Any = Connection(queues={"q"})
    await Session.run(world.process, other)
    assert other.channels == []
