"""Stops of inserts at random moments, through the endpoints alone: does the table change by 0 or by n, as the status says?

The moments are drawn from a seed. Some inserts before are not stopped: they tell how long one takes among so many at once, and
half of the stops are spread evenly over that; the others come some moments after the insert has told of rows, and sooner after
each that came too late. A stop *met* a transaction with rows in it where the insert had told of rows, as it does from within,
before it was stopped, and ends as cancelled. (Where consumers are killed a few of these may have told so in a run that was
killed in between.)

An insert whose answer was lost is asked for again, and both may be there: `all_ids` tells which are, and such a one runs to its
end and is judged like the others.
"""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from chaos.evidence import FINAL
from chaos.store import Unanswered
from chaos.submit import NotAccepted

LOOK_EVERY = 0.3  # s: a front and a producer answer each look
LOOK_OFTEN = 0.1  # s
COUNT_EVERY = 1.0  # s: a count reads the whole table
TELLS_WITHIN = 60.0  # s, of rows
WITHIN = 0.3  # of the time that one takes: the most that is waited after it has told of rows
PATIENCE = 300.0  # s for an answer, and an end: what a dying broker was about to pass on it passes on after 180 s


@dataclass
class Found:
    rows: int  # of each insert
    ends: dict[str, tuple[str, int]] = field(default_factory=dict)  # of those that were stopped, by id: state and rows
    unanswered: dict[str, tuple[str, int]] = field(default_factory=dict)  # of those that nobody was told of
    said: list[str] = field(default_factory=list)  # what must not be, and was seen on the way
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
        should, ends = {"succeeded": self.rows, "cancelled": 0}, self.ends | self.unanswered
        found = [
            f"{one} is {state} and has {rows} rows" for one, (state, rows) in ends.items() if should.get(state) != rows
        ]
        found += [f"the table had {count} rows" for count in self.counts if count % self.rows or count < 0]
        if self.counts[-1] != (there := sum(rows for _, rows in ends.values())):
            found.append(f"the inserts have {there} rows, and the table {self.counts[-1]}")
        return found + self.said


class Asker:
    """A front and Leveret's API, asked until they answer: 503 and a lost connection are of a part that is away."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def __call__(self, path: str, status: int = 200) -> Any:
        """Raise Unanswered, or NotAccepted for another status."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                answer = await self._http.get(path)
            except httpx.TransportError:
                answer = httpx.Response(503)
            if answer.status_code == status:
                return answer.json()
            if answer.status_code != 503:
                raise NotAccepted(f"{path} answers {answer.status_code}: {answer.text[:500]}")
            await asyncio.sleep(LOOK_EVERY)
        raise Unanswered(f"GET {path} was not answered for {PATIENCE:.0f} s")


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
    took: float | None = None,
    all_ids: Callable[[], Awaitable[Collection[str]]] | None = None,
    share: float = 0.0,
) -> Found:
    """Do it with so many inserts, at most so many at once; `kill` is called about every `kill_every` seconds meanwhile.

    `took` is what an earlier call has found, else it is measured. `share` of the stops are to meet rows: on a busy machine
    more are stopped until they do, at most as many again.
    """
    drawn, found, room = random.Random(seed), Found(rows, took=took or 0.0), asyncio.Semaphore(at_once)  # noqa: S311
    over, within_most = asyncio.Event(), WITHIN
    for _ in range(0 if took else 2):  # consumers may start just now: the second round counts
        found.took = statistics.median(await asyncio.gather(*(_timed(front, rows) for _ in range(at_once))))
    earlier = set(await all_ids()) if all_ids else set()
    before = int((await front("/get_data/count"))["count"])

    async def told(id: str) -> bool:
        """Return whether it has told of rows, and has not ended."""
        progress = (await leveret(f"/v1/jobs/{id}"))["progress"]
        return bool(progress and progress["done"])

    async def status(id: str) -> Any:
        seen = await front(f"/status/{id}")
        if seen["rows"] not in (0, rows):
            found.said.append(f"{id} had {seen['rows']} rows when it was {seen['state']}")
        return seen

    async def ended(id: str) -> tuple[str, int]:
        """Return state and rows once the state is final, or patience is over."""
        end = time.monotonic() + PATIENCE
        while (seen := await status(id))["state"] not in FINAL and time.monotonic() < end:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(LOOK_EVERY)
        return seen["state"], seen["rows"]

    async def one(wait: float, *, within: bool) -> None:
        nonlocal within_most
        async with room:
            id = (await front(f"/insert/{rows}", 202))["id"]  # noqa: A001
            if within:  # however long others keep it from beginning
                end = time.monotonic() + TELLS_WITHIN
                while time.monotonic() < end and not await told(id):
                    if (await status(id))["state"] in FINAL:
                        break
                    await asyncio.sleep(LOOK_OFTEN)
                wait *= within_most
            await asyncio.sleep(wait)
            had_rows = await told(id)
            await front(f"/stop/{id}", 202)
            found.ends[id] = await ended(id)
            met = found.ends[id][0] == "cancelled" and had_rows
            found.met += met
            if within and not met:
                within_most /= 2

    async def count() -> None:
        while True:
            found.counts.append(int((await front("/get_data/count"))["count"]) - before)
            await asyncio.sleep(COUNT_EVERY)

    async def killing() -> None:
        while kill and not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), drawn.uniform(0.5, 1.5) * kill_every)
                return
            await kill()

    async with asyncio.TaskGroup() as beside:
        counting, killer = beside.create_task(count()), beside.create_task(killing())
        await asyncio.gather(*(one(drawn.uniform(0, found.took), within=at % 2 == 1) for at in range(stops)))
        while found.met < share * found.stops and found.stops < 2 * stops:
            await asyncio.gather(*(one(drawn.uniform(0, found.took), within=True) for _ in range(at_once)))
        over.set()
        await killer  # what it has hit is there again
        counting.cancel()
    others = set(await all_ids()) - earlier - found.ends.keys() if all_ids else set()
    found.unanswered = {other: await ended(other) for other in others}
    found.said += [
        f"{stopped} was {end}, and is not" for stopped, end in found.ends.items() if await ended(stopped) != end
    ]
    found.counts.append(int((await front("/get_data/count"))["count"]) - before)
    return found


async def _timed(front: Asker, rows: int) -> float:
    began = time.monotonic()
    id = (await front(f"/insert/{rows}", 202))["id"]  # noqa: A001
    while (seen := await front(f"/status/{id}"))["state"] not in FINAL and time.monotonic() < began + PATIENCE:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_EVERY)
    if (seen["state"], seen["rows"]) != ("succeeded", rows):
        raise NotAccepted(f"an insert that nobody stopped is {seen['state']}, with {seen['rows']} rows")
    return time.monotonic() - began
