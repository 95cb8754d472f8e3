"""Call a handler and wait for its answer, over a connection that is made again whenever it's gone.

Each call ends once, within its time-out: with its result, or with an error that tells whether its job may run. Nothing is
sent twice. A call that is not sent yet waits for a connection, and for the end of an alarm of the broker. Of those that were
sent when the connection goes, the ones with a fixed reply queue wait on; the others' replies die with it, and they end as
`Disconnected`.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

import structlog
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from leveret.client.rpc.calls import Calls
from leveret.client.rpc.cancels import TIMEOUT, Cancels
from leveret.client.rpc.config import ConnectionConfig
from leveret.client.rpc.errors import CallError, Closed, DeadlineExceeded, Disconnected, Published, QueueTaken, Refused
from leveret.client.rpc.messages import Reply, Request, read_reply, request
from leveret.client.rpc.session import Place, Session, Style, place_of
from leveret.client.rpc.waiter import Waiter, error
from leveret.ending import end
from leveret.rabbitmq import alarm
from leveret.rabbitmq.connection import BrokerErrors, BrokerGone, stay_connected
from leveret.rabbitmq.tls import tls_context

log = structlog.get_logger(__name__)

Config = ConnectionConfig | Callable[[], ConnectionConfig]


class Rpc:
    """Made by `connect`; an async context manager that closes it."""

    def __init__(self, read: Callable[[], ConnectionConfig], place: Place, name: str) -> None:
        self._place = place
        self._calls: Calls[Waiter] = Calls()
        self._cancels = Cancels()
        self._session: Session | None = None
        self._connected = asyncio.Event()
        self._because = "not yet"  # there is no connection
        self._was_connected = False
        self._closed: CallError | None = None  # what calls are refused with
        self._staying = asyncio.create_task(
            stay_connected(lambda: read().broker(), name, self._work, _Told(self._lost))
        )
        self._staying.add_done_callback(self._over)

    @classmethod
    async def connect(
        cls,
        config: Config,
        style: Style | str = Style.DIRECT,
        queue: str = "",
        *,
        within: float | None = 10.0,
        expires: float = 600.0,
        name: str = "leveret-rpc",
    ) -> Self:
        """Connect, and stay connected until `close`; `config` may be a function, which is called for each connection.

        `queue` is the fixed reply queue, which the broker deletes after `expires` seconds without a client; in the exclusive
        style what the queue's name begins with. `within` seconds it must be connected; None returns at once, and calls wait.
        `name` is what the broker's pages show. Raises QueueTaken, Refused, Disconnected, ValueError, MissingSetting.
        """
        place = place_of(Style(style), queue, expires)
        read = config if callable(config) else lambda: config
        if tls := read().tls:  # what can't be used is told at once
            tls_context(tls)
        rpc = cls(read, place, name)
        if within is not None:
            try:
                await rpc._first(within)
            except BaseException:
                await end((rpc._staying,))
                raise
        return rpc

    async def call(
        self, queue: str, type: str, payload: object, timeout: float = 30.0, *, cancel: bool = False
    ) -> Reply:
        """Have a handler do a job; return what it answers. `timeout` in seconds; the job's deadline is the same.

        With `cancel` a call that is cancelled, as by `asyncio.timeout`, has its job cancelled too; as for `cancel`, below.
        Raises CallError: Dead, Cancelled, QueueGone, DeadlineExceeded, Disconnected, Refused, Closed, UnreadableReply;
        ValueError for what can't be sent.
        """
        loop = asyncio.get_running_loop()
        asked = request(queue, type, payload, timeout, correlation_id=str(uuid4()), now=datetime.now(UTC))
        if self._closed:
            raise self._closed.__class__(str(self._closed))
        waiter, key = Waiter(asked, loop.create_future()), asked.correlation_id
        self._calls.begin(key, waiter)
        timer = loop.call_later(timeout, self._late, key, timeout)
        sending = loop.create_task(self._send(asked))
        sending.add_done_callback(partial(self._sent, key))
        try:
            return await waiter.future
        finally:
            timer.cancel()
            sending.cancel()
            given_up = self._calls.end(key)  # None where it has ended by itself
            if cancel and given_up and given_up.published is not Published.NO:
                self._cancels.ask_later(queue, asked.job)

    async def cancel(self, queue: str, job: UUID, timeout: float = TIMEOUT) -> None:
        """Ask for a job to be cancelled, as the one that an error names; return once the broker has that.

        The user needs the right to write to `leveret.events`, with the key `cancel.<queue>`. Raises Refused, Closed, and
        DeadlineExceeded where the broker did not take it within `timeout` seconds.
        """
        if self._closed:
            raise self._closed.__class__(str(self._closed))
        await self._cancels.ask(queue, job, timeout)

    async def close(self, within: float = 10.0) -> None:
        """Take no more calls, wait for those in flight for so many seconds, end the others as Closed, and disconnect."""
        self._closed = self._closed or Closed("The client was closed")
        if waiting := [waiter.future for waiter in self._calls.waiters()]:
            await asyncio.wait(waiting, timeout=within)
        self._end_all("The client was closed before there was an answer", Closed)
        await self._cancels.close(within)
        await end((self._staying,))

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    @property
    def in_flight(self) -> int:
        """Calls that wait for their answer."""
        return len(self._calls)

    @property
    def orphans(self) -> int:
        """Replies so far that nobody waited for."""
        return self._calls.orphans

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _first(self, within: float) -> None:
        connected = asyncio.create_task(self._connected.wait())
        try:
            await asyncio.wait({connected, self._staying}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connected.cancel()
        if self._staying.done():
            self._staying.result()
        if not self._connected.is_set():
            raise Disconnected(f"There is no connection to the broker after {within:g} s: {self._because}")

    async def _work(self, connection: AbstractConnection) -> None:
        """One connection, as long as it lasts."""
        try:
            session = await Session.open(connection, self._place, self._heard)
        except (QueueTaken, Refused) as problem:
            if self._was_connected:  # perhaps by our own last connection, which the broker still believes in
                raise BrokerGone(str(problem)) from problem
            raise
        self._session, self._was_connected = session, True
        self._connected.set()
        self._cancels.begin(connection)
        try:
            await session.lasts(connection)
        finally:
            self._leave(session)

    def _leave(self, session: Session) -> None:
        """Send nothing more over it: at once when a publish fails, while the connection's end is still to be noticed."""
        if session is self._session:
            self._session = None
            self._connected.clear()
            self._cancels.pause()

    async def _send(self, asked: Request) -> None:
        while True:
            await self._connected.wait()
            session = self._session
            assert session is not None
            async with session.window:
                await session.alarm.over()
                if session is self._session:
                    # From here on a connection that goes ends the call, or leaves it to wait: nothing is sent twice.
                    self._calls.note(asked.correlation_id, Published.UNKNOWN)
                    published = await session.send(asked)
                    self._calls.note(asked.correlation_id, published)
                    if published is Published.UNKNOWN:
                        self._leave(session)
                    return

    def _sent(self, key: str, sending: "asyncio.Task[None]") -> None:
        if not sending.cancelled() and (problem := sending.exception()) and (call := self._calls.end(key)):
            call.waiter.wake(problem)

    async def _heard(self, message: AbstractIncomingMessage) -> None:
        if call := self._calls.answered(message.correlation_id):
            call.waiter.wake(read_reply(call.waiter.asked, message.headers, message.body))
        else:
            log.debug("a reply that nobody waits for", correlation_id=message.correlation_id)
        if self._place.outlives:
            try:
                await message.ack()
            except (*BrokerErrors, RuntimeError) as problem:  # it comes again on the next connection, and nobody waits
                log.debug("a reply could not be acknowledged", because=str(problem))

    def _late(self, key: str, timeout: float) -> None:
        if call := self._calls.end(key):
            because = f"There was no answer within {timeout:g} s"
            if self._session is None:
                because += f", and there is no connection to the broker: {self._because}"
            elif self._session.alarm.raised:
                because += f"; the broker is {alarm.TEXT}"
            call.waiter.wake(error(DeadlineExceeded, because, call))

    def _lost(self, because: str) -> None:
        self._because = because
        if not self._place.outlives:
            for call in self._calls.lose():
                call.waiter.wake(error(Disconnected, f"The connection to the broker is gone: {because}", call))

    def _over(self, staying: "asyncio.Task[None]") -> None:
        """Leave nobody waiting when the connection is not made again."""
        problem = None if staying.cancelled() else staying.exception()
        if problem:
            log.error("the client has stopped", because=f"{type(problem).__name__}: {problem}")
        because = str(problem) if isinstance(problem, CallError) else f"The client has stopped: {problem!r}"
        kind = type(problem) if isinstance(problem, CallError) else Closed
        self._closed = self._closed or kind(because)
        self._end_all(because, kind)

    def _end_all(self, because: str, kind: type[CallError]) -> None:
        for call in self._calls.end_all():
            call.waiter.wake(error(kind, because, call))


class _Told:
    """Hands on that the connection is gone, or could not be made."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        self.disconnected = lost

    def connected(self) -> None: ...
