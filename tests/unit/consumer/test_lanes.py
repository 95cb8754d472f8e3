"""Both lanes say and hear the same, on a broker that is played: what is written, in which order, and what a lost one leads to.

What a real broker has to do with it is in the integration tests of the same name.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pamqp.frame
import pytest
from aiormq import spec
from aiormq.abc import ChannelFrame
from aiormq.connection import FrameReceiver
from lanes import NAMES, Subscribed, in_lane
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from spoken_broker import SpokenBroker, spoken_broker

from leveret.rabbitmq import read_frames
from leveret.rabbitmq.connection import open_connection
from leveret_consumer.acks import LOST
from leveret_consumer.lane import Lane, Own

HEARTBEAT = 1  # s
MORE = 24 * 1024 * 1024  # bytes: more than the sockets of both sides hold


@pytest.fixture(params=NAMES)
def lane(request: pytest.FixtureRequest) -> Iterator[Lane]:
    yield from in_lane(request.param)


@pytest.fixture
async def broker() -> AsyncIterator[SpokenBroker]:
    async with spoken_broker() as made:
        yield made


@pytest.fixture
async def one(broker: SpokenBroker, lane: Lane) -> AsyncIterator[Subscribed]:
    async with await open_connection(broker.broker, "test", heartbeat=HEARTBEAT) as connection:
        yield await Subscribed(connection, lane).open("q")


def octets(one: Subscribed, first: int, *bodies: bytes, again: bool = False) -> bytes:
    """Messages as they go over the line, each body in frames of at most 4 bytes."""
    frames: list[spec.Basic.Deliver | ContentHeader | ContentBody] = []
    for number, body in enumerate(bodies, first):
        properties = spec.Basic.Properties(message_id=str(number), headers={"n": number}, priority=3)
        frames += [
            spec.Basic.Deliver("tag", number, again, "leveret.jobs", "q"),
            ContentHeader(0, len(body), properties),
        ]
        frames += [ContentBody(body[at : at + 4]) for at in range(0, len(body), 4)]
    return b"".join(pamqp.frame.marshal(frame, one.channel.number) for frame in frames)


def send(broker: SpokenBroker, raw: bytes) -> None:
    assert broker._writer
    broker._writer.write(raw)


def written(broker: SpokenBroker) -> list[str]:
    found = []
    for _, frame in broker.asked:
        match frame:
            case spec.Basic.Ack():
                found.append(f"ack {'to ' if frame.multiple else ''}{frame.delivery_tag}")
            case spec.Basic.Nack():
                found.append(f"{'nack' if frame.requeue else 'reject'} {frame.delivery_tag}")
            case spec.Channel.CloseOk():
                found.append("close-ok")
    return found


def test_a_process_reads_as_its_lane_wants_it(lane: Lane) -> None:
    read_frames.read_quickly()  # as each connection asks for, a handler's own too
    quickly = FrameReceiver.get_frame is read_frames._next_frame
    assert quickly == isinstance(lane, Own)


@pytest.mark.parametrize("size", [1, 3, 7, 19, 10_000])
async def test_what_comes_is_whole_and_in_order_however_it_is_cut(
    broker: SpokenBroker, one: Subscribed, size: int
) -> None:
    bodies = [b"{}", b"", b"x" * 13, b"last"]
    raw = octets(one, 1, *bodies, again=True)
    for at in range(0, len(raw), size):
        send(broker, raw[at : at + size])
        await asyncio.sleep(0)
    came = await one.has(4)
    assert [message.body for message in came] == bodies
    assert [(message.delivery_tag, message.message_id, message.headers) for message in came] == [
        (number, str(number), {"n": number}) for number in (1, 2, 3, 4)
    ]
    assert {(message.consumer_tag, message.redelivered, message.priority) for message in came} == {("tag", True, 3)}


async def test_acks_are_written_in_order_a_multiple_one_first(broker: SpokenBroker, one: Subscribed) -> None:
    send(broker, octets(one, 1, *[b"{}"] * 8))
    came = await one.has(8)
    await one.acknowledge(came[6], came[1], came[4], came[0])
    await came[2].nack()
    await came[3].nack(requeue=False)
    await one.acknowledge(came[5], came[7])
    wanted = ["ack to 2", "ack 5", "ack 7", "nack 3", "reject 4", "ack to 8"]
    await one.until(lambda: len(written(broker)) == len(wanted))
    assert written(broker) == wanted
    assert {channel for channel, frame in broker.asked if isinstance(frame, spec.Basic.Ack)} == {one.channel.number}
    assert (one.told, one.subscription.has_room) == ([None] * 6, True)


async def test_a_tag_may_be_as_large_as_amqp_has_them(broker: SpokenBroker, one: Subscribed) -> None:
    await one.lane.acknowledge(one.channel, [(2**63 - 1, True), (1, False)])
    await one.until(lambda: len(written(broker)) == 2)
    assert written(broker) == [f"ack to {2**63 - 1}", "ack 1"]


async def test_on_a_channel_that_the_broker_closes_acks_are_lost_and_none_is_written(
    broker: SpokenBroker, one: Subscribed
) -> None:
    send(broker, octets(one, 1, b"{}", b"{}", b"{}"))
    came = await one.has(3)
    came[0].ack_soon(one.told.append)
    broker.send(one.channel.number, spec.Channel.Close(406, "PRECONDITION_FAILED", 60, 80))
    await one.until(lambda: bool(one.lost))
    with pytest.raises(LOST):
        await came[1].ack()
    with pytest.raises(LOST):
        await came[2].nack()
    assert (one.lost, came[1].is_lost) == (["tag"], True)
    async with one.connection.channel() as channel:  # the connection goes on
        await channel.declare_queue("q", passive=True)
    assert written(broker)[-1] == "close-ok", "the broker closes the connection of whoever writes after it"


async def test_a_consumer_that_the_broker_cancels_is_gone_and_its_acks_go_on(
    broker: SpokenBroker, one: Subscribed
) -> None:
    send(broker, octets(one, 1, b"{}"))
    (message,) = await one.has(1)
    broker.send(one.channel.number, spec.Basic.Cancel("tag", True))
    async with asyncio.timeout(60):
        await one.subscription.gone.wait()
    assert one.lost == []
    await message.ack()
    await one.until(lambda: written(broker) == ["ack to 1"])


# how many bytes of the message that comes last there are when the connection ends
CUTS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("between two messages", lambda raw: b""),
    ("in a head", lambda raw: raw[:3]),
    ("in a frame", lambda raw: raw[:20]),
    ("before the last octet", lambda raw: raw[:-1]),
]


@pytest.mark.parametrize("part", [cut for _, cut in CUTS], ids=[name for name, _ in CUTS])
async def test_what_is_cut_off_never_comes_and_whoever_waits_is_told_that_it_is_lost(
    broker: SpokenBroker, one: Subscribed, part: Callable[[bytes], bytes]
) -> None:
    send(broker, octets(one, 1, b"{}") + part(octets(one, 2, b"cut")))
    (message,) = await one.has(1)
    broker.hang_up()
    await one.until(lambda: bool(one.lost))
    with pytest.raises(LOST):
        await message.ack()
    assert len(one.came) == 1


async def test_a_connection_that_is_blocked_writes_acks_and_heartbeats(broker: SpokenBroker, one: Subscribed) -> None:
    send(broker, octets(one, 1, b"{}", b"{}", b"{}"))
    came = await one.has(3)
    broker.send(0, spec.Connection.Blocked("low on memory"))
    await asyncio.sleep(0.05)
    await one.acknowledge(came[0], came[2])
    await one.until(lambda: written(broker) == ["ack to 1", "ack 3"])
    broker.send(0, spec.Connection.Unblocked())
    await came[1].ack()
    await one.until(lambda: written(broker)[-1] == "ack to 2")


@pytest.mark.parametrize("hangs_up", [False, True], ids=["reads again", "hangs up"])
async def test_acks_that_the_kernel_does_not_take_are_waited_for(
    broker: SpokenBroker, one: Subscribed, hangs_up: bool
) -> None:
    send(broker, octets(one, 1, b"{}", b"{}", b"{}"))
    came = await one.has(3)
    broker.reads.clear()
    more = pamqp.frame.marshal(ContentBody(b"x" * MORE), one.channel.number)
    await one.channel.write_queue.put(ChannelFrame(more, should_close=False))
    acknowledging = asyncio.gather(came[0].ack(), came[2].ack(), return_exceptions=True)
    await asyncio.wait({acknowledging}, timeout=0.2)
    assert not acknowledging.done()
    if hangs_up:
        broker.hang_up()
        assert all(isinstance(problem, LOST) for problem in await acknowledging)
    else:
        broker.reads.set()
        assert list(await acknowledging) == [None, None]
        await one.until(lambda: written(broker) == ["ack to 1", "ack 3"])
