"""Stay connected to RabbitMQ: connect, work, and start again when the connection is gone.

Nothing is restored behind the caller's back: each connection is a new *session*, whose work declares, subscribes and
publishes from the start and is cancelled when the connection ends. The credentials are read anew for each, so a
rotated Secret takes effect at the next one. A broker that is too old, or whose virtual host is another installation's, is
hung up on before anything is done with it. One that has fallen silent is given up, see `liveness`; one that the broker closes
for a queue that it can't make is followed by one without that queue, see `unmade`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.connection import make_url
from aiormq import spec
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, ChannelPreconditionFailed

from leveret.ending import end
from leveret.rabbitmq.claim import BrokerShared, claim
from leveret.rabbitmq.closed_channels import heed_closing
from leveret.rabbitmq.declare import are_there, declare_apart
from leveret.rabbitmq.foreign import read_anything
from leveret.rabbitmq.liveness import LiveConnection, beat_and_look
from leveret.rabbitmq.opened_channels import keep_channels_few
from leveret.rabbitmq.read_frames import read_quickly
from leveret.rabbitmq.tls import tls_context
from leveret.rabbitmq.unmade import Unmade
from leveret.rabbitmq.version import BrokerTooOld, check_version
from leveret.settings import Broker, MissingSetting

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT = 10.0  # s
HEARTBEAT = 20  # s; the broker gives up after 40 to 60 s of silence, and we after 28, see `liveness`
CLOSED_WITHIN = 1.0  # s after a call that failed because of it, a connection is known to be closed
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # s between tries, half of it by chance
MADE_WITHIN, LOOKS_EVERY = 20.0, 2.0  # s, of a queue that can't be made; half by chance, whether it is there

BrokerErrors = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)


class BrokerGone(Exception):
    """The connection to the broker ended while it was in use."""


class Listener(Protocol):
    """Is told how the connection fares, for conditions, readiness and metrics."""

    def connected(self) -> None: ...

    def disconnected(self, because: str) -> None: ...


async def open_connection(broker: Broker, name: str, *, heartbeat: int = HEARTBEAT) -> AbstractConnection:
    """Connect once, under a name that the management pages show; `heartbeat` in seconds.

    Raises one of BrokerErrors, BrokerTooOld and BrokerShared among them; BadSetting where files for TLS can't be used.
    """
    read_anything()
    read_quickly()
    heed_closing()
    keep_channels_few()
    beat_and_look()
    # As the library has it for the login: without that a refused virtual host is called an invalid frame, and why is lost.
    spec.Connection.Open.valid_responses = ["Connection.OpenOk", "Connection.Close"]
    url = make_url(broker.url(), heartbeat=heartbeat)
    context = await asyncio.to_thread(tls_context, broker.tls) if broker.tls else None
    connection = LiveConnection(
        url,
        server_name=broker.tls.server_name if broker.tls else None,
        ssl_context=context,
        client_properties={"connection_name": name},
    )
    try:
        await connection.connect(timeout=CONNECT_TIMEOUT)
        check_version(_version(connection))
        if broker.installation:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await claim(connection, broker.installation, broker.vhost)
    except BaseException as problem:
        await connection.close()  # else it would try to when it is collected, perhaps without a loop
        if not isinstance(problem, (asyncio.CancelledError, StopAsyncIteration, RuntimeError)):
            raise
        # aiormq's ways to say that the broker hung up during the handshake, as one does that starts or stops. Its
        # CancelledError is not a wish of ours to stop.
        task = asyncio.current_task()
        if isinstance(problem, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise
        raise ConnectionResetError("the broker hung up while the connection was made") from problem
    return connection


def _version(connection: AbstractConnection) -> object:
    """What the broker said of itself in the handshake."""
    if connection.transport is None:
        raise ConnectionResetError("the broker hung up as soon as the connection was made")
    properties: object = connection.transport.connection.server_properties
    return properties.get("version") if isinstance(properties, dict) else None


async def stay_connected(
    read: Callable[[], Broker],
    name: str,
    work: Callable[[AbstractConnection], Awaitable[None]],
    listener: Listener | None = None,
    *,
    opens: Callable[[Broker, str], Awaitable[AbstractConnection]] = open_connection,
    draw: Callable[[], float] = random.random,
    lacks: Callable[[Mapping[str, str]], object] = lambda _: None,
) -> None:
    """Run `work` on a connection, again and again, until `work` returns by itself or this is cancelled.

    `work` is cancelled when its connection ends. Settings that `read` can't use, and broker errors out of `work`, end the
    session, not the process; other errors are raised. Between sessions: evenly from half to all of 0.2 s, doubled up to 5 s,
    and of 0.2 s again after a session that lasted; of 5 s for a broker that is too old or another installation's. So those
    who lost the same broker in the same moment don't come back in step. `opens` is how to connect once, `draw` gives numbers
    from 0 to 1; `lacks` is called with all queues that can't be made, and a sentence on each, when they change.
    """
    pause = FIRST_PAUSE

    async def another() -> AbstractConnection:
        try:
            return await opens(read(), f"{name} queues")
        except MissingSetting as problem:
            raise ConnectionError(str(problem)) from problem

    unmade = Unmade(another, lacks)
    while True:
        try:
            connection = await opens(read(), name)
        except (BrokerTooOld, BrokerShared) as problem:
            because, pause = str(problem), LONGEST_PAUSE
        except MissingSetting as problem:  # while a Secret is rotated, a key may be missing or wrong for a moment
            because = str(problem)
        except BrokerErrors as problem:
            because = f"{type(problem).__name__}: {problem}"
            unmade.try_at_once()
        else:
            if isinstance(connection, LiveConnection):
                connection.unmade = unmade
            async with connection:
                if listener:
                    listener.connected()
                started = asyncio.get_running_loop().time()
                because = await _session(connection, work, unmade, draw)
                if asyncio.get_running_loop().time() - started > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                    unmade.try_at_once()
            if because == "":
                return
        if listener:
            listener.disconnected(because)
        wait = pause * (1 + draw()) / 2
        log.warning("broker is not connected", because=because, next_try_seconds=round(wait, 2))
        await asyncio.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE)


async def _until_closed(connection: AbstractConnection) -> None:
    """Wait until the connection is closed, by whomever, or given up.

    Not with aio_pika's `closed()`: that comes true only if we close it ourselves.
    """
    gone = connection.given_up if isinstance(connection, LiveConnection) else asyncio.Event()
    connection.close_callbacks.add(lambda *_: gone.set())
    if connection.connected.is_set():
        await gone.wait()


async def make_again(connection: AbstractConnection, unmade: Unmade, draw: Callable[[], float]) -> None:
    """Try what can't be made, at once and after pauses that grow; meanwhile look whether somebody else has made it."""
    now = asyncio.get_running_loop().time
    while True:
        await unmade.some.wait()
        for name, part in unmade.parts().items():
            try:
                async with asyncio.timeout(MADE_WITHIN):
                    is_due = unmade.is_due(name, now(), draw())
                    if not is_due and not await are_there(connection.channel(publisher_confirms=False), [name]):
                        continue
                    await declare_apart(unmade, part, though=name)
            except ChannelPreconditionFailed:  # it's there, as somebody else wants it
                unmade.made(name)
            except (*BrokerErrors, RuntimeError) as problem:  # the last is what a closed connection raises
                log.debug("a queue still can't be made", queue=name, because=str(problem))
            else:
                unmade.made(name)
        await asyncio.sleep(LOOKS_EVERY * (1 + draw()) / 2)


async def _session(
    connection: AbstractConnection,
    work: Callable[[AbstractConnection], Awaitable[None]],
    unmade: Unmade,
    draw: Callable[[], float],
) -> str:
    """Run work until it returns (then '') or the connection is gone (then why)."""
    worker = asyncio.ensure_future(work(connection))
    closed = asyncio.ensure_future(_until_closed(connection))
    making = asyncio.ensure_future(make_again(connection, unmade, draw))
    try:
        await asyncio.wait({worker, closed}, return_when=asyncio.FIRST_COMPLETED)
        ended_itself = worker.done()
        if ended_itself and not worker.cancelled() and isinstance(worker.exception(), RuntimeError):
            await asyncio.wait({closed}, timeout=CLOSED_WITHIN)
        gone = closed.done()
    finally:
        await end((worker, closed, making))
    if worker.cancelled():  # by us, or by aiormq, which cancels calls whose connection is gone
        return "the connection was closed"
    problem = worker.exception()
    if isinstance(problem, (*BrokerErrors, BrokerGone)):
        return f"{type(problem).__name__}: {problem}"
    if isinstance(problem, RuntimeError) and gone:
        # What aio_pika raises where something is asked of a connection that has just been closed.
        return f"{type(problem).__name__}: {problem}"
    if problem:
        raise problem
    return "" if ended_itself else "the connection was closed"
