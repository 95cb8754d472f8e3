"""Bulk depths: every queue of the virtual host in one request to every broker node.

`/metrics/detailed` of a node covers the queues whose leader is there, so every address that the broker's name resolves
to is asked. A queue in no answer is missing, which is not the same as empty. If no node answers there, the management
API's list stands in; it answers 0 for a queue that it has no numbers of, so a row of nothing but zeros is unknown.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import aiohttp
import msgspec

from leveret.scaling.backlog import Depth
from leveret.settings import Broker

TIMEOUT = aiohttp.ClientTimeout(total=4.0)
_ROW = re.compile(r"^rabbitmq_detailed_queue_messages_(ready|unacked)\{([^}]*)\} ([0-9.e+]+)$", re.MULTILINE)
_QUEUE = re.compile(r'(?:^|,)queue="((?:[^"\\]|\\.)*)"')


class NoStatistics(Exception):
    """Neither way answered."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """One reading of all queues."""

    at: datetime
    depths: Mapping[str, Depth] = field(default_factory=dict)


class _Row(msgspec.Struct):
    name: str
    vhost: str
    messages_ready: int | None = None
    messages_unacknowledged: int | None = None


_rows = msgspec.json.Decoder(list[_Row])


class BrokerStatistics:
    """Reads the broker's own numbers over HTTP."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        *,
        metrics_port: int,
        management_port: int,
        clock: Callable[[], datetime],
        asked: Callable[[str], None],
    ) -> None:
        """`asked` is told the kind of each request."""
        self._http = http
        self._metrics_port, self._management_port = metrics_port, management_port
        self._clock, self._asked = clock, asked

    async def read(self, broker: Broker) -> Statistics:
        """Raise NoStatistics with both reasons if neither way answers."""
        at = self._clock()
        try:
            return Statistics(at, await self._detailed(broker, at))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as first:
            try:
                return Statistics(at, await self._management(broker, at))
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as second:
                raise NoStatistics(
                    f"port {self._metrics_port}: {_say(first)}; port {self._management_port}: {_say(second)}"
                ) from second

    async def _detailed(self, broker: Broker, at: datetime) -> Mapping[str, Depth]:
        """What the nodes that answer say; raise the first problem if none does."""
        addresses = await _addresses(broker.host, self._metrics_port)
        answers = await asyncio.gather(
            *(self._node(address, broker.vhost) for address in addresses), return_exceptions=True
        )
        texts = [answer for answer in answers if isinstance(answer, str)]
        if not texts:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        return parse_detailed(texts, at)

    async def _node(self, address: str, vhost: str) -> str:
        self._asked("bulk")
        host = f"[{address}]" if ":" in address else address
        query = {"family": "queue_coarse_metrics", "vhost": vhost}
        async with self._http.get(
            f"http://{host}:{self._metrics_port}/metrics/detailed", params=query, timeout=TIMEOUT
        ) as answer:
            answer.raise_for_status()
            return await answer.text(errors="replace")  # a queue that somebody made may have any name

    async def _management(self, broker: Broker, at: datetime) -> Mapping[str, Depth]:
        self._asked("management")
        query = {"disable_stats": "true", "enable_queue_totals": "true"}
        host = f"[{broker.host}]" if ":" in broker.host else broker.host
        async with self._http.get(
            f"http://{host}:{self._management_port}/api/queues",
            params=query,
            headers={"Authorization": aiohttp.encode_basic_auth(broker.username, broker.password)},
            timeout=TIMEOUT,
        ) as answer:
            answer.raise_for_status()
            return parse_management(await answer.read(), at, broker.vhost)


def parse_detailed(texts: Iterable[str], at: datetime) -> dict[str, Depth]:
    """Read the nodes' answers; where two nodes speak of one queue, the larger numbers count."""
    counts: dict[str, dict[str, int]] = {}
    for text in texts:
        for kind, labels, number in _ROW.findall(text):
            if found := _QUEUE.search(labels):
                name = found[1].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
                known = counts.setdefault(name, {})
                known[kind] = max(known.get(kind, 0), int(float(number)))
    return {name: Depth(at, known.get("ready"), known.get("unacked")) for name, known in counts.items()}


def parse_management(body: bytes, at: datetime, vhost: str) -> dict[str, Depth]:
    """Read the list; raise ValueError for what is no list of queues."""
    depths = {}
    for row in _rows_of(body, vhost):
        if row.messages_ready or row.messages_unacknowledged:
            depths[row.name] = Depth(at, row.messages_ready, row.messages_unacknowledged)
    return depths


def _rows_of(body: bytes, vhost: str) -> list[_Row]:
    try:
        return [row for row in _rows.decode(body) if row.vhost == vhost]
    except msgspec.MsgspecError as problem:
        raise ValueError(f"not a list of queues: {problem}") from problem


async def _addresses(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


def _say(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
