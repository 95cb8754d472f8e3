"""Which queues are known, with a clock that is moved and a store that answers when it is told to."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest

from leveret_producer.catalog import FAILED, FRESH, RECENT, Catalog
from leveret_producer.problems import Refused
from leveret_producer.store.postgres import DatabaseUnavailable
from leveret_producer.store.queues import KnownQueue

A = KnownQueue("leveret.a", 5, {}, "v1", None)


@dataclass
class Store:
    queues: dict[str, KnownQueue] = field(default_factory=dict)
    away: bool = False
    asked: int = 0
    now: float = 0.0
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def known(self) -> Mapping[str, KnownQueue]:
        self.asked += 1
        await self.answers.wait()
        if self.away:
            raise DatabaseUnavailable("no answer in time")
        return dict(self.queues)


@pytest.fixture
def store() -> Store:
    return Store({A.name: A})


@pytest.fixture
def catalog(store: Store) -> Catalog:
    return Catalog(store, lambda: store.now)  # type: ignore[arg-type]


async def _asked(store: Store) -> None:
    async with asyncio.timeout(30):
        while not store.asked:  # noqa: ASYNC110 - until the task has begun
            await asyncio.sleep(0)


async def _all(store: Store, find: Callable[[], Awaitable[KnownQueue]], number: int) -> list[object]:
    asking = asyncio.gather(*(find() for _ in range(number)), return_exceptions=True)
    await _asked(store)
    store.answers.set()
    return list(await asking)


async def test_all_who_ask_at_once_share_an_answer(store: Store, catalog: Catalog) -> None:
    assert await _all(store, lambda: catalog.find(A.name), 20) == [A] * 20
    assert store.asked == 1


async def test_all_who_ask_a_database_that_hangs_share_its_failure_and_so_do_those_who_come_just_after(
    store: Store, catalog: Catalog
) -> None:
    store.away = True
    found = await _all(store, lambda: catalog.find(A.name), 20)
    assert {type(one) for one in found} == {DatabaseUnavailable}
    assert len({id(one) for one in found}) == 20, "each has its own traceback"
    store.now += FAILED
    with pytest.raises(DatabaseUnavailable, match="no answer in time"):
        await catalog.find(A.name)
    assert store.asked == 1
    store.away = False
    store.now += 0.1
    assert await catalog.find(A.name) == A
    assert store.asked == 2


async def test_who_asked_first_and_goes_away_takes_nobody_with_it(store: Store, catalog: Catalog) -> None:
    first = asyncio.create_task(catalog.find(A.name))
    await _asked(store)
    second = asyncio.create_task(catalog.find(A.name))
    first.cancel()
    await asyncio.wait({first})
    store.answers.set()
    assert await second == A
    assert store.asked == 1


async def test_a_known_queue_is_remembered_longer_than_that_there_is_none(store: Store, catalog: Catalog) -> None:
    store.answers.set()
    assert await catalog.find(A.name) == A
    store.now += RECENT
    with pytest.raises(Refused):
        await catalog.find("leveret.b")
    assert store.asked == 1
    store.queues["leveret.b"] = KnownQueue("leveret.b", 5, {}, "v1", None)
    store.now += 0.1
    assert (await catalog.find("leveret.b")).name == "leveret.b"
    store.now += FRESH
    assert await catalog.find(A.name) == A
    assert store.asked == 2


async def test_what_is_fresh_is_told_though_the_database_is_away(store: Store, catalog: Catalog) -> None:
    store.answers.set()
    assert await catalog.find(A.name) == A
    store.away, store.now = True, RECENT + 0.1
    with pytest.raises(DatabaseUnavailable):
        await catalog.find("leveret.b")
    assert await catalog.find(A.name) == A
