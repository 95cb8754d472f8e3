"""The management API's list of queues, which every node has of the whole cluster.

It tells each queue's members, its leader and whether most members run. Its totals are asked of the leaders' nodes and are
as fresh as the nodes' own numbers, but a queue that its leader's node has no numbers of yet has zeros there, and a queue
whose leader is down has no row. So zeros are knowledge once the list has said them for longer than a leader takes to
write its first numbers. Neither list needs the management plugin's own statistics, which may be turned off.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import aiohttp
import msgspec

from leveret.scaling.backlog import BULK_GOOD_FOR, WRITTEN_WITHIN, Depth
from leveret.settings import Broker

TIMEOUT = aiohttp.ClientTimeout(total=3.0)
_TOTALS = "disable_stats=true&enable_queue_totals=true&columns=name,messages_ready,messages_unacknowledged"
_PLACES = "disable_stats=true&columns=name,state,leader,members,online"


class Row(msgspec.Struct, frozen=True):
    """One queue; without members where it is no quorum queue."""

    name: str
    state: str = ""
    leader: str = ""
    members: tuple[str, ...] = ()
    online: tuple[str, ...] = ()

    @property
    def led(self) -> bool:
        """Whether it has a leader that a majority follows."""
        return not self.members or (self.state == "running" and self.leader in self.online)


class Total(msgspec.Struct, frozen=True):
    name: str
    messages_ready: int | None = None
    messages_unacknowledged: int | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One reading: where queues are, and the depths that are knowledge."""

    rows: Mapping[str, Row]
    depths: Mapping[str, Depth]

    @property
    def members(self) -> frozenset[str]:
        return frozenset(node for row in self.rows.values() for node in row.members)

    @property
    def online(self) -> frozenset[str]:
        return frozenset(node for row in self.rows.values() for node in row.online)


_rows, _totals = msgspec.json.Decoder(list[Row]), msgspec.json.Decoder(list[Total])


# Since when a queue has been said to be empty under a leader: each begins without numbers, which look like zeros.
Zeros = Mapping[tuple[str, str], datetime]


class ManagementList:
    """Reads it, and remembers since when it has said zero of a queue."""

    def __init__(
        self, http: aiohttp.ClientSession, port: int, clock: Callable[[], datetime], asked: Callable[[str], None]
    ) -> None:
        self._http, self._port, self._clock, self._asked = http, port, clock, asked
        self._zeros: Zeros = {}
        self._of = ("", "")
        self._read_at: datetime | None = None

    async def read(self, broker: Broker) -> Listed:
        """Raise ClientError, OSError, TimeoutError or ValueError."""
        at, of = self._clock(), (broker.host, broker.vhost)
        goes_on = self._of == of and self._read_at and at - self._read_at <= BULK_GOOD_FOR
        zeros = self._zeros if goes_on else {}
        self._zeros, self._of, self._read_at = {}, of, at  # as they stay if this fails
        totals, places = await asyncio.gather(self._get(broker, _TOTALS), self._get(broker, _PLACES))
        try:
            rows = {row.name: row for row in _rows.decode(places)}
            depths, self._zeros = believed(_totals.decode(totals), rows, zeros, at)
        except msgspec.MsgspecError as problem:
            raise ValueError(f"not a list of queues: {problem}") from problem
        return Listed(rows, depths)

    async def _get(self, broker: Broker, query: str) -> bytes:
        self._asked("management")
        host = f"[{broker.host}]" if ":" in broker.host else broker.host
        url = f"http://{host}:{self._port}/api/queues/{quote(broker.vhost, safe='')}?{query}"
        login = {"Authorization": aiohttp.encode_basic_auth(broker.username, broker.password), "Connection": "close"}
        async with self._http.get(url, headers=login, timeout=TIMEOUT) as answer:
            answer.raise_for_status()
            return await answer.read()


def believed(
    totals: list[Total], rows: Mapping[str, Row], zeros: Zeros, at: datetime
) -> tuple[dict[str, Depth], Zeros]:
    """Return the depths that are knowledge, and since when which queue has been said to be empty."""
    depths: dict[str, Depth] = {}
    empty: dict[tuple[str, str], datetime] = {}
    for one in totals:
        if one.name not in rows or not rows[one.name].led:
            continue
        if one.messages_ready == one.messages_unacknowledged == 0:
            key = one.name, rows[one.name].leader
            empty[key] = zeros.get(key, at)
            if at - empty[key] < WRITTEN_WITHIN:
                continue
        depths[one.name] = Depth(at, one.messages_ready, one.messages_unacknowledged)
    return depths, empty
