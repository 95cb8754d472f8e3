"""A view of a thousand queues over a day leaves the loop to those who submit."""

import asyncio

import httpx
from fastapi import FastAPI
from pretended_prometheus import NOW, Pretended
from standing import turns

from leveret_producer.console import build_router

QUEUES = tuple(f"team-{number % 23}.orders-{number}" for number in range(1_000))


class Long(Pretended):
    """Has a point for each step of the range, and answers as from elsewhere: a turn of the loop later, at no cost here."""

    def __init__(self) -> None:
        super().__init__(QUEUES)
        self._made: dict[tuple[str, ...], bytes] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        return await super().handle_async_request(request)

    def answer(self, path: str, form: dict[str, str]) -> httpx.Response:
        asked = (path, *form.values())
        if asked not in self._made:
            self._made[asked] = super().answer(path, form).content
        return httpx.Response(200, content=self._made[asked])

    def times(self, start: float, end: float, step: float) -> list[float]:
        return [start + step * number for number in range(int((end - start) / step) + 1)]


async def test_a_view_leaves_the_loop_to_others() -> None:
    prometheus = Long()

    async def look() -> None:
        app = FastAPI()
        app.include_router(build_router("http://prometheus:9090", transport=prometheus, clock=lambda: NOW))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://leveret") as client,
        ):
            answer = await client.get("/?range=24h")
        assert (answer.status_code, QUEUES[-1] in answer.text) == (200, True)

    await look()  # so that it has its answers
    await turns(look)
