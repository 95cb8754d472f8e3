"""`sys.exit()` and Ctrl-C's exception in what a handler starts: the end of its own attempt at most."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from pydantic import BaseModel, field_validator
from structlog.testing import capture_logs

from leveret import Context, Handlers, Retry
from leveret_consumer import exits
from leveret_consumer.ends import DeadLetter, Succeeded
from leveret_consumer.testing import run_attempt

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def leave(problem: type[BaseException]) -> None:
    raise problem(3)


async def exit_soon(problem: type[BaseException]) -> None:
    await asyncio.sleep(0)
    leave(problem)


async def in_a_group(problem: type[BaseException]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(60))
        group.create_task(exit_soon(problem))


async def in_a_gathering(problem: type[BaseException]) -> None:
    await asyncio.gather(exit_soon(problem), asyncio.sleep(0))


async def in_a_task(problem: type[BaseException]) -> None:
    await asyncio.create_task(exit_soon(problem))


async def in_a_task_of_a_task(problem: type[BaseException]) -> None:
    await asyncio.create_task(in_a_task(problem))


async def before_a_deadline(problem: type[BaseException]) -> None:
    await asyncio.wait_for(exit_soon(problem), 60)


async def as_it_is_cancelled(problem: type[BaseException]) -> None:
    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            leave(problem)

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    await task


async def in_an_executor(problem: type[BaseException]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, leave, problem)


async def in_the_handler(problem: type[BaseException]) -> None:
    leave(problem)


class Exiting(Exception):
    def __str__(self) -> str:
        sys.exit(3)


async def as_its_exception_is_read(problem: type[BaseException]) -> None:
    raise Exiting


AWAITED = [
    in_a_group,
    in_a_gathering,
    in_a_task,
    in_a_task_of_a_task,
    before_a_deadline,
    as_it_is_cancelled,
    in_an_executor,
    in_the_handler,
]


def on(loop: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


def handlers_of(work: Callable[[type[BaseException]], Awaitable[None]], problem: type[BaseException]) -> Handlers:
    handlers = Handlers()

    @handlers.job("exits", retry=Retry(1))
    async def handler(ctx: Context, job: object) -> str:
        await work(problem)
        return "went on"

    return handlers


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("problem", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("work", AWAITED, ids=lambda work: work.__name__)
def test_an_exit_that_a_handler_awaits_fails_its_attempt(
    work: Callable[[type[BaseException]], Awaitable[None]],
    problem: type[BaseException],
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """In a task that a handler had started it ended the loop, and with it each job of the pod."""

    async def main() -> object:
        neighbour = asyncio.create_task(asyncio.sleep(0.01, "unharmed"))
        outcome = await run_attempt(handlers_of(work, problem), "exits", {})
        assert await neighbour == "unharmed"
        return outcome

    outcome = on(loop, main())
    assert isinstance(outcome, DeadLetter)
    assert outcome.error.type == problem.__name__


def test_an_exit_as_an_exception_is_read_leaves_it_without_a_message() -> None:
    outcome = on(uvloop.new_event_loop, run_attempt(handlers_of(as_its_exception_is_read, SystemExit), "exits", {}))
    assert isinstance(outcome, DeadLetter)
    assert (outcome.error.type, outcome.error.message[:25]) == ("Exiting", "(its message can't be rea")


@pytest.mark.parametrize("loop", LOOPS)
def test_an_exit_that_nobody_awaits_is_a_line_in_the_log(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def lets_go(problem: type[BaseException]) -> None:
        task = asyncio.create_task(exit_soon(problem))
        assert "exit_soon" in repr(task), "which the watchdog's line and a debugger show"
        await asyncio.wait({task})
        assert not task.cancel()
        assert repr(task.exception()) == "SystemExit(3)"

    with capture_logs() as lines:
        outcome = on(loop, run_attempt(handlers_of(lets_go, SystemExit), "exits", {}))
    assert outcome == Succeeded(b'"went on"')
    assert [(line["event"], line["exit"]) for line in lines] == [
        ("a task of a handler ended by an exit", "SystemExit(3)")
    ]
    assert lines[0]["job"]
    gc.collect()  # a coroutine that was never awaited, or a task that was destroyed, would be a warning: an error here


def test_a_task_that_is_cancelled_before_it_starts_leaves_nothing_behind() -> None:
    async def cancels(problem: type[BaseException]) -> None:
        task = asyncio.create_task(exit_soon(problem))
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    assert on(uvloop.new_event_loop, run_attempt(handlers_of(cancels, SystemExit), "exits", {})) == Succeeded(
        b'"went on"'
    )
    gc.collect()


def test_a_task_factory_of_the_users_own_stays() -> None:
    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        return asyncio.Task(coro, loop=loop, **options)

    async def main() -> object:
        asyncio.get_running_loop().set_task_factory(factory)
        await run_attempt(handlers_of(in_the_handler, SystemExit), "exits", {})
        return asyncio.get_running_loop().get_task_factory()

    assert on(asyncio.new_event_loop, main()) is factory


class Picky(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def leaves(cls, n: int) -> int:
        sys.exit(n)


async def test_an_exit_in_a_validator_is_an_invalid_payload() -> None:
    handlers = Handlers()

    @handlers.job("picky")
    async def picky(ctx: Context, job: Picky) -> None: ...

    outcome = await run_attempt(handlers, "picky", {"n": 3})
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.error.message) == ("InvalidPayload", "SystemExit: 3")


def soon(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(sys.exit, 3)


def later(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(0.001, leave, KeyboardInterrupt)


def from_a_thread(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_in_executor(None, loop.call_soon_threadsafe, sys.exit, 3)


def as_something_is_done(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    future.add_done_callback(lambda _: sys.exit(3))
    future.set_result(None)


def as_something_can_be_read(loop: asyncio.AbstractEventLoop) -> None:
    one, other = socket.socketpair()

    def read() -> None:
        loop.remove_reader(one)
        one.close()
        other.close()
        sys.exit(3)

    loop.add_reader(one, read)
    other.send(b"x")


def as_a_generator_is_collected(loop: asyncio.AbstractEventLoop) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            sys.exit(3)

    async def first() -> None:
        async for _ in numbers():
            break

    loop.create_task(first()).add_done_callback(lambda _: gc.collect())


@pytest.fixture
def _sigint() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


CALLBACKS = [soon, later, from_a_thread, as_something_is_done, as_something_can_be_read, as_a_generator_is_collected]


@pytest.mark.usefixtures("_sigint")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("start", CALLBACKS, ids=lambda start: start.__name__)
def test_an_exit_in_a_callback_is_a_line_in_the_log_and_everything_goes_on(
    start: Callable[[asyncio.AbstractEventLoop], None], loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    made = loop()
    made.set_exception_handler(lambda *_: None)  # of the task that nobody asked for its exception

    async def main() -> list[int]:
        made.add_signal_handler(signal.SIGINT, lambda: None)  # as a consumer has
        neighbours = [asyncio.create_task(asyncio.sleep(0.02 + 0.001 * number, number)) for number in range(20)]
        start(made)
        return await asyncio.gather(*neighbours)

    with capture_logs() as lines:
        assert exits.run(made, main()) == list(range(20))
    assert [line["event"] for line in lines] == ["a callback of a handler tried to end the process; it goes on"]
    made.run_until_complete(made.shutdown_default_executor())
    made.close()
    gc.collect()


@pytest.mark.parametrize("problem", [SystemExit, KeyboardInterrupt, ValueError])
def test_what_the_main_task_itself_raises_ends_it(problem: type[BaseException]) -> None:
    made = uvloop.new_event_loop()
    with pytest.raises(problem):
        exits.run(made, exit_soon(problem))
    made.close()


@pytest.mark.usefixtures("_sigint")
def test_ctrl_c_before_a_consumer_listens_to_it_ends_it() -> None:
    made = asyncio.new_event_loop()

    async def main() -> None:
        made.call_soon(leave, KeyboardInterrupt)
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        exits.run(made, main())
    (left,) = asyncio.all_tasks(made)
    left.cancel()
    made.run_until_complete(asyncio.wait({left}))
    made.close()
