"""A client and a broker as far as its frames go: each call has one end, whatever becomes of the connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from spoken_broker import Message, SpokenBroker, spoken_broker

from leveret.client.rpc import (
    CallError,
    Closed,
    ConnectionConfig,
    DeadlineExceeded,
    Disconnected,
    Published,
    QueueTaken,
    Refused,
    Reply,
    Rpc,
    Style,
)
from leveret.client.rpc.session import UNCONFIRMED
from leveret.events import CancelRequested, decode
from leveret.wire import time_of

pytestmark = pytest.mark.timeout(30)
SOON = 10.0  # s
JOB = UUID(int=7)
BOTH = pytest.mark.parametrize("style", [Style.DIRECT, Style.EXCLUSIVE])


@dataclass
class Echo:
    """Confirms each message, and answers it with its own body, as far as it's told to."""

    broker: SpokenBroker
    confirms: bool = True
    answers: bool = True
    took: list[tuple[int, Message]] = field(default_factory=list)
    delivered: int = 0
    confirmed: int = 0

    def take(self, channel: int, message: Message) -> None:
        self.took.append((channel, message))
        if self.confirms:
            self.confirm(channel)
        if self.answers:
            self.answer(message.properties.correlation_id, message.body)

    def confirm(self, channel: int) -> None:
        self.confirmed += 1
        self.broker.send(channel, spec.Basic.Ack(self.confirmed))

    def answer(self, correlation_id: str | None, body: bytes, outcome: str | None = "succeeded") -> None:
        self.delivered += 1
        headers = {"leveret-outcome": outcome} if outcome else None
        properties = spec.Basic.Properties(correlation_id=correlation_id, headers=headers)
        header = ContentHeader(body_size=len(body), properties=properties)
        tag = self.consumes().consumer_tag
        self.broker.send(1, spec.Basic.Deliver(tag, self.delivered, False, "", "q"), header, ContentBody(body))

    def consumes(self) -> spec.Basic.Consume:
        return next(frame for _, frame in reversed(self.broker.asked) if isinstance(frame, spec.Basic.Consume))

    def acks(self) -> int:
        return sum(isinstance(frame, spec.Basic.Ack) for _, frame in self.broker.asked)

    def hang_up(self) -> None:
        self.confirmed = 0
        self.broker.hang_up()

    async def took_some(self, count: int) -> None:
        await until(lambda: len(self.took) >= count)


async def until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not seen():  # noqa: ASYNC110 - it's another task's doing
            await asyncio.sleep(0.01)


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    async with spoken_broker() as broker:
        made = Echo(broker)
        broker.takes = made.take
        yield made


async def connect(echo: Echo, style: Style = Style.DIRECT, within: float | None = SOON) -> Rpc:
    broker = echo.broker.broker
    config = ConnectionConfig(host=broker.host, port=broker.port)
    return await Rpc.connect(config, style, "shop.replies" if style is Style.FIXED else "", within=within)


def calling(rpc: Rpc, count: int, timeout: float = SOON) -> "list[asyncio.Task[Reply]]":
    return [asyncio.create_task(rpc.call("leveret.echo", "echo", n, timeout)) for n in range(count)]


async def ends(calls: "list[asyncio.Task[Reply]]") -> list[object]:
    """What each call ended with: its result, or the type of its error and whether the job may run."""
    async with asyncio.timeout(SOON):
        done = await asyncio.gather(*calls, return_exceptions=True)
    return [
        one.result if isinstance(one, Reply) else (type(one), one.published) if isinstance(one, CallError) else one
        for one in done
    ]


@pytest.mark.parametrize("style", list(Style))
async def test_each_call_has_its_own_answer(echo: Echo, style: Style) -> None:
    async with await connect(echo, style) as rpc:
        assert await ends(calling(rpc, 200)) == list(range(200))
        assert (rpc.in_flight, rpc.orphans) == (0, 0)
        message = echo.took[0][1]
        assert (message.routing_key, message.properties.message_type) == ("leveret.echo", "echo")
        assert time_of((message.properties.headers or {})["leveret-deadline"])
        fixed = style is Style.FIXED
        assert (echo.consumes().no_ack, echo.consumes().exclusive) == (not fixed, fixed)
        await until(lambda: echo.acks() == 200 * fixed)


@BOTH
async def test_a_connection_that_goes_ends_what_was_sent_and_nothing_else(echo: Echo, style: Style) -> None:
    echo.answers = False
    async with await connect(echo, style) as rpc:
        confirmed = calling(rpc, 1)
        await echo.took_some(1)
        await until(lambda: next(iter(rpc._calls._waiting.values())).published is Published.CONFIRMED)
        echo.confirms = False
        unknown = calling(rpc, UNCONFIRMED)
        await echo.took_some(1 + UNCONFIRMED)
        waiting = calling(rpc, 10)
        await asyncio.sleep(0)
        echo.confirms = echo.answers = True
        echo.hang_up()
        assert await ends(confirmed) == [(Disconnected, Published.CONFIRMED)]
        assert await ends(unknown) == [(Disconnected, Published.UNKNOWN)] * UNCONFIRMED
        assert await ends(waiting) == list(range(10))


async def test_calls_with_a_fixed_queue_wait_on_and_are_not_sent_twice(echo: Echo) -> None:
    echo.answers = False
    async with await connect(echo, Style.FIXED) as rpc:
        calls = calling(rpc, 3)
        await echo.took_some(3)
        echo.hang_up()
        await until(lambda: not rpc.connected)
        await until(lambda: rpc.connected)
        for _, message in echo.took:
            echo.answer(message.properties.correlation_id, message.body)
        assert await ends(calls) == [0, 1, 2]
        assert len(echo.took) == 3


async def test_a_call_without_an_answer_ends_in_time_and_tells_what_is_known(echo: Echo) -> None:
    echo.answers = False
    async with await connect(echo) as rpc:
        assert await ends(calling(rpc, 1, 0.3)) == [(DeadlineExceeded, Published.CONFIRMED)]
        echo.confirms = False
        unknown = calling(rpc, UNCONFIRMED, 0.8)
        await echo.took_some(1 + UNCONFIRMED)
        assert await ends(calling(rpc, 5, 0.3)) == [(DeadlineExceeded, Published.NO)] * 5
        assert await ends(unknown) == [(DeadlineExceeded, Published.UNKNOWN)] * UNCONFIRMED
        assert len(echo.took) == 1 + UNCONFIRMED


async def test_a_call_that_is_cancelled_leaves_nothing_and_its_late_answer_is_an_orphan(echo: Echo) -> None:
    echo.answers = False
    async with await connect(echo) as rpc:
        (call,) = calling(rpc, 1)
        await echo.took_some(1)
        call.cancel()
        await asyncio.wait({call})
        assert rpc.in_flight == 0
        echo.answer(echo.took[0][1].properties.correlation_id, b"1")
        await until(lambda: rpc.orphans == 1)


async def given_up(rpc: Rpc, echo: Echo) -> Message:
    """Begin a call that cancels its job, and cancel it; return the job's message."""
    call = asyncio.create_task(rpc.call("leveret.echo", "echo", 1, cancel=True))
    taken = len(echo.took)
    await echo.took_some(taken + 1)
    call.cancel()
    await asyncio.wait({call})
    assert call.cancelled()
    return echo.took[taken][1]


async def test_a_call_that_is_given_up_cancels_its_job_if_that_was_asked_for(echo: Echo) -> None:
    echo.answers = False
    async with await connect(echo) as rpc:
        job = await given_up(rpc, echo)
        await echo.took_some(2)
        channel, cancel = echo.took[1]
        assert cancel.routing_key == "cancel.leveret.echo"
        _, said = decode(cancel.routing_key, cancel.body)
        assert isinstance(said, CancelRequested)
        assert (str(said.id), said.generation) == (job.properties.message_id, 1)
        assert channel != echo.took[0][0], "a user without the right loses that channel alone"
        echo.answers = True
        assert await ends(calling(rpc, 3)) == [0, 1, 2]
        await asyncio.gather(*calling(rpc, 1))
    assert [message.routing_key for _, message in echo.took].count("cancel.leveret.echo") == 1


async def test_one_that_ended_by_itself_or_was_not_sent_cancels_nothing(echo: Echo) -> None:
    async with await connect(echo) as rpc:
        await rpc.call("leveret.echo", "echo", 1, cancel=True)
        echo.broker.send(0, spec.Connection.Blocked("low on memory"))
        await until(lambda: rpc._session is not None and rpc._session.alarm.raised)
        waiting = asyncio.create_task(rpc.call("leveret.echo", "echo", 2, cancel=True))
        await until(lambda: rpc.in_flight == 1)
        waiting.cancel()
        await asyncio.wait({waiting})
    assert [message.routing_key for _, message in echo.took] == ["leveret.echo"]


async def test_a_cancel_goes_out_over_the_next_connection(echo: Echo) -> None:
    async with await connect(echo) as rpc:
        echo.hang_up()
        await until(lambda: not rpc.connected)
        await rpc.cancel("leveret.echo", JOB)
        assert [message.routing_key for _, message in echo.took] == ["cancel.leveret.echo"]


async def test_a_cancel_without_a_broker_ends_in_time_and_a_closed_client_takes_none() -> None:
    async with await Rpc.connect(ConnectionConfig(host="127.0.0.1", port=1), within=None) as rpc:
        with pytest.raises(DeadlineExceeded, match=f"cancel again. The broker has job {JOB}"):
            await rpc.cancel("leveret.echo", JOB, timeout=0.2)
    with pytest.raises(Closed):
        await rpc.cancel("leveret.echo", JOB)


@pytest.mark.parametrize("style", list(Style))
async def test_answers_of_nobodys_disturb_nobody(echo: Echo, style: Style) -> None:
    echo.answers = False
    async with await connect(echo, style) as rpc:
        (call,) = calling(rpc, 1)
        await echo.took_some(1)
        echo.answer("unknown", b"\xff")
        echo.answer(None, b"garbage", None)
        echo.answer("x" * 255, b"[" * 10_000, "dead")
        echo.answer(echo.took[0][1].properties.correlation_id, b"1")
        echo.answer(echo.took[0][1].properties.correlation_id, b"2")
        assert await ends([call]) == [1]
        await until(lambda: rpc.orphans == 4)


async def test_close_waits_for_answers_and_then_ends_what_has_none(echo: Echo) -> None:
    echo.answers = False
    rpc = await connect(echo)
    calls = calling(rpc, 2)
    await echo.took_some(2)
    closing = asyncio.create_task(rpc.close(within=0.3))
    echo.answer(echo.took[0][1].properties.correlation_id, b"0")
    assert await ends(calls) == [0, (Closed, Published.CONFIRMED)]
    await closing
    with pytest.raises(Closed):
        await rpc.call("leveret.echo", "echo", 1)
    await rpc.close()


@pytest.mark.parametrize(
    ("code", "text", "error", "says"),
    [
        pytest.param(403, "ACCESS_REFUSED - queue 'q' in exclusive use", QueueTaken, "another client", id="taken"),
        pytest.param(405, "RESOURCE_LOCKED - exclusive queue", QueueTaken, "another client", id="locked"),
        pytest.param(403, "ACCESS_REFUSED - read access refused", Refused, "refuses the fixed", id="no right"),
        pytest.param(406, "PRECONDITION_FAILED - inequivalent arg", Refused, "no reply queue of this kind", id="other"),
    ],
)
async def test_a_reply_queue_that_cannot_be_had(echo: Echo, code: int, text: str, error: type, says: str) -> None:
    echo.broker.answers[spec.Basic.Consume] = spec.Channel.Close(code, text, 60, 20)
    with pytest.raises(error, match=says):
        await connect(echo, Style.FIXED)
    rpc = await connect(echo, Style.FIXED, within=None)
    with pytest.raises(error, match=says):
        await rpc.call("leveret.echo", "echo", 1)
    await rpc.close()


async def test_a_fixed_queue_that_our_own_last_connection_still_holds_is_waited_for(echo: Echo) -> None:
    async with await connect(echo, Style.FIXED) as rpc:
        taken = spec.Channel.Close(403, "ACCESS_REFUSED - queue 'q' in exclusive use", 60, 20)
        echo.broker.answers[spec.Basic.Consume], consume_ok = taken, echo.broker.answers[spec.Basic.Consume]
        echo.hang_up()
        await until(lambda: not rpc.connected)
        assert await ends(calling(rpc, 1, 0.5)) == [(DeadlineExceeded, Published.NO)]
        echo.broker.answers[spec.Basic.Consume] = consume_ok
        assert await ends(calling(rpc, 1)) == [0]


async def test_a_deleted_reply_queue_is_made_again(echo: Echo) -> None:
    async with await connect(echo, Style.EXCLUSIVE) as rpc:
        echo.confirmed = 0
        echo.broker.send(1, spec.Basic.Cancel(echo.consumes().consumer_tag, True))
        await until(lambda: not rpc.connected)
        assert await ends(calling(rpc, 2)) == [0, 1]


async def test_what_the_broker_refuses_was_not_kept(echo: Echo) -> None:
    echo.confirms = echo.answers = False
    async with await connect(echo) as rpc:
        calls = calling(rpc, 1)
        await echo.took_some(1)
        echo.broker.send(1, spec.Basic.Nack(1))
        assert await ends(calls) == [(Refused, Published.NO)]


async def test_under_an_alarm_nothing_is_sent_until_it_is_over(echo: Echo) -> None:
    async with await connect(echo) as rpc:
        echo.broker.send(0, spec.Connection.Blocked("low on memory"))
        await until(lambda: rpc._session is not None and rpc._session.alarm.raised)
        with pytest.raises(DeadlineExceeded, match="short of memory or disk") as raised:
            await rpc.call("leveret.echo", "echo", 1, 0.1)
        assert (raised.value.published, echo.took) == (Published.NO, [])
        calls = calling(rpc, 3)
        echo.broker.send(0, spec.Connection.Unblocked())
        assert await ends(calls) == [0, 1, 2]


async def test_without_a_broker_connecting_ends_in_time_and_says_why() -> None:
    config = ConnectionConfig(host="127.0.0.1", port=1, password="hush")
    with pytest.raises(
        Disconnected, match=r"no connection to the broker after 0\.3 s: .*Connect call failed"
    ) as raised:
        await Rpc.connect(config, within=0.3)
    assert "hush" not in str(raised.value)
    async with await Rpc.connect(config, within=None) as rpc:
        assert await ends(calling(rpc, 2, 0.3)) == [(DeadlineExceeded, Published.NO)] * 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("", "echo", 1), "the queue must be a text of 1", id="no queue"),
        pytest.param(("q" * 256, "echo", 1), "the queue must be a text of 1", id="a long queue"),
        pytest.param(("\ud800", "echo", 1), "half a surrogate", id="half a surrogate"),
        pytest.param((None, "echo", 1), "the queue must be a text", id="no text"),
        pytest.param(("q", "", 1), "the job's type must be", id="no type"),
        pytest.param(("q", "echo", float("nan")), "can't be written as JSON", id="NaN"),
        pytest.param(("q", "echo", object()), "can't be written as JSON", id="an object"),
        pytest.param(("q", "echo", "\ud800"), "can't be written as JSON", id="half a surrogate in the payload"),
        pytest.param(("q", "echo", "x" * 262_144), "at most 262,144", id="too large"),
        pytest.param(("q", "echo", 1, 0), "the timeout is 0", id="no time"),
        pytest.param(("q", "echo", 1, float("nan")), "the timeout is nan", id="a time that is none"),
        pytest.param(("q", "echo", 1, float("inf")), "the timeout is inf", id="for ever"),
        pytest.param(("q", "echo", 1, "1"), "the timeout is '1'", id="a text as time"),
    ],
)
async def test_what_cannot_be_sent_is_said_before(echo: Echo, arguments: tuple[object, ...], says: str) -> None:
    async with await connect(echo) as rpc:
        with pytest.raises(ValueError, match=says):
            await rpc.call(*arguments)  # type: ignore[arg-type]
        assert rpc.in_flight == 0


@pytest.mark.parametrize(
    ("style", "queue"),
    [
        pytest.param("direct", "q", id="a queue for direct replies"),
        pytest.param("fixed", "", id="a fixed queue without a name"),
        pytest.param("fixed", "leveret.events", id="a queue of Leveret's"),
        pytest.param("fixed", "shop.dead", id="dead letters"),
        pytest.param("exclusive", "q" * 220, id="no room for the rest of the name"),
        pytest.param("other", "", id="another style"),
    ],
)
async def test_places_that_cannot_be(style: str, queue: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says its own
        await Rpc.connect(ConnectionConfig(), style, queue)
