"""Start and stop the operator's parts in order.

Start: the Lease first, then absent Secrets, then broker and statistics; the watch when the resource's CRD is there, and the loop
then, too. Without the Lease only the watch runs. Stop, on SIGTERM: the loop first, then the broker; nothing is written any more,
so the Lease is released; then the watch. A part that ends by itself ends the process, with exit status 1: Kubernetes starts it
again.
"""

import asyncio
import contextlib
import signal
from dataclasses import dataclass

import structlog

from leveret.telemetry.probes import LoopBeat
from leveret_operator.credentials import Credentials
from leveret_operator.leadership import Leadership
from leveret_operator.loop import CentralLoop
from leveret_operator.settings import Settings
from leveret_operator.tools import Tools
from leveret_operator.watch import Watch

log = structlog.get_logger(__name__)

WATCH_STOPS_WITHIN = 10.0  # s

Task = asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class Parts:
    settings: Settings
    credentials: Credentials
    tools: Tools
    watch: Watch
    loop: CentralLoop
    leadership: Leadership
    beat: LoopBeat


async def run(parts: Parts) -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    stop, watch_stop, watch_ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
    _stop_on_signals(stop)
    settings, tools = parts.settings, parts.tools
    log.info("started", namespace=settings.namespace)

    made, found = asyncio.Event(), asyncio.Event()

    async def credentials() -> None:
        await parts.leadership.held()
        await parts.credentials.make_absent()
        made.set()
        await parts.credentials.run()

    async def broker_link() -> None:
        await made.wait()
        await tools.broker.run(settings.places.broker, settings.pod)

    async def statistics() -> None:
        await made.wait()
        await tools.bulk.run()

    async def work() -> None:
        await found.wait()
        await made.wait()
        await parts.loop.run(tools)

    async def watch() -> None:
        await parts.watch.wait_for_resource()
        found.set()
        await parts.watch.run(watch_stop, watch_ready)

    async def listing() -> None:
        await found.wait()
        await parts.watch.keep_listing()

    async def keep_signals() -> None:
        """kopf takes the signals for itself when it starts; ours stop things in order."""
        await watch_ready.wait()
        _stop_on_signals(stop)
        await asyncio.Event().wait()

    beating = asyncio.create_task(parts.beat.run(), name="beat")
    signals = asyncio.create_task(keep_signals(), name="signals")
    leading = asyncio.create_task(parts.leadership.run(tools.api), name="Lease")
    secrets = asyncio.create_task(credentials(), name="credentials")
    broker = asyncio.create_task(broker_link(), name="broker")
    bulk = asyncio.create_task(statistics(), name="statistics")
    working = asyncio.create_task(work(), name="central loop")
    watching = asyncio.create_task(watch(), name="watch")
    listed = asyncio.create_task(listing(), name="lists beside the watch")
    stopping = asyncio.create_task(_wait(stop), name="stop")
    everything = {beating, signals, leading, secrets, broker, bulk, working, watching, listed, stopping}
    ended, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
    for part in (working, secrets, broker, bulk, leading, listed, signals):
        await _cancel(part)
    await parts.leadership.release(tools.api)
    watch_stop.set()
    await asyncio.wait({watching}, timeout=WATCH_STOPS_WITHIN if watch_ready.is_set() else 0)
    for part in (beating, stopping, watching):  # without a beat the kubelet ends what kopf might not
        await _cancel(part)
    return _exit_status(ended, stopping)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _cancel(task: Task) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


def _exit_status(ended: set[Task], stopping: Task) -> int:
    if stopping in ended:
        log.info("stopped")
        return 0
    for task in ended:
        problem = None if task.cancelled() else task.exception()
        log.error("a part ended; the process stops to be started again", part=task.get_name(), exc_info=problem)
    return 1


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
