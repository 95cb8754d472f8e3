"""How much is remembered of what has ended when a connection is lost, and for how long."""

import asyncio
from collections.abc import Iterable
from uuid import UUID

import pytest

from leveret.events import Error
from leveret_consumer.ends import DeadLetter, Finished, RetryAfter, Succeeded
from leveret_consumer.remembered import MOST_BYTES, Key, Remembered


def key(number: int) -> Key:
    return UUID(int=number), 1, 1


async def end(
    those: Remembered, numbers: Iterable[int], ended: Finished | None = None, *, stoppable: bool = True
) -> None:
    """Have attempts end."""

    async def attempt() -> Finished:
        return ended or Finished(Succeeded(b"null"))

    for number in numbers:
        those.start(key(number), attempt(), can_be_stopped=stoppable)
    await asyncio.sleep(0)


def remembered(those: Remembered, numbers: Iterable[int]) -> list[int]:
    return [number for number in numbers if those.get(key(number))]


@pytest.mark.parametrize(("slots", "held"), [(1, 301), (10, 310), (10_000, 10_300), (10_000, 20_300)])
async def test_all_that_a_connection_may_hold_is_remembered(slots: int, held: int) -> None:
    """The last: with another queue's dead letters beside."""
    those = Remembered(slots)
    await end(those, range(held))
    those.connection_lost()
    assert len(remembered(those, range(held))) == held


async def test_a_second_loss_keeps_what_has_not_come_back_since_the_first() -> None:
    those = Remembered(10)
    await end(those, range(310))
    those.connection_lost()
    await end(those, range(310, 620))
    those.connection_lost()
    assert len(remembered(those, range(620))) == 620
    await end(those, range(620, 930))
    those.connection_lost()
    assert remembered(those, range(930)) == list(range(310, 930)), "the latest"


LARGE = "x" * 10_000
ENDS = [
    pytest.param(Finished(Succeeded(b"x" * 256 * 1024)), 256, id="results"),
    pytest.param(Finished(RetryAfter(1, Error("Failed", LARGE, traceback="x" * 252_144))), 256, id="retries"),
    pytest.param(Finished(DeadLetter("GaveUp", Error("GaveUp", "x" * 262_144))), 256, id="dead letters"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("ended", "count"), ENDS)
async def test_what_is_large_is_remembered_up_to_64_mib(ended: Finished, count: int) -> None:
    those = Remembered(10)
    await end(those, range(310), ended)
    those.connection_lost()
    assert remembered(those, range(310)) == list(range(310 - count, 310))
    assert count * 256 * 1024 == MOST_BYTES


async def test_what_does_not_come_back_is_forgotten_after_as_many_others_have_started() -> None:
    those = Remembered(1)
    await end(those, range(301), Finished(Succeeded(b"x" * 1000)))
    those.connection_lost()
    held = those.get(key(7))
    assert held
    async with held.lock:  # it came back, and its confirm takes long
        await end(those, range(1000, 1601))
        assert len(remembered(those, range(301))) == 301
        await end(those, [1601])
        assert remembered(those, range(301)) == [7]


async def test_an_attempt_without_an_outcome_is_not_remembered() -> None:
    """It would be what each delivery to come is settled by."""

    async def fails() -> Finished:
        raise KeyError("ours")

    async def is_cancelled() -> Finished:
        raise asyncio.CancelledError

    those = Remembered(1)
    those.start(key(1), fails(), can_be_stopped=True)
    those.start(key(2), is_cancelled(), can_be_stopped=True)
    await end(those, [3])
    those.connection_lost()
    assert remembered(those, range(4)) == [3]


async def test_a_thread_that_goes_on_is_kept_and_forgotten_only_once_it_has_ended() -> None:
    those, may_end = Remembered(1), asyncio.Event()

    async def thread() -> Finished:
        await may_end.wait()
        return Finished(Succeeded(b"null"))

    those.start(key(1), thread(), can_be_stopped=False)
    coroutine = those.start(key(2), thread(), can_be_stopped=True)
    await asyncio.sleep(0)
    those.connection_lost()
    assert remembered(those, range(3)) == [1]
    await end(those, range(1000, 1602))
    assert remembered(those, range(3)) == [1]
    await asyncio.gather(coroutine.task, return_exceptions=True)
    those.stop()


async def test_of_what_was_acknowledged_the_latest_are_known() -> None:
    those = Remembered(1)
    await end(those, range(700))
    for number in range(700):
        run = those.get(key(number))
        assert run
        run.reported = number != 650
        those.settled(key(number), run)
    assert [those.was_acknowledged(key(number)) for number in (96, 97, 649, 650, 699)] == [
        False,
        True,
        True,
        False,
        True,
    ]
    assert remembered(those, range(700)) == []
