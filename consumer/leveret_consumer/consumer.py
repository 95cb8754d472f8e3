"""A consumer's life: start, run until asked to stop, drain, end. Every wait after the first signal is bounded."""

import asyncio
import random
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog

from leveret.rabbitmq.connection import open_connection, stay_connected
from leveret.sdk.handlers import Handlers, Pool
from leveret.settings import BadSetting, Broker, Places
from leveret.telemetry.probes import LoopBeat, ProbeServer
from leveret_consumer.attempt import Attempts, Rules
from leveret_consumer.commands import Commands
from leveret_consumer.control_inbox import ControlInbox
from leveret_consumer.jobqueue_inbox import JobQueueInbox
from leveret_consumer.lane import lane
from leveret_consumer.load import Heartbeats, Load
from leveret_consumer.loading import check_marks
from leveret_consumer.pools import LoopPool, ThreadPool, WorkPool
from leveret_consumer.prefetch import Prefetching
from leveret_consumer.remembered import Remembered
from leveret_consumer.reports import Reports
from leveret_consumer.session import Process, Session
from leveret_consumer.settings import Settings
from leveret_consumer.status import Status, Stop
from leveret_consumer.watchdog import Watchdog

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = structlog.get_logger(__name__)

# s. The broker hangs up on one that it hasn't heard of at two looks in a row, 40 s apart, and a loop that stops turning may
# have sent its last heartbeat 20 s before: so it bears with us for 60 s at least, and the watchdog ends us after 50. In a cut
# it gives our jobs away 80 to 120 s after the last octet; we have given the connection up after 57, see `liveness`.
HEARTBEAT = 40
# s, one after the other from the end of `grace` on. With the 2 s of `__main__` they are less than the pod has left by then,
# `settings.KEPT_FOR_THE_END`: else SIGKILL would come first.
DRAINS_WITHIN = 4.5  # with the last confirms
CLOSES_WITHIN = 1.0
CLEANS_UP_WITHIN = 1.0  # for handlers that were cut off


class Shown(msgspec.Struct, frozen=True):
    """What is seen of a process from outside, from before its handlers are imported."""

    load: Load
    status: Status
    beat: LoopBeat
    probes: ProbeServer


def show(settings: Settings) -> Shown:
    """Answer probes from now on, in threads; raise BadSetting if the port can't be had."""
    load, status = Load(settings.concurrency), Status(settings.queue)
    beat = LoopBeat(begins_within=settings.startup_timeout.total_seconds())
    try:
        probes = ProbeServer(
            partial(_metrics, settings.queue, load),
            beat=beat,
            readiness=status.readiness,
            port=settings.probe_port,
        )
    except OSError as problem:
        raise BadSetting(
            f"port {settings.probe_port} for metrics and probes can't be opened ({problem.strerror}): "
            "set LEVERET_PROBE_PORT to a free one, or to 0 for any"
        ) from problem
    probes.start()
    return Shown(load, status, beat, probes)


def _metrics(queue: str, load: Load) -> "CollectorRegistry":
    from leveret_consumer.metrics import registry  # which loads Prometheus' client

    return registry(queue, load)


async def serve(settings: Settings, handlers: Handlers, places: Places, shown: Shown | None = None) -> int:
    """Run until stopped; return the exit code. Work may be left that can't be stopped. `shown` is None if nothing is yet."""
    shown = shown or show(settings)
    stop, load = Stop(), shown.load
    pools = _pools(settings, handlers)
    process = _process(settings, handlers, stop, shown, pools)
    beating = asyncio.create_task(shown.beat.run())
    watchdog = _watchdog(pools)
    watchdog.start()
    shown.status.starts("not connected to the broker yet")
    _on_signals(stop)
    log.info("started", queue=settings.queue, slots=settings.concurrency, types=sorted(handlers), pod=settings.pod)
    try:
        await stop.unless_asked(check_marks(handlers))
        await _until_stopped(process, places.broker)
    finally:
        process.remembered.stop()
        for pool in pools.values():
            pool.close()
        await _cleaned_up(load)
        watchdog.close()
        beating.cancel()
        shown.probes.close()
    log.info("stopped", because=stop.because, exit_code=stop.exit_code)
    return stop.exit_code


async def _cleaned_up(load: Load) -> None:
    """Give what was cancelled a moment to clean up after itself."""
    loop = asyncio.get_running_loop()
    end = loop.time() + CLEANS_UP_WITHIN
    while load.busy and loop.time() < end:  # noqa: ASYNC110 - once, at the end of the process
        await asyncio.sleep(0.01)


async def _until_stopped(process: Process, read: Callable[[], Broker]) -> None:
    stop, status = process.stop, process.status
    name = f"leveret-consumer {process.settings.pod} {process.settings.queue}"
    opens = partial(open_connection, heartbeat=HEARTBEAT)
    staying = stay_connected(
        read, name, partial(Session.run, process), status, opens=opens, lacks=partial(status.lacks, "jobs")
    )
    connected = asyncio.create_task(staying)
    following = asyncio.create_task(process.control.run(read, f"{name} control"))  # until the last job has ended
    try:
        asked = asyncio.create_task(stop.asked.wait())
        await asyncio.wait({connected, following, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if following.done():
            following.result()
        if not connected.done():
            await _until_drained(process, connected)
        if connected.done():
            connected.result()
    finally:
        status.drains(stop.because)
        connected.cancel()
        following.cancel()
        await asyncio.wait({connected, following}, timeout=CLOSES_WITHIN)


async def _until_drained(process: Process, connected: "asyncio.Task[None]") -> None:
    """Wait for the session to drain: not at all without one, and not beyond the grace period or a second signal."""
    no_session = asyncio.create_task(process.status.no_session.wait())
    at_once = asyncio.create_task(process.stop.at_once.wait())
    longest = process.stop.left(process.settings.grace.total_seconds() + DRAINS_WITHIN)
    try:
        await asyncio.wait({connected, no_session, at_once}, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
    finally:
        no_session.cancel()
        at_once.cancel()


def _process(settings: Settings, handlers: Handlers, stop: Stop, shown: Shown, pools: dict[Pool, WorkPool]) -> Process:
    reports = Reports()

    def overrun(what: str) -> None:
        log.error("work can't be stopped: its slot is lost, so this consumer drains and restarts", what=what)
        stop.ask(what, exit_code=1)

    prefetching = Prefetching(settings.concurrency, settings.timeout, has_source=settings.source_queue is not None)
    jobqueue = JobQueueInbox(
        settings.queue,
        settings.version,
        now=_now,
        limits=settings.judges_after,
        told_run_seconds=prefetching.told,
    )
    commands = Commands(settings.queue)
    attempts = Attempts(
        Rules(settings.pod, settings.timeout, settings.retry),
        pools,
        shown.load,
        reports,
        now=_now,
        draw=random.random,
        overrun=overrun,
        judge=jobqueue.judge,
        commands=commands,
    )
    return Process(
        settings=settings,
        handlers=handlers,
        attempts=attempts,
        remembered=Remembered(settings.concurrency),
        load=shown.load,
        reports=reports,
        heartbeats=Heartbeats(settings.pod, settings.queue, shown.load, _now),
        status=shown.status,
        stop=stop,
        now=_now,
        jobqueue=jobqueue,
        control=ControlInbox(commands, shown.load, shown.status, now=_now, changed=attempts.stop_cancelled),
        prefetching=prefetching,
        lane=lane(settings.lane),
    )


def _pools(settings: Settings, handlers: Handlers) -> dict[Pool, WorkPool]:
    """Those that the handlers need."""
    makers: dict[Pool, Callable[[], WorkPool]] = {
        Pool.LOOP: LoopPool,
        Pool.THREAD: lambda: ThreadPool(settings.concurrency),
        Pool.PROCESS: partial(_processes, settings),
    }
    return {pool: makers[pool]() for pool in {handler.pool for handler in handlers.values()}}


def _processes(settings: Settings) -> WorkPool:
    from leveret_consumer.pools.processes import ProcessPool  # which loads what few consumers need

    return ProcessPool(
        settings.concurrency,
        settings.handlers,
        settings.log,
        settings.timeout,
        boots_within=settings.startup_timeout.total_seconds(),
    )


def _watchdog(pools: dict[Pool, WorkPool]) -> Watchdog:
    on_loop = pools.get(Pool.LOOP)
    jobs = on_loop.jobs if isinstance(on_loop, LoopPool) else list[str]
    return Watchdog(asyncio.get_running_loop().call_soon_threadsafe, jobs)


def _on_signals(stop: Stop) -> None:
    loop = asyncio.get_running_loop()
    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, stop.signalled, which.name)


def _now() -> datetime:
    return datetime.now(UTC)
