"""Bulk depths: every queue of the virtual host in one request to every broker node.

`/metrics/detailed` of a node covers the queues whose leader is there. So every address that the broker's name resolves to
is asked, and every node whose own name leads to it: behind a Service with one address that is the only way to all of
them. A queue in no answer is missing, which is not the same as empty; the management API is asked about it.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime

import aiohttp

from leveret.scaling.backlog import Depth
from leveret.settings import Broker
from leveret_operator.broker_nodes import Identity, Nodes
from leveret_operator.management_list import Listed, ManagementList, Row

# A reading is believed for 10 s, and the next one comes 5 s later, and as much as that takes.
TIMEOUT = aiohttp.ClientTimeout(total=3.0)
LOOKUP = 1.0  # s, for the nodes' names; what takes longer is used the next time
_ROW = re.compile(r"^rabbitmq_detailed_queue_messages_(ready|unacked)\{([^}]*)\} ([0-9.e+]+)$", re.MULTILINE)
_QUEUE = re.compile(r'(?:^|,)queue="((?:[^"\\]|\\.)*)"')
_IDENTITY = re.compile(
    r'^rabbitmq_identity_info\{(?=[^}]*\brabbitmq_node="([^"]+)")(?=[^}]*\brabbitmq_cluster_permanent_id="([^"]+)")',
    re.MULTILINE,
)
_Problems = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


class NoStatistics(Exception):
    """Neither way answered."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """One reading of all queues."""

    at: datetime
    depths: Mapping[str, Depth] = field(default_factory=dict)
    silent: Mapping[str, datetime] = field(default_factory=dict)  # nodes that nobody has heard, and since when not
    rows: Mapping[str, Row] = field(default_factory=dict)  # where the management API was asked
    unlisted: str | None = None  # why it didn't answer, where it was asked


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
        resolve: Callable[[str], Awaitable[list[str]]] | None = None,
    ) -> None:
        """`asked` is told the kind of each request; `resolve` gives a host's addresses or raises OSError."""
        self._http, self._metrics_port, self._management_port = http, metrics_port, management_port
        self._list = ManagementList(http, management_port, clock, asked)
        self._clock, self._asked, self._resolve = clock, asked, resolve or _addresses
        self._of, self._nodes = ("", ""), Nodes()
        self._incomplete = False  # the last time; then the management API is asked beside the nodes, as one may hang
        self._lookups: dict[str, asyncio.Future[list[str]]] = {}

    async def read(self, broker: Broker, wanted: Set[str] = frozenset()) -> Statistics:
        """Read all there is; which queues must not be missing is `wanted`.

        Raise NoStatistics with both reasons if neither way answers.
        """
        if self._of != (broker.host, broker.vhost):
            self._of, self._nodes = (broker.host, broker.vhost), Nodes()
        at = self._clock()
        (texts, cluster, problem), looked_up = await asyncio.gather(
            self._ask_nodes(broker), self._look_up(broker) if self._incomplete else _nothing()
        )
        depths = parse_detailed(texts, at)
        answered = [one for one in map(identify, texts) if one]
        nodes = self._nodes.after(answered, None, at, cluster)
        self._incomplete = bool(not texts or wanted - depths.keys() or nodes.silent(at))
        if self._incomplete and looked_up is None:
            looked_up = await self._look_up(broker)
        if problem and isinstance(looked_up, str):
            raise NoStatistics(f"port {self._metrics_port}: {_say(problem)}; {looked_up}") from problem
        if not isinstance(looked_up, Listed):
            self._nodes = nodes
            return Statistics(at, depths, nodes.silent(at), unlisted=looked_up)
        self._nodes = nodes.after(answered, looked_up.members, at, cluster)
        silent = {name: since for name, since in self._nodes.silent(at).items() if name not in looked_up.online}
        return Statistics(at, put_together(texts, looked_up, at), silent, looked_up.rows)

    async def _look_up(self, broker: Broker) -> Listed | str:
        """Ask the management API; return why it does not answer."""
        try:
            return await self._list.read(broker)
        except _Problems as problem:
            return f"port {self._management_port}: {_say(problem)}"

    async def _ask_nodes(self, broker: Broker) -> tuple[list[str], str | None, BaseException | None]:
        """Return what nodes of this cluster say, the cluster's id, and the first problem if none says anything."""
        targets: dict[str, str | None] = {}  # address → the node that it is said to be
        problem: BaseException | None = None
        try:
            async with asyncio.timeout(TIMEOUT.total):
                targets = dict.fromkeys(await self._resolve(broker.host))
        except OSError as unresolved:  # TimeoutError is one
            problem = unresolved
        for name, addresses in (await self._find_nodes()).items():
            for address in addresses:
                if not _is_loopback(address):
                    targets.setdefault(address, name)
        answers = await asyncio.gather(*(self._ask(one, broker.vhost) for one in targets), return_exceptions=True)
        said = [(name, one) for name, one in zip(targets.values(), answers, strict=True) if isinstance(one, str)]
        own = (identify(text) for name, text in said if name is None)
        cluster = next((one.cluster for one in own if one), self._nodes.cluster)
        texts = [text for name, text in said if name is None or (cluster and identify(text) == Identity(name, cluster))]
        if not texts:
            problem = problem or next(
                (one for one in answers if isinstance(one, Exception)), OSError("no node answers")
            )
        return texts, cluster, None if texts else problem

    async def _find_nodes(self) -> dict[str, list[str]]:
        """Return the addresses of the nodes' own names; a name server that hangs holds up one thread for each name."""
        for name in self._nodes.heard:
            if name not in self._lookups and self._nodes.cluster:  # without it nobody can be told from a stranger
                self._lookups[name] = asyncio.ensure_future(self._resolve(name.partition("@")[2]))
        if self._lookups:
            await asyncio.wait(self._lookups.values(), timeout=LOOKUP)
        done = {name: self._lookups.pop(name) for name, lookup in list(self._lookups.items()) if lookup.done()}
        return {name: lookup.result() for name, lookup in done.items() if lookup.exception() is None}

    async def _ask(self, address: str, vhost: str) -> str:
        self._asked("bulk")
        host = f"[{address}]" if ":" in address else address
        query = {"family": "queue_coarse_metrics", "vhost": vhost}
        url = f"http://{host}:{self._metrics_port}/metrics/detailed"
        # Behind a Service a connection that is kept leads to the same node for good.
        async with self._http.get(url, params=query, headers={"Connection": "close"}, timeout=TIMEOUT) as answer:
            answer.raise_for_status()
            return await answer.text(errors="replace")  # a queue that somebody made may have any name


def parse_detailed(texts: Iterable[str], at: datetime, rows: Mapping[str, Row] | None = None) -> dict[str, Depth]:
    """Read the nodes' answers; where two nodes speak of one queue, the larger numbers count.

    Where `rows` tell a queue's leader, only that node is listened to: a former one's numbers stand still.
    """
    counts: dict[str, dict[str, int]] = {}
    for text in texts:
        node = identify(text) if rows else None
        for kind, labels, number in _ROW.findall(text):
            if found := _QUEUE.search(labels):
                name = found[1].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
                row = rows.get(name) if rows and node else None
                if row and node and row.leader not in ("", node.name):
                    continue
                known = counts.setdefault(name, {})
                known[kind] = max(known.get(kind, 0), int(float(number)))
    return {name: Depth(at, known.get("ready"), known.get("unacked")) for name, known in counts.items()}


def identify(text: str) -> Identity | None:
    found = _IDENTITY.search(text)
    return Identity(found[1], found[2]) if found else None


def put_together(texts: Iterable[str], listed: Listed, at: datetime) -> dict[str, Depth]:
    """What a queue's own node says comes first; a leader that no majority follows may be one of two."""
    depths = {**listed.depths, **parse_detailed(texts, at, listed.rows)}
    leaderless = {name for name, row in listed.rows.items() if not row.led}
    return {name: depth for name, depth in depths.items() if name not in leaderless}


async def _nothing() -> None:
    return None


async def _addresses(host: str) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _say(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
