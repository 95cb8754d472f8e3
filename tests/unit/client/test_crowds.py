"""A crowd of tasks on one `AsyncClient`: as many requests at once as it has connections, and waiting is no failure."""

import asyncio
from collections.abc import Awaitable
from uuid import UUID

import httpx
import pytest

from leveret.client import AsyncClient, Patience, TimedOut
from leveret.client.chance import Chance
from leveret.client.wire import MOST_CONNECTIONS

CROWD, EACH = 500, 10.0  # s that each answer takes, by the client's clock: far more than a request's patience in all


class World(httpx.AsyncBaseTransport):
    def __init__(self) -> None:
        self.now, self.most, self.inside = 0.0, 0, 0
        self.full, self.stuck = asyncio.Event(), asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside == MOST_CONNECTIONS:
            self.full.set()
        await asyncio.sleep(0)
        if request.url.path.endswith("/get"):
            await self.stuck.wait()
        self.now += EACH
        self.inside -= 1
        return httpx.Response(202, json={"id": str(UUID(int=1)), "state": "accepted", "queue": "q", "type": "t"})

    def client(self, patience: Patience) -> AsyncClient:
        chance: Chance[Awaitable[None]] = Chance(asyncio.sleep, lambda: self.now, lambda: 0.0)
        return AsyncClient("http://api", "a-token", transport=self, chance=chance, patience=patience)


async def test_each_of_a_crowd_has_its_turn_and_its_whole_time() -> None:
    world = World()
    async with world.client(Patience(timeout=60.0)) as client:
        await asyncio.gather(*(client.submit("q", "t", number) for number in range(CROWD)))
    assert world.most == MOST_CONNECTIONS
    assert world.now == CROWD * EACH


async def test_who_has_a_time_to_wait_is_told_that_all_connections_were_busy() -> None:
    world = World()
    async with world.client(Patience(timeout=60.0)) as client:
        stuck = [asyncio.create_task(client.wait(UUID(int=1), 1e6)) for _ in range(MOST_CONNECTIONS)]
        await world.full.wait()
        # The clock of the client stands; that by which a place is waited for goes on.
        world.now += 0.5
        waiting = asyncio.create_task(client.wait(UUID(int=1), 0.01))
        while not waiting.done():
            world.now += 0.01
            await asyncio.sleep(0.05)
        with pytest.raises(TimedOut, match="each connection of this client was busy"):
            await waiting
        for one in stuck:
            one.cancel()
