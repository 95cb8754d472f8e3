"""The stretch of the inserts: large ones are stopped at random moments, in groups, and what works on them is killed meanwhile.

After each group the table has changed by all rows of each insert that succeeded and none of any other, those included that
nobody was told of; then it is emptied, so that counting stays quick.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import httpx

from chaos import own_database, store
from chaos.plan import HARD, Fault, Part
from chaos.stage import Chaos
from chaos.stopped_inserts import Asker, Found, stop_inserts

ROWS, GROUP, AT_ONCE = 100_000, 20, 6
STOPS_PER_FAULT = 2 * GROUP
FAULT_AFTER = 2.0  # s after the beginning of a group, about
VICTIMS = (Part.FRONT, Part.OWN_DATABASE, Part.INSERTS, Part.PRODUCER, Part.BROKER, Part.DATABASE)


@dataclass(frozen=True, slots=True)
class Stopped:
    """The account of all groups."""

    groups: tuple[Found, ...]

    @property
    def stops(self) -> int:
        return sum(found.stops for found in self.groups)

    @property
    def met(self) -> int:
        return sum(found.met for found in self.groups)

    @property
    def wrong(self) -> dict[str, list[str]]:
        """Return what must not be; stops of which few met a transaction with rows in it prove nothing."""
        few = [f"only {self.met} of {self.stops} stops met rows"] if self.met * 5 < self.stops else []
        return {"wrong stops": [says for found in self.groups for says in found.wrong] + few}

    @property
    def good(self) -> bool:
        return not self.wrong["wrong stops"]

    @property
    def line(self) -> str:
        return f"stops {self.stops}, met {self.met}, wrong stops {len(self.wrong['wrong stops'])}"


def faults(seed: int, stops: int, since: int) -> Iterator[Fault]:
    """Draw one for every 40 stops: each victim in turn, in an order that is shuffled each time. `since` were before."""
    chance = random.Random(f"inserts {seed}")  # noqa: S311 - to be repeated, not to be secret
    left: list[Part] = []
    for number in range(since + 1, since + stops // STOPS_PER_FAULT + 1):
        left = left or chance.sample(VICTIMS, len(VICTIMS))
        yield Fault(number, 0.0, chance.choice(HARD), left.pop(), pick=chance.random())


async def stop(chaos: Chaos, disturb: Callable[[Fault], Awaitable[None]]) -> Stopped:
    """Do it with as many stops as the run is to have; raise ClusterProblem, NotAccepted or Unanswered where it can't be done."""
    seed, stops, queue = chaos.options.seed, chaos.options.size.stops, chaos.queue(Part.INSERTS)
    drawn = faults(seed, stops, len(chaos.happened))
    groups: list[Found] = []

    async def all_ids() -> list[str]:
        return list(await store.read(chaos.http, [queue], chaos.since))

    async def hit() -> None:
        """Have the next fault, one in every second group."""
        if len(chaos.happened) < before + len(groups) % 2 and (fault := next(drawn, None)):
            await disturb(fault)

    limits = httpx.Limits(max_keepalive_connections=0)  # as towards the API
    async with httpx.AsyncClient(base_url=chaos.options.front, timeout=60, limits=limits, trust_env=False) as http:
        front, leveret = Asker(http), Asker(chaos.http)
        for first in range(0, stops, GROUP):
            await own_database.ask(chaos.cluster, "TRUNCATE rows")
            before = len(chaos.happened)
            found = await stop_inserts(
                front, leveret, stops=min(GROUP, stops - first), rows=ROWS, at_once=AT_ONCE, seed=seed + first,
                kill=hit, kill_every=FAULT_AFTER, took=groups[0].took if groups else None, all_ids=all_ids,
            )  # fmt: skip
            groups.append(found)
            chaos.say(
                f"{first + found.stops:,} of {stops:,} inserts are stopped, {found.met} of the last {found.stops} had rows; "
                f"{len(found.unanswered)} more had lost their answer; {len(found.wrong)} things are wrong"
            )
    return Stopped(tuple(groups))
