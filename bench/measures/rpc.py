"""Calls of each reply style, 100 in flight, beside a bare aio-pika RPC with an exclusive callback queue.

On both sides a process of its own answers. Leveret's does what makes the job safe and its end known; nobody records that
meanwhile. A call's time may be 15 ms longer than a bare one's, so those are added to the reference's.
"""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial

from bench import references
from bench.measures import Figures, Measure, Turns
from bench.measures.broker_side import BARE, QUEUE, TYPE, BrokerSide, broker_side
from bench.measures.consume import consuming
from bench.processes import running
from bench.servers import Servers
from leveret import topology
from leveret.client.rpc import ConnectionConfig, Rpc, Style

CALLS, IN_FLIGHT = 2_000, 100
MAY_ADD = 15.0  # ms


@contextlib.asynccontextmanager
async def _open(servers: Servers) -> AsyncIterator[Turns]:
    place = servers.place("rpc")
    settings = {"BARE_URL": place.broker.url(), "BARE_QUEUE": BARE, "BARE_PREFETCH": str(IN_FLIGHT)}
    config = ConnectionConfig.from_url(place.broker.url())
    async with (
        broker_side(place.broker) as broker,
        consuming(place, IN_FLIGHT, "examples.bench.handlers:handlers"),
        running("bench.bare_rpc", settings),
        contextlib.AsyncExitStack() as stack,
    ):
        clients = {
            style: await stack.enter_async_context(
                await Rpc.connect(config, style, "bench.replies" if style is Style.FIXED else "")
            )
            for style in Style
        }
        bare = await references.Caller.open(broker.connection, BARE)
        await _calls(partial(clients[Style.DIRECT].call, QUEUE, TYPE, {}))  # until the consumer is warm
        yield Turns(partial(_leveret, broker, clients), partial(_bare, bare))


async def _leveret(broker: BrokerSide, clients: Mapping[Style, Rpc]) -> Figures:
    figures: dict[str, float] = {}
    for style, rpc in clients.items():
        rate, p50 = await _calls(partial(rpc.call, QUEUE, TYPE, {}))
        figures |= {f"rpc.{style}.rate": rate, f"rpc.{style}.p50": p50}
    await broker.empty(topology.EVENTS)
    return figures


async def _bare(bare: references.Caller) -> Figures:
    rate, p50 = await _calls(partial(bare.call, b"{}"))
    return {f"rpc.{style}.{name}": value for style in Style for name, value in (("rate", rate), ("p50", p50 + MAY_ADD))}


async def _calls(call: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return calls/s, and the median time of one in ms."""
    each: list[float] = []

    async def one_after_the_other() -> None:
        for _ in range(CALLS // IN_FLIGHT):
            began = time.perf_counter()
            await call()
            each.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))
    return len(each) / (time.perf_counter() - began), 1000 * statistics.median(each)


RPC = Measure(
    "rpc",
    "calls of each reply style, 100 in flight ÷ bare aio-pika RPC (its p50 and 15 ms)",
    _open,
    tuple(f"rpc.{style}.{name}" for style in Style for name in ("rate", "p50")),
)
