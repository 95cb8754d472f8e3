"""One replica at a time: who has the turn keeps it while it lasts, and the next may begin a while after it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from leveret.settings import Database
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.turns import Turns


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Postgres]:
    one = Postgres(lambda: database, connections=4, name="test")
    await migrate(one)
    yield one
    await one.close()


async def _is_free(turns: Turns, name: str = "a") -> bool:
    async with turns.take(name, pause=0) as turn:
        return turn is not None


async def test_a_turn_is_one_replicas_and_the_next_begins_after_its_pause(store: Postgres) -> None:
    turns, other = Turns(store), Turns(store)
    assert await turns.age("a") is None
    async with turns.take("a", pause=3600) as turn:
        assert turn is not None
        assert not await _is_free(other)
        assert await _is_free(other, "b"), "another one"
        assert await turns.age("a") is None
    assert not await _is_free(other)
    age = await turns.age("a")
    assert age is not None
    assert 0 <= age < 60
    async with store.transaction() as connection:
        await connection.execute(text("UPDATE turns SET until = now()"))
    assert await _is_free(other)
    assert await _is_free(turns), "that one had no pause"


async def test_a_pause_may_be_decided_within_the_turn(store: Postgres) -> None:
    async with Turns(store).take("a", pause=3600) as turn:
        assert turn is not None
        turn.pause = 0
    assert await _is_free(Turns(store))


async def test_a_turn_outlasts_its_lease_and_one_that_fails_ends_with_it(store: Postgres) -> None:
    turns = Turns(store)

    async def fails() -> None:
        async with turns.take("a", pause=3600, lease=2.0) as turn:
            assert turn is not None
            await asyncio.sleep(4)
            assert not await _is_free(Turns(store)), "it was renewed"
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await fails()
    assert await turns.age("a") is None
    async with asyncio.timeout(60):
        while not await _is_free(Turns(store)):  # noqa: ASYNC110 - the database's clock goes on
            await asyncio.sleep(0.1)


async def test_of_many_at_once_one_has_it(store: Postgres) -> None:
    had = asyncio.Event()

    async def tries() -> bool:
        async with Turns(store).take("a", pause=3600) as turn:
            if turn:
                await had.wait()
            return turn is not None

    tasks = [asyncio.create_task(tries()) for _ in range(10)]
    done, _ = await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 9:
        done, _ = await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.05)
    had.set()
    assert sum(await asyncio.gather(*tasks)) == 1
