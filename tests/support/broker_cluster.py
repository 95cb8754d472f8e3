"""A broker of three nodes on a network of their own, and one address for all of them, as a Service of Kubernetes has it."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from containers import LABEL, RABBITMQ_DATA, Server, docker, free_port, in_memory

from leveret.settings import Broker

NODES = ("n1", "n2", "n3")
PORTS = (5672, 15672, 15692)
SMALL = ("--memory", "400m", "-e", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1")
LOGIN = (
    "-e",
    "RABBITMQ_ERLANG_COOKIE=three",
    "-e",
    "RABBITMQ_DEFAULT_USER=leveret",
    "-e",
    "RABBITMQ_DEFAULT_PASS=leveret",
)


@dataclass(frozen=True)
class BrokerCluster:
    servers: dict[str, Server]  # by the host in the node's name
    addresses: dict[str, str]  # likewise; from here they lead to the containers
    gone: set[str] = field(default_factory=set)  # where the one address leads no more

    async def resolve(self, host: str) -> list[str]:
        """Give a host's addresses, as the name server of a Kubernetes would; others are addresses already."""
        return [self.addresses.get(host, host)]

    def lead(self, places: dict[str, str]) -> None:
        """Have each queue led by a node."""
        pairs = ", ".join(f'{{<<"{queue}">>, rabbit@{node}}}' for queue, node in places.items())
        self.servers[NODES[0]].run(
            "rabbitmqctl", "-q", "eval",
            f"[begin {{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, Name)), "
            f"rabbit_quorum_queue:transfer_leadership(Q, Node) end || {{Name, Node}} <- [{pairs}]].",
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def behind_one_address(self) -> AsyncIterator[Broker]:
        """Lead each new connection to the next node, whether or not it is up, unless it's called gone."""
        host = f"127.77.{free_port() // 256}.{free_port() % 256}"
        nodes = (self.addresses[node] for node in itertools.cycle(NODES) if node not in self.gone)
        async with contextlib.AsyncExitStack() as stack:
            for port in PORTS:
                await stack.enter_async_context(_forwarding(host, port, nodes))
            yield Broker(host, 5672, "leveret", "leveret", "/")


@contextlib.contextmanager
def broker_cluster() -> Iterator[BrokerCluster]:
    network = f"leveret-test-{free_port()}"
    docker("network", "create", "--label", LABEL, network)
    servers = {node: _server(network, node) for node in NODES}
    try:
        for server in servers.values():
            server.begin()
        for server in servers.values():
            server.wait()
        for node in NODES[1:]:
            steps = ("stop_app", f"join_cluster rabbit@{NODES[0]}", "start_app")
            servers[node].run("sh", "-ec", "; ".join(f"rabbitmqctl -q {step}" for step in steps))
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        addresses = {node: docker("inspect", "-f", form, server.name) for node, server in servers.items()}
        yield BrokerCluster(servers, addresses)
    finally:
        for server in servers.values():
            server.remove()
        docker("network", "rm", network)


def _server(network: str, node: str) -> Server:
    name = f"{network}-{node}"
    memory, mounted = in_memory(name, RABBITMQ_DATA)
    placed = ("--hostname", node, "--network", network, "--network-alias", node, "--label", LABEL)
    created = ("run", "-d", "--name", name, *placed, *LOGIN, *SMALL, *mounted, "rabbitmq:4.3-management")
    return Server(name, {}, _runs, created, memory)


def _runs(server: Server) -> bool:
    return "Server startup complete" in server.said(50)


@contextlib.asynccontextmanager
async def _forwarding(host: str, port: int, nodes: Iterator[str]) -> AsyncIterator[None]:
    tasks: set[asyncio.Task[None]] = set()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            far_reader, far_writer = await asyncio.open_connection(next(nodes), port)
            with contextlib.closing(far_writer):
                await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(lead(reader, writer)))

    async with await asyncio.start_server(accept, host, port):
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()
    finally:
        writer.close()
