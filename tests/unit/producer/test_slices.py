"""Long work has the loop in slices, one piece after another; short work waits for none of it."""

import asyncio
import time

import pytest

from leveret_producer.slices import SLICE, Slices, Steps


def work(name: str, log: list[str], seconds: float) -> Steps[str]:
    log.append(f"{name} begins")
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        yield
    log.append(f"{name} ends")
    return name


async def test_long_work_is_done_one_piece_after_another_and_others_have_turns() -> None:
    turns, log, seen = Slices(), list[str](), 0

    async def other() -> None:
        nonlocal seen
        while True:
            seen += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    found = await asyncio.gather(*(turns.run(work(name, log, 10 * SLICE)) for name in "abc"))
    beside.cancel()
    assert found == ["a", "b", "c"]
    assert [said for said in log if "ends" in said] == ["a ends", "b ends", "c ends"]
    assert seen >= 5


async def test_short_work_waits_for_no_long_work() -> None:
    turns, log = Slices(), list[str]()
    long = asyncio.create_task(turns.run(work("long", log, 20 * SLICE)))
    await asyncio.sleep(0)
    assert await turns.run(work("short", log, 0)) == "short"
    assert log == ["long begins", "short begins", "short ends"]
    assert await long == "long"


async def test_what_fails_or_is_given_up_holds_nobody_up() -> None:
    turns, log = Slices(), list[str]()

    def failing() -> Steps[None]:
        yield from work("failing", log, 3 * SLICE)
        raise ValueError("x")

    given_up = asyncio.create_task(turns.run(work("given up", log, 60)))
    failed = asyncio.create_task(turns.run(failing()))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(ValueError, match="x"):
        await failed
    assert await turns.run(work("next", log, 3 * SLICE)) == "next"
