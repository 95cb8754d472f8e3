"""Replies to addresses that hang, are silent, full or slow: what they cost whoever sends them, and the others.

There was one channel for copies, events and replies, and each reply was waited for: 10 slots of 1 s jobs did one job a second
while a reply queue did not confirm, and none while one hung.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aiormq.exceptions import ChannelPreconditionFailed, ConnectionClosed, DeliveryError
from moved_clock import with_moved_clock

from leveret.rabbitmq import failed_addresses
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.failed_addresses import FailedAddresses
from leveret.rabbitmq.publisher import NotConfirmed
from leveret.rabbitmq.replies import BRIEFLY, LANES, Replies
from leveret.rabbitmq.reply_drops import Dropped
from leveret.rabbitmq.reply_lane import AT_ONCE
from leveret.rabbitmq.reply_room import MOST

MESSAGE = aio_pika.Message(b"1")
BLOCKS = 65.0  # s for which the broker answers nothing on a channel for one message to a hung queue, as measured


class Broker:
    """Does with a reply what its address says."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.arrived: Counter[str] = Counter()
        self.hangs = True
        self.takes_each = 0.0  # s, one after the other on each channel
        self.goes = asyncio.Event()
        self.goes.set()

    async def open(self) -> "Channel":
        self.channels.append(Channel(self))
        return self.channels[-1]


class Channel:
    is_closed = False

    def __init__(self, broker: Broker) -> None:
        self._broker, self._turn = broker, asyncio.Lock()
        self.unanswered = self.most = 0

    async def publish(
        self, exchange: str, routing_key: str, message: aio_pika.Message, timeout: float, *, mandatory: bool = True
    ) -> None:
        assert (exchange, mandatory) == ("", False), "a client that is gone is no error"
        self.unanswered += 1
        self.most = max(self.most, self.unanswered)
        try:
            await self._broker.goes.wait()
            async with self._turn:
                await asyncio.sleep(self._broker.takes_each)
                if routing_key.startswith("hung") and self._broker.hangs:
                    await asyncio.sleep(BLOCKS)
                    raise NotConfirmed("hung")
            match routing_key.partition(" ")[0]:
                case "full":
                    raise NotConfirmed("full")
                case "silent" if self._broker.hangs:
                    await asyncio.sleep(3_600)
                case "slow":
                    await asyncio.sleep(0.3)
            await asyncio.sleep(0.002)
            self._broker.arrived[routing_key] += 1
        finally:
            self.unanswered -= 1


class Scene:
    def __init__(self, places: int = 1) -> None:
        self.broker, self.dropped = Broker(), Counter[str]()
        self.replies = Replies(self.broker.open, self._drop, places=lambda: places)

    def _drop(self, reason: Dropped, queue: str) -> None:
        self.dropped[str(reason)] += 1

    async def send(self, address: str) -> tuple[bool, float]:
        """Return what it says, and after how many seconds."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        confirmed = await self.replies.send(address, MESSAGE, job="1")
        return confirmed, loop.time() - before


def story(tell: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def told() -> None:
        with_moved_clock(tell())

    return told


ADDRESSES = [
    pytest.param(["hung"], id="a hung one"),
    pytest.param(["silent"], id="one that confirms nothing"),
    pytest.param(["full"], id="a full one"),
    pytest.param(["slow"], id="a slow one"),
    pytest.param(["good"], id="a good one"),
    pytest.param(["hung", "good", "full", "good"], id="some of each"),
    pytest.param([f"hung {n}" for n in range(1_000)], id="a hung one for each job"),
    pytest.param([f"silent {n}" for n in range(1_000)], id="a silent one for each job"),
    pytest.param([f"full {n}" for n in range(1_000)], id="a full one for each job"),
]


@pytest.mark.parametrize("seconds", [10, 60])
@pytest.mark.parametrize("addresses", ADDRESSES)
def test_ten_slots_of_jobs_of_a_second_keep_nine_tenths_of_their_throughput(addresses: list[str], seconds: int) -> None:
    async def run() -> int:
        scene, held, slots, ended = Scene(), asyncio.Semaphore(10), asyncio.Semaphore(10), 0

        async def job(address: str) -> None:
            nonlocal ended
            async with slots:
                await asyncio.sleep(1)
            await scene.send(address)
            ended += 1
            held.release()

        jobs = set()
        try:
            async with asyncio.timeout(seconds + BRIEFLY):
                for address in itertools.cycle(addresses):
                    await held.acquire()
                    jobs.add(asyncio.create_task(job(address)))
        except TimeoutError:
            assert len(scene.broker.channels) <= LANES
            return ended
        raise AssertionError

    most = 10 * seconds
    # Those that run as it ends are not counted; for a second at its start the addresses are found out about.
    assert with_moved_clock(run()) >= 0.9 * most - 10


@story
async def test_who_waits_waits_ten_seconds_for_an_address_and_one_after_it_has_failed() -> None:
    scene = Scene()
    assert await scene.send("silent") == (False, pytest.approx(10, abs=0.2))
    assert await scene.send("silent") == (False, pytest.approx(1, abs=0.01))
    assert await scene.send("silent") == (False, 0), "what was sent before has no answer yet"
    assert await scene.send("good") == (True, pytest.approx(0.002))
    assert scene.dropped == {"unconfirmed": 2, "crowded": 1}


@story
async def test_an_address_that_confirms_late_is_as_good_as_any() -> None:
    scene = Scene()
    assert await scene.send("slow") == (True, pytest.approx(0.302))
    assert not scene.dropped


@story
async def test_an_address_that_failed_is_tried_again_and_good_once_it_takes_a_reply() -> None:
    scene = Scene()
    await scene.send("hung")
    scene.broker.hangs = False
    await asyncio.sleep(2 * BLOCKS)
    assert await scene.send("hung") == (True, pytest.approx(0.002))
    assert await scene.send("hung") == (True, pytest.approx(0.002))
    assert scene.broker.arrived == {"hung": 2}


@story
async def test_what_hangs_keeps_nobody_else_from_an_answer() -> None:
    scene = Scene()
    hung = asyncio.create_task(scene.send("hung"))
    await asyncio.sleep(2)
    assert await asyncio.gather(*(scene.send(f"good {n}") for n in range(100))) == [(True, pytest.approx(0.002))] * 100
    assert not hung.done()


@story
async def test_what_was_sent_behind_one_that_hangs_is_sent_again_on_another_channel() -> None:
    scene = Scene(places=0)
    await asyncio.gather(*(scene.send("hung") for _ in range(50)), *(scene.send(f"good {n}") for n in range(50)))
    await asyncio.sleep(2)
    assert scene.broker.arrived == {f"good {n}": 1 for n in range(50)}


@story
async def test_two_hundred_that_hang_leave_room_for_others() -> None:
    scene = Scene(places=0)
    await asyncio.gather(*(scene.send("hung") for _ in range(90)))
    for _ in range(110):
        await scene.send("hung")
    await asyncio.gather(*(scene.send("good") for _ in range(10)))
    await asyncio.sleep(2)
    assert scene.broker.arrived == {"good": 10}


@story
async def test_one_that_finds_no_place_is_left_to_itself_and_arrives() -> None:
    scene = Scene(places=0)
    answers = await asyncio.gather(*(scene.send("slow") for _ in range(100)))
    assert answers == [(False, pytest.approx(BRIEFLY))] * 100
    await asyncio.sleep(10)
    assert (scene.broker.arrived["slow"], scene.dropped) == (100, {})


@story
async def test_a_thousand_that_end_together_are_all_answered() -> None:
    scene = Scene()
    answers = await asyncio.gather(*(scene.send("good") for _ in range(1_000)))
    assert all(confirmed for confirmed, _ in answers)
    assert (scene.broker.arrived["good"], len(scene.broker.channels)) == (1_000, 1)


@pytest.mark.parametrize("places", [0, 1, 100])
def test_a_busy_broker_that_answers_has_every_reply_of_one_client(places: int) -> None:
    """4.5 % of those of a client with 100 calls in flight were dropped: more than 50 waited for a broker without a fault."""

    async def run() -> None:
        scene = Scene(places)
        for _ in range(20):
            await asyncio.gather(*(scene.send("slow") for _ in range(300)))
        await asyncio.sleep(1)
        assert (scene.broker.arrived["slow"], scene.dropped) == (6_000, {})

    with_moved_clock(run())


CALLERS = [
    pytest.param(lambda _: "good", id="one caller"),
    pytest.param(lambda n: f"good {n % 20}", id="some callers"),
    pytest.param(lambda n: f"good {n}", id="a caller for each call"),
]


@pytest.mark.parametrize("address", CALLERS)
@pytest.mark.parametrize(("calls", "answers_each"), [(1_000, 0.003), (400, 0.03), (200, 0.3)])
@pytest.mark.parametrize("places", [0, 40])
def test_a_burst_has_every_reply_once_however_slowly_the_broker_takes_them(
    places: int, calls: int, answers_each: float, address: Callable[[int], str]
) -> None:
    """Of 5,000 calls at once a quarter was lost: a reply that waited its turn for a second counted as one that hangs."""

    async def run() -> None:
        broker, dropped, confirmed = Broker(), Counter[str](), itertools.count()
        broker.takes_each = answers_each
        replies = Replies(
            broker.open,
            lambda reason, _: dropped.update([reason]),
            places=lambda: places,
            others=lambda: next(confirmed),  # events, all the time
        )
        held = asyncio.Semaphore(400)

        async def job(n: int) -> None:
            async with held:
                await replies.send(address(n), MESSAGE, job=str(n))

        await asyncio.gather(*(job(n) for n in range(calls)))
        await replies.finish(1_000)
        assert (broker.arrived, dropped) == (Counter(address(n) for n in range(calls)), {})

    with_moved_clock(run())


@pytest.mark.parametrize("places", [0, 1, 100])
def test_a_broker_that_stands_still_for_all_alike_has_every_reply_of_one_client_later(places: int) -> None:
    """A machine without time to spare: replies were sent again on other channels, counted twice, and dropped."""

    async def run() -> None:
        broker, dropped, confirmed = Broker(), Counter[str](), 0
        replies = Replies(
            broker.open, lambda reason, _: dropped.update([reason]), places=lambda: places, others=lambda: confirmed
        )
        for _ in range(3):
            broker.goes.clear()
            sending = [asyncio.create_task(replies.send("good", MESSAGE, job="1")) for _ in range(120)]
            for _ in range(8):
                await asyncio.sleep(1)
                confirmed += 1  # now and then, something
            broker.goes.set()
            await asyncio.gather(*sending)
            await asyncio.sleep(1)
        assert (broker.arrived["good"], dropped) == (360, {})

    with_moved_clock(run())


@pytest.mark.parametrize("stands", ["channels that are opened", "replies"])
@pytest.mark.parametrize("places", [0, 1, 100])
def test_a_broker_that_confirms_all_but_replies_for_some_seconds_has_each_once_later(places: int, stands: str) -> None:
    """A busy machine again: after a second the address had failed, and what was sent to it then was dropped."""

    async def run() -> None:
        broker, dropped, confirmed = Broker(), Counter[str](), 0

        async def opens() -> Channel:
            if stands == "channels that are opened":
                await broker.goes.wait()
            return await broker.open()

        replies = Replies(
            opens, lambda reason, _: dropped.update([reason]), places=lambda: places, others=lambda: confirmed
        )
        for _ in range(3):
            broker.goes.clear()
            sending = [asyncio.create_task(replies.send("good", MESSAGE, job="1")) for _ in range(60)]
            for n in range(60):
                await asyncio.sleep(0.1)
                confirmed += 1
                if n == 20:
                    sending += [asyncio.create_task(replies.send("good", MESSAGE, job="1")) for _ in range(60)]
            broker.goes.set()
            await asyncio.gather(*sending)
            await asyncio.sleep(1)
        assert (broker.arrived["good"], dropped) == (360, {})

    with_moved_clock(run())


@pytest.mark.parametrize("places", [0, 100])
def test_what_is_in_memory_and_at_the_broker_is_bounded(places: int) -> None:
    """The broker stops reading a connection once some 400 messages wait on one of its channels."""

    async def run() -> None:
        scene = Scene(places)
        for n in range(5_000):
            sending = asyncio.create_task(scene.send("silent" if n % 2 else f"hung {n}"))
            sending.add_done_callback(lambda _: None)
            await asyncio.sleep(0.01)
            brief = round(BRIEFLY / 0.01) + 1
            assert len(scene.replies._sending) <= LANES * AT_ONCE + MOST + brief
            assert len(scene.replies._given_up) <= LANES * AT_ONCE
        assert max(channel.most for channel in scene.broker.channels) <= AT_ONCE
        assert scene.dropped["crowded"] > 3_000

    with_moved_clock(run())


@story
async def test_an_alarm_is_not_counted() -> None:
    alarm = asyncio.Event()

    @asynccontextmanager
    async def patience(_: float) -> AsyncIterator[None]:
        await alarm.wait()  # as long as one is raised
        yield

    broker, dropped = Broker(), Counter[str]()
    replies = Replies(broker.open, lambda reason, _: dropped.update([reason]), places=lambda: 1, patience=patience)
    sending = asyncio.create_task(replies.send("silent", MESSAGE, job="1"))
    await asyncio.sleep(600)
    assert not sending.done()
    assert not dropped


@story
async def test_a_channel_that_is_closed_for_one_reply_is_opened_anew() -> None:
    scene = Scene()
    await scene.send("good")
    scene.broker.channels[0].is_closed = True  # type: ignore[misc]
    assert (await scene.send("good"))[0]
    assert len(scene.broker.channels) == 2


NAMES = [
    pytest.param("leveret.events", "not_allowed", id="a queue of Leveret's own"),
    pytest.param("full", "refused", id="full"),
]


@pytest.mark.parametrize(("address", "reason"), NAMES)
def test_each_is_counted_once_with_its_reason(address: str, reason: str) -> None:
    async def run() -> None:
        scene = Scene()
        for _ in range(3):
            assert not (await scene.send(address))[0]
        assert scene.dropped == {reason: 3}

    with_moved_clock(run())


@story
async def test_what_is_under_way_at_a_stop_is_waited_for_and_what_does_not_arrive_is_counted() -> None:
    """The connection was closed at once: what had been left to arrive was lost, and nobody counted it."""
    scene = Scene(places=0)
    sending = [asyncio.create_task(scene.send(address)) for address in ("slow", "silent", "slow", "good")]
    await asyncio.sleep(2 * BRIEFLY)
    assert all(one.done() for one in sending)
    before = asyncio.get_running_loop().time()
    await scene.replies.finish(3.0)
    assert asyncio.get_running_loop().time() - before <= 3.0
    assert scene.broker.arrived == {"slow": 2, "good": 1}
    assert scene.dropped == {"unconnected": 1}
    assert not scene.replies._sending
    assert not scene.replies._watches


@story
async def test_a_stop_waits_for_nothing_that_is_given_up() -> None:
    scene = Scene(places=0)
    await scene.send("silent")
    await asyncio.sleep(60)
    before = asyncio.get_running_loop().time()
    await scene.replies.finish(3.0)
    assert asyncio.get_running_loop().time() == before
    assert scene.dropped == {"unconfirmed": 1}


def _not_confirmed(cause: Exception) -> NotConfirmed:
    problem = NotConfirmed("no")
    problem.__cause__ = cause
    return problem


def _no_channel(cause: Exception) -> ConnectionResetError:
    problem = ConnectionResetError(str(cause))
    problem.__cause__ = cause
    return problem


WHYS = [
    pytest.param(_not_confirmed(DeliveryError(None, None)), "refused", id="the queue is full"),  # type: ignore[arg-type]
    pytest.param(_not_confirmed(ChannelPreconditionFailed("no")), "refused", id="the broker takes it from nobody"),
    pytest.param(ValueError("too long"), "refused", id="a name that can't be written"),
    pytest.param(_not_confirmed(ConnectionClosed(320, "forced")), "unconnected", id="the broker closed the connection"),
    pytest.param(ConnectionResetError("gone"), "unconnected", id="there is no connection"),
    pytest.param(
        _no_channel(RuntimeError("not opened")), "unconnected", id="no channel is opened on a connection that is gone"
    ),
    pytest.param(asyncio.CancelledError(), "unconnected", id="the library cancels calls whose connection is gone"),
    pytest.param(BrokerGone("no confirm for 3600 s"), "unconfirmed", id="nothing for an hour"),
]


@pytest.mark.parametrize(("problem", "reason"), WHYS)
def test_why_it_was_dropped_is_told_as_it_is(problem: BaseException, reason: str) -> None:
    """A lost connection counted as a queue that refuses, and its addresses as failed ones."""

    async def run() -> None:
        scene = Scene()

        class Fails(Channel):
            async def publish(self, *_: object, **__: object) -> None:
                raise problem

        for lane in scene.replies._lanes:
            lane._channel = Fails(scene.broker)
        assert not (await scene.send("any"))[0]
        assert scene.dropped == {reason: 1}
        assert ("any" in scene.replies._failed) == (reason != "unconnected")

    with_moved_clock(run())


def test_addresses_that_failed_are_few_and_forgotten() -> None:
    now = 0.0
    failed = FailedAddresses(lambda: now)
    for n in range(5_000):
        failed.note(str(n))
    assert (len(failed), "4999" in failed, "0" in failed) == (failed_addresses.MOST, True, False)
    failed.forget("4999")
    assert "4999" not in failed
    now = failed_addresses.REMEMBERED_FOR
    assert "4998" not in failed
