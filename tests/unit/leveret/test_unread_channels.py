"""What comes for a channel that nobody reads: the connection, and all that runs over it, goes on.

Its one reader waited for ever for such a channel, and nothing told: 185 jobs stood after an alarm.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq import spec
from spoken_broker import CHANNELS, SpokenBroker, spoken_broker

from leveret import topology
from leveret.rabbitmq.connection import open_connection, stay_connected
from leveret.rabbitmq.declare import declare

HEARTBEAT = 1  # s; the client library asked for a close again after so long
MORE = 20  # messages; ten frames filled a channel, and each is three


@pytest.fixture
async def broker() -> AsyncIterator[SpokenBroker]:
    async with spoken_broker() as made:
        yield made


@pytest.fixture
async def connection(broker: SpokenBroker) -> AsyncIterator[AbstractConnection]:
    async with await open_connection(broker.broker, "test", heartbeat=HEARTBEAT) as made:
        yield made


async def _asked(broker: SpokenBroker, what: type) -> None:
    async with asyncio.timeout(60):
        while not any(isinstance(frame, what) for _, frame in broker.asked):  # noqa: ASYNC110 - a socket tells nobody
            await asyncio.sleep(0.01)


async def _goes_on(connection: AbstractConnection) -> None:
    async with asyncio.timeout(60), connection.channel() as channel:
        await channel.declare_queue("q", passive=True)


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait({task}, timeout=30)
    assert task.done()


async def _closing(channel: AbstractChannel) -> None:
    await channel.close()


async def _declaring(channel: AbstractChannel) -> None:
    async with channel:
        await declare(channel, topology.shared())


async def _asking(channel: AbstractChannel) -> None:
    async with channel:
        await channel.declare_queue("q")


@pytest.mark.parametrize("work", [_closing, _declaring, _asking])
async def test_whoever_gives_up_on_a_broker_that_does_not_read_leaves_nothing_in_the_way(
    broker: SpokenBroker, connection: AbstractConnection, work: Any
) -> None:
    channel = await connection.channel()
    number = (await channel.get_underlay_channel()).number
    broker.reads.clear()
    await _cancelled(asyncio.create_task(work(channel)))
    broker.deliver(number, MORE)
    broker.reads.set()
    await _goes_on(connection)
    assert broker.closes().count(number) <= 2, "once for each of the channels of that number"
    assert broker.closes()[0] == number


async def test_a_close_is_asked_for_once_however_long_its_answer_takes(
    broker: SpokenBroker, connection: AbstractConnection
) -> None:
    channel = await connection.channel()
    broker.reads.clear()
    closing = asyncio.create_task(channel.close())
    await asyncio.sleep(1.3 * HEARTBEAT)
    assert not closing.done()
    broker.reads.set()
    await closing
    await _goes_on(connection)
    assert broker.closes() == [1, 1], "one of each"


async def test_what_the_broker_sends_a_channel_that_it_has_closed_is_dropped(
    broker: SpokenBroker, connection: AbstractConnection
) -> None:
    channel = await connection.channel()
    broker.deliver(1, MORE)
    broker.send(1, spec.Channel.Close(404, "gone", 0, 0))
    broker.deliver(1, MORE)
    await _asked(broker, spec.Channel.CloseOk)
    await _goes_on(connection)
    assert channel.is_closed


async def test_the_brokers_close_is_answered_though_much_waits_to_be_written(
    broker: SpokenBroker, connection: AbstractConnection
) -> None:
    """It was not where ten frames waited; the broker ignores what is said on that channel until it is."""
    await connection.channel()
    other = await connection.channel(publisher_confirms=False)
    underlay: Any = await other.get_underlay_channel()
    broker.reads.clear()
    writing = [asyncio.create_task(underlay.basic_publish(b"x" * 4_000_000, routing_key="q")) for _ in range(3)]
    writing += [asyncio.create_task(underlay.basic_ack(tag, wait=False)) for tag in range(30)]
    await asyncio.sleep(0.1)
    assert underlay.write_queue.full()
    broker.send(1, spec.Channel.Close(404, "gone", 0, 0))
    await asyncio.sleep(0.1)
    broker.reads.set()
    await _asked(broker, spec.Channel.CloseOk)
    await asyncio.gather(*writing)


async def test_a_channel_whose_reader_fails_is_closed_and_the_others_go_on(
    broker: SpokenBroker, connection: AbstractConnection
) -> None:
    channel = await connection.channel()
    broker.send(1, spec.Basic.Deliver("tag", 1, False, "", "q"), spec.Basic.Deliver("tag", 2, False, "", "q"))
    await _asked(broker, spec.Channel.Close)
    await _goes_on(connection)
    assert channel.is_closed


async def test_channels_have_the_lowest_free_number_and_none_that_the_broker_does_not_allow(
    connection: AbstractConnection,
) -> None:
    """The library took the number after the highest one, though lower ones were free."""
    opened = [await connection.channel() for _ in range(CHANNELS)]
    await opened[2].close()
    again = await connection.channel()
    assert (await again.get_underlay_channel()).number == 3


class _Stands:
    """A channel's frames that nobody reads, as the library has them."""

    async def put(self, frame: object) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("hangs_up", [False, True], ids=["the broker sends its heartbeats", "the broker has gone"])
async def test_a_connection_that_is_not_read_any_more_is_given_up_and_the_next_one_works(
    broker: SpokenBroker, hangs_up: bool
) -> None:
    """Whatever it is that the reader waits for."""
    worked: list[AbstractConnection] = []

    async def work(connection: AbstractConnection) -> None:
        worked.append(connection)
        channel = await connection.channel()
        if len(worked) == 1:
            underlay: Any = await channel.get_underlay_channel()
            underlay.frames = _Stands()
            broker.deliver(1, 1)
            if hangs_up:
                broker.hang_up()
            await asyncio.Event().wait()

    async with asyncio.timeout(15):
        await stay_connected(lambda: broker.broker, "test", work, opens=partial(open_connection, heartbeat=HEARTBEAT))
    assert len(worked) == 2
