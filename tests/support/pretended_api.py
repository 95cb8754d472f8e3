"""An API that answers what a test says, and a clock that moves when somebody sleeps: for both clients alike."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from leveret.client import AsyncClient, Client, LeveretError, Patience
from leveret.client.chance import Chance

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]
KINDS = ("threads", "loop")


def problem(status: int, slug: str, **headers: str) -> httpx.Response:
    document = {"type": f"https://leveret.dev/problems/{slug}", "title": slug, "status": status, "detail": "so it is"}
    return httpx.Response(
        status, json=document, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@dataclass
class PretendedApi:
    answers: Iterator[Answer]
    now: float = 0.0
    slept: list[float] = field(default_factory=list)
    sent: list[httpx.Request] = field(default_factory=list)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):  # a table's, which is read twice: a response is for one reader
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return answer(request)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_in_loop(self, seconds: float) -> None:
        self.sleep(seconds)


def ask(
    kind: str, answers: Iterable[Answer], do: Callable[[Any], Any], *, draw: float = 1.0, **options: Any
) -> tuple[PretendedApi, Any]:
    """Let a client of a kind do something; return what the API saw, and the result or the exception."""
    api = PretendedApi(iter(answers))
    options = {"url": "http://api", "token": "t", "patience": Patience(timeout=10), **options}
    options["transport"] = httpx.MockTransport(api.handle)

    async def in_loop() -> Any:
        chance = Chance(api.sleep_in_loop, lambda: api.now, lambda: draw)
        async with AsyncClient(**options, chance=chance) as client:
            return await do(client)

    def in_thread() -> Any:
        with Client(**options, chance=Chance(api.sleep, lambda: api.now, lambda: draw)) as client:
            return do(client)

    try:
        return api, in_thread() if kind == "threads" else asyncio.run(in_loop())
    except LeveretError as error:
        return api, error
