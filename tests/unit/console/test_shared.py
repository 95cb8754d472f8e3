"""What is made for many: once, however long it takes, whoever leaves, and not again for a moment after."""

import asyncio
from dataclasses import dataclass, field

import pytest

from leveret_producer.console.shared import KEPT_AT_MOST, KEPT_FOR, Shared


@dataclass
class Making:
    """Makes numbers, once it may, on a loop whose clock is moved."""

    ahead: float = 0.0
    begun: int = 0
    may: asyncio.Event = field(default_factory=asyncio.Event)
    trouble: Exception | None = None

    def __post_init__(self) -> None:
        self.shared: Shared[str, int] = Shared(self.make)

    async def make(self, key: str) -> int:
        self.begun += 1
        number = self.begun
        await self.may.wait()
        if self.trouble is not None:
            raise self.trouble
        return number

    async def waits(self, key: str = "a") -> asyncio.Task[int]:
        waiter = asyncio.create_task(self.shared.get(key))
        await self.later(0)
        return waiter

    async def later(self, seconds: float) -> None:
        self.ahead += seconds
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch) -> Making:
    made, real = Making(), asyncio.BaseEventLoop.time
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda loop: real(loop) + made.ahead)
    return made


async def test_what_takes_long_is_made_once_and_kept_from_when_it_is_there(making: Making) -> None:
    waiters = [await making.waits()]
    for _ in range(3):
        await making.later(KEPT_FOR + 1)
        waiters.append(await making.waits())
    making.may.set()
    assert await asyncio.gather(*waiters) == [1] * 4
    await making.later(KEPT_FOR - 0.5)
    assert await making.shared.get("a") == 1
    await making.later(1)  # nobody has to come for it to be dropped
    assert not making.shared._kept
    assert await making.shared.get("a") == 2


async def test_who_leaves_ends_nothing_that_others_wait_for(making: Making) -> None:
    first, second = await making.waits(), await making.waits()
    first.cancel()
    await making.later(0)
    assert first.cancelled()
    making.may.set()
    assert (await second, await making.shared.get("a")) == (1, 1)


async def test_what_everybody_left_is_kept_for_who_comes(making: Making) -> None:
    (await making.waits()).cancel()
    making.may.set()
    await making.later(0)
    assert await making.shared.get("a") == 1


async def test_an_error_is_told_to_its_waiters_only(making: Making) -> None:
    making.trouble = OSError("no")
    left, *waiters = [await making.waits() for _ in range(3)]
    left.cancel()
    making.may.set()
    assert [str(one) for one in await asyncio.gather(*waiters, return_exceptions=True)] == ["no", "no"]
    making.trouble = None
    assert await making.shared.get("a") == 2


async def test_few_are_kept_and_none_that_is_being_made_is_made_again(making: Making) -> None:
    waiters = [await making.waits(str(number)) for number in range(3 * KEPT_AT_MOST)]
    waiters += [await making.waits(str(number)) for number in range(3 * KEPT_AT_MOST)]
    making.may.set()
    made = await asyncio.gather(*waiters)
    assert made[: 3 * KEPT_AT_MOST] == made[3 * KEPT_AT_MOST :] == list(range(1, 3 * KEPT_AT_MOST + 1))
    assert len(making.shared._kept) == KEPT_AT_MOST
    await making.later(KEPT_FOR + 0.1)
    assert not making.shared._kept
