"""Slots: first come, first served, and none is lost with somebody who waits no longer."""

import asyncio

import pytest

from leveret_consumer.load import Load, Slot


async def test_slots_are_given_in_order_to_those_who_still_want_one() -> None:
    load = Load(1)
    taken: list[int] = []
    slots: list[Slot] = []

    def claims(number: int, *, wants: bool = True) -> None:
        def take(slot: Slot) -> bool:
            taken.append(number)
            if wants:
                slots.append(slot)
            return wants

        load.claim(take)

    claims(1)
    claims(2, wants=False)
    claims(3)
    waits = asyncio.create_task(load.take())
    await asyncio.sleep(0)
    assert (taken, load.busy) == ([1], 1)
    slots[0].attempt_ended()
    assert (taken, load.busy) == ([1, 2, 3], 1)
    slots[1].attempt_ended()
    (await waits).attempt_ended()
    assert load.busy == 0


@pytest.mark.parametrize("when", ["before its slot", "in the moment of its slot"])
async def test_who_is_cancelled_leaves_the_slot_to_the_next(when: str) -> None:
    load = Load(1)
    held = await load.take()
    first, second = asyncio.create_task(load.take()), asyncio.create_task(load.take())
    await asyncio.sleep(0)
    if when == "before its slot":
        first.cancel()
        await asyncio.sleep(0)
    held.attempt_ended()
    first.cancel()
    (await second).attempt_ended()
    assert load.busy == 0


async def test_while_it_is_paused_no_slot_is_given_and_afterwards_all_that_are_free() -> None:
    load = Load(2)
    held = await load.take()
    load.pause()
    waiting = [asyncio.create_task(load.take()) for _ in range(3)]
    await asyncio.sleep(0)
    held.attempt_ended()
    await asyncio.sleep(0)
    assert (load.busy, load.slots, [one.done() for one in waiting]) == (0, 2, [False] * 3)
    waiting[0].cancel()
    load.resume()
    await asyncio.sleep(0)
    assert (load.busy, [one.done() for one in waiting[1:]]) == (2, [True] * 2)
