"""Sessions without a broker: how they end, and that whoever is cancelled ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from moved_clock import move_clock, turns

from leveret.rabbitmq.connection import BrokerGone, stay_connected
from leveret.settings import BadSetting, Broker

BROKER = Broker("h", 1, "u", "p", "/")


class Connection:
    """As aio_pika tells of the broker's end of it: by a callback."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.connected.set()
        self.close_callbacks: set[Callable[[object, object], None]] = set()

    def closes(self) -> None:
        self.connected.clear()
        for callback in self.close_callbacks:
            callback(self, None)

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closes()


class World:
    """A broker that takes every connection, and a listener."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.said: list[str] = []
        self.read: Callable[[], Broker] = lambda: BROKER

    def connected(self) -> None:
        self.said.append("connected")

    def disconnected(self, because: str) -> None:
        self.said.append(because)

    async def opens(self, broker: Broker, name: str) -> Any:
        self.connections.append(Connection())
        return self.connections[-1]

    def runs(self, work: Callable[[Any], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(stay_connected(lambda: self.read(), "test", work, self, opens=self.opens))

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not seen():  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.01)


@pytest.fixture
async def world() -> World:
    return World()


async def ends(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task}, timeout=20)
    assert task.done()


async def test_a_cancel_while_a_session_ends_is_heard(world: World) -> None:
    cleans_up, cleaned_up = asyncio.Event(), asyncio.Event()

    async def work(connection: Connection) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleans_up.set()
            await cleaned_up.wait()

    task = world.runs(work)
    await world.until(lambda: bool(world.connections))
    world.connections[0].closes()
    await cleans_up.wait()
    task.cancel()
    cleaned_up.set()
    await ends(task)
    assert task.cancelled()
    assert len(world.connections) == 1


async def test_a_cancel_ends_the_work_first(world: World) -> None:
    ended = asyncio.Event()

    async def work(connection: Connection) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    task = world.runs(work)
    await asyncio.sleep(0.01)
    task.cancel()
    await ends(task)
    assert task.cancelled()
    assert ended.is_set()


async def test_work_that_returns_is_the_end(world: World) -> None:
    async def work(connection: Connection) -> None:
        pass

    await world.runs(work)
    assert world.said == ["connected"]


async def test_a_connection_that_was_closed_before_the_work_began_is_gone(world: World) -> None:
    async def work(connection: Connection) -> None:
        await asyncio.Event().wait()

    async def opens(broker: Broker, name: str) -> Any:
        made = Connection()
        if not world.connections:
            made.connected.clear()
        world.connections.append(made)
        return made

    world.opens = opens  # type: ignore[method-assign]
    task = world.runs(work)
    await world.until(lambda: world.said == ["connected", "the connection was closed", "connected"])
    task.cancel()
    await ends(task)


def raised(problem: BaseException, *, closes: bool) -> Callable[[Connection], Awaitable[None]]:
    async def work(connection: Connection) -> None:
        if closes:
            asyncio.get_running_loop().call_soon(connection.closes)
        raise problem

    return work


SESSIONS = [
    pytest.param(BrokerGone("the channel was closed"), False, "BrokerGone: the channel was closed", id="gone"),
    pytest.param(ConnectionResetError("reset"), False, "ConnectionResetError: reset", id="an error of the broker's"),
    pytest.param(RuntimeError("<Connection> closed"), True, "RuntimeError: <Connection> closed", id="asked just after"),
    pytest.param(asyncio.CancelledError(), True, "the connection was closed", id="a call that is cancelled with it"),
]


@pytest.mark.parametrize(("problem", "closes", "because"), SESSIONS)
async def test_what_the_broker_does_ends_the_session_and_not_the_process(
    world: World, problem: BaseException, closes: bool, because: str
) -> None:
    task = world.runs(raised(problem, closes=closes))
    await world.until(lambda: len(world.said) > 1)
    assert world.said[:2] == ["connected", because]
    task.cancel()
    await ends(task)


async def test_an_error_of_our_own_is_raised(world: World) -> None:
    with pytest.raises(RuntimeError, match="of our own"):
        await world.runs(raised(RuntimeError("an error of our own"), closes=False))


async def test_a_setting_that_can_not_be_used_is_told_and_read_again(world: World) -> None:
    def read() -> Broker:
        world.read = lambda: BROKER
        raise BadSetting("the key port must be a whole number")

    async def work(connection: Connection) -> None:
        pass

    world.read = read
    await world.runs(work)
    assert world.said == ["the key port must be a whole number", "connected"]


@pytest.mark.parametrize(("drawn", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
async def test_those_who_lost_a_broker_together_come_back_apart(drawn: float, share: float) -> None:
    """They all came back after the same pauses, in step, and each declared everything in the second that it was back."""
    tries: list[float] = []
    loop = asyncio.get_running_loop()
    move = move_clock(loop)

    async def opens(broker: Broker, name: str) -> Any:
        tries.append(loop.time())
        raise ConnectionRefusedError

    async def work(connection: Any) -> None:
        pass

    task = asyncio.create_task(stay_connected(lambda: BROKER, "test", work, opens=opens, draw=lambda: drawn))
    for pause in (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
        await turns()
        count = len(tries)
        move(pause * share - 0.05)
        await turns()
        assert len(tries) == count, "not before"
        move(0.05)
        await turns()
        assert len(tries) == count + 1
    task.cancel()
    await ends(task)
