"""What finds a loop that stands finds it, says where, and doesn't blame the machine."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from multiprocessing import get_context

import msgspec
import pytest
from standing import LONGEST, turns, watched

BODY = b"[" + b",".join([b"[]"] * 2_000_000) + b"]"


def compute() -> None:
    until = time.thread_time() + 3 * LONGEST
    while time.thread_time() < until:
        pass


def hold_the_lock() -> None:
    msgspec.json.decode(BODY)


def block() -> None:
    time.sleep(3 * LONGEST)


@pytest.mark.parametrize("stand", [compute, hold_the_lock, block])
async def test_a_loop_that_stands_is_found_with_its_place(stand: Callable[[], None]) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        stand()

    with pytest.raises(AssertionError, match=r"the loop stood for \d+ ms") as failed:
        await turns(work, tries=2)
    assert stand.__name__ in str(failed.value)


async def test_work_in_slices_and_what_is_waited_for_is_no_standing_loop() -> None:
    async def work() -> None:
        await asyncio.sleep(2 * LONGEST)
        until = time.thread_time() + 3 * LONGEST
        while time.thread_time() < until:  # noqa: ASYNC110 - it has turns
            await asyncio.sleep(0)

    await turns(work)


def _busy(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def test_a_busy_machine_is_not_blamed() -> None:
    """On one processor with others that want it, a callback of 30 ms takes far longer."""
    began, took = time.monotonic(), 0.0

    async def work() -> None:
        nonlocal began, took
        await asyncio.sleep(0)
        began = time.monotonic()
        until = time.thread_time() + 0.6 * LONGEST
        while time.thread_time() < until:
            pass
        took = max(took, time.monotonic() - began)

    async def until_it_was_long() -> None:
        for _ in range(50):
            await turns(work)
            if took > LONGEST:
                break

    await _beside_others(until_it_was_long)
    assert took > LONGEST, "nobody was in its way, so this test shows nothing"


async def _beside_others(work: Callable[[], Awaitable[None]]) -> None:
    allowed = os.sched_getaffinity(0)
    others = [get_context("fork").Process(target=_busy, args=(60.0,)) for _ in range(4)]
    os.sched_setaffinity(0, {min(allowed)})
    try:
        for other in others:
            other.start()
        await work()
    finally:
        os.sched_setaffinity(0, allowed)
        for other in others:
            other.kill()
            other.join()


def test_the_longest_is_told() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    with watched() as standing:
        asyncio.run(work())
    assert 0 < standing.seconds < LONGEST
    assert "work" in standing.where or "Handle" in standing.where
