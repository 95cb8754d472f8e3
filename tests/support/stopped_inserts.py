"""Stops of inserts at random moments, through the endpoints alone: does the table change by 0 or by n, as the status says?

The moments are drawn from a seed. Some inserts before are not stopped: they tell how long one takes among so many at once, and
half of the stops are spread evenly over that; the others come some moments after the insert has told of rows. A stop *met* a
transaction with rows in it where the insert had told of rows, as it does from within, before it was stopped, and ends as
cancelled. (Where consumers are killed a few of these may have told so in a run that was killed in between.)
"""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

FINAL = {"succeeded", "dead", "cancelled"}
LOOK_EVERY = 0.3  # s: a front and a producer answer each look
LOOK_OFTEN = 0.1  # s
WITHIN = 0.3  # of the time that one takes: the most that is waited after it has told of rows
PATIENCE = 120.0  # s for an answer; a part that is away is asked again


@dataclass
class Found:
    rows: int  # of each insert
    ends: dict[str, tuple[str, int]] = field(default_factory=dict)  # by id: state and rows
    met: int = 0
    counts: list[int] = field(default_factory=list)  # of the table, over time, less what was there before
    took: float = 0.0  # s, of one that was not stopped

    @property
    def stops(self) -> int:
        return len(self.ends)

    @property
    def states(self) -> Counter[str]:
        return Counter(state for state, _ in self.ends.values())

    @property
    def wrong(self) -> list[str]:
        """Return what must not be, in words."""
        should = {"succeeded": self.rows, "cancelled": 0}
        found = [
            f"{one} is {state} and has {rows} rows"
            for one, (state, rows) in self.ends.items()
            if should.get(state) != rows
        ]
        found += [f"the table had {count} rows" for count in self.counts if count % self.rows or count < 0]
        if self.counts[-1] != (there := sum(rows for _, rows in self.ends.values())):
            found.append(f"the inserts have {there} rows, and the table {self.counts[-1]}")
        return found


class Asker:
    """A front and Leveret's API, asked until they answer: 503 and a lost connection are of a part that is away."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def __call__(self, path: str, status: int = 200) -> Any:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await self._http.get(path)
                except httpx.TransportError:
                    answer = httpx.Response(503)
                if answer.status_code != 503:
                    assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
                    return answer.json()
                await asyncio.sleep(LOOK_EVERY)


async def stop_inserts(
    front: Asker,
    leveret: Asker,
    *,
    stops: int,
    rows: int,
    at_once: int,
    seed: int,
    kill: Callable[[], Awaitable[None]] | None = None,
    kill_every: float = 2.0,
) -> Found:
    """Do it with so many inserts, at most so many at once; `kill` is called about every `kill_every` seconds meanwhile."""
    drawn, found, room = random.Random(seed), Found(rows), asyncio.Semaphore(at_once)
    for _ in range(2):  # consumers may start just now: the second round counts
        found.took = statistics.median(await asyncio.gather(*(_timed(front, rows) for _ in range(at_once))))
    before = int((await front("/get_data/count"))["count"])

    async def told(id: str) -> bool:
        """Return whether it has told of rows, and has not ended."""
        progress = (await leveret(f"/v1/jobs/{id}"))["progress"]
        return bool(progress and progress["done"])

    async def one(wait: float, *, within: bool) -> None:
        async with room:
            id = (await front(f"/insert/{rows}", 202))["id"]  # noqa: A001
            if within:  # however long others keep it from beginning
                async with asyncio.timeout(PATIENCE):
                    while not await told(id) and (await front(f"/status/{id}"))["state"] not in FINAL:  # noqa: ASYNC110 - over HTTP
                        await asyncio.sleep(LOOK_OFTEN)
                wait *= WITHIN
            await asyncio.sleep(wait)
            had_rows = await told(id)
            assert (await front(f"/stop/{id}", 202))["id"] == id
            found.ends[id] = await _end(front, id, rows)
            found.met += found.ends[id][0] == "cancelled" and had_rows

    async def count() -> None:
        while True:
            found.counts.append(int((await front("/get_data/count"))["count"]) - before)
            await asyncio.sleep(LOOK_EVERY)

    async def killing() -> None:
        while kill:
            await asyncio.sleep(drawn.uniform(0.5, 1.5) * kill_every)
            await kill()

    async with asyncio.TaskGroup() as beside:
        tasks = [beside.create_task(count()), beside.create_task(killing())]
        await asyncio.gather(*(one(drawn.uniform(0, found.took), within=at % 2 == 1) for at in range(stops)))
        for task in tasks:
            task.cancel()
    for id, end in found.ends.items():  # noqa: A001
        assert await _end(front, id, rows) == end, "an end is the end"
    found.counts.append(int((await front("/get_data/count"))["count"]) - before)
    return found


async def _timed(front: Asker, rows: int) -> float:
    began = time.monotonic()
    id = (await front(f"/insert/{rows}", 202))["id"]  # noqa: A001
    assert await _end(front, id, rows) == ("succeeded", rows)
    return time.monotonic() - began


async def _end(front: Asker, id: str, rows: int) -> tuple[str, int]:
    async with asyncio.timeout(PATIENCE):
        while (seen := await front(f"/status/{id}"))["state"] not in FINAL:
            assert seen["rows"] in (0, rows), seen
            await asyncio.sleep(LOOK_EVERY)
    return seen["state"], seen["rows"]
