"""Give a connection up before the broker does, once its other side is not heard any more or does not hear us.

A broker that has heard nothing for two to three heartbeats gives what it delivered to others. Whoever still believes in the
connection by then does their work a second time, at the same time. So it's given up after 1.4 heartbeats, measured from the
last octet that came, or from the last of ours that the other side acknowledged: the broker sends one every half heartbeat,
and so do we. That is 56 s of a consumer's 40 (28 s of the others' 20), in which what the network lost has been sent again
25 and 51 s after, as Linux does.

The kernel tells both, also of a process that was paused or a loop that stood, and of octets that are no whole frame yet. What
waits for the broker's window says nothing: under an alarm a broker takes none of ours for hours, and is heard all along.
A proxy that takes octets for a broker that it can't reach acknowledges them; then it is the broker who gives up.

What the kernel can't tell is whether we ourselves take what came and write what waits. Nothing but a flaw keeps the one who
reads from reading, or the one who writes from writing where there is room, and nobody would notice: jobs that have ended
stand until somebody restarts the consumer. So that counts as a lost connection too, once it was so at many looks in a row.

Our client library has one place for this, its heartbeats: `beat_and_look` changes them for the whole process. They are not
queued behind what waits to be written, either: that is proof enough of life, and a full queue ended the connection.
"""

import array
import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import msgspec
import structlog
from aiormq.abc import ChannelFrame
from aiormq.connection import Connection, TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.heartbeat import Heartbeat
from yarl import URL

from leveret.rabbitmq.joined_writes import JoinedWrites
from leveret.rabbitmq.unmade import Unmade

log = structlog.get_logger(__name__)

LIMIT = 1.4  # heartbeats
STOPS_WITHIN = 0.5  # s for whoever works over a connection that is given up, before the broker may know
CLOSES_WITHIN = 3.0  # s for the broker's answer; it reads nothing under an alarm
LOOKS_STOOD = 20  # in a row; they are counted, so that a pause of ours is one
_LOOKS_EVERY = 1.0  # s at most

_TCP_INFO = struct.Struct(
    "=24xI24xI64xQ100xI"
)  # tcpi_unacked, _last_data_recv, _bytes_acked, _snd_wnd: Linux 5.4 or later
_library_beats: Any = Connection._Connection__heartbeat  # type: ignore[attr-defined]


class Octets(msgspec.Struct, frozen=True):
    """What the kernel tells of a connection."""

    came_ago: float  # s since the last one came; 0 while some wait to be read
    acknowledged: int  # of ours, so far
    on_their_way: bool  # of ours, though the other side has room for them
    unread: bool = False  # some have come, or the end, and the one who reads waits for something else
    unwritten: bool = False  # frames wait, though the socket takes all that it's given


class Heard(msgspec.Struct, frozen=True):
    """How well the other side hears us, after a look."""

    acknowledged: int
    acknowledged_at: float
    waits_since: float | None = None  # for an acknowledgement
    unread: int = 0  # looks in a row
    unwritten: int = 0


def look(before: Heard, octets: Octets, now: float, *, took: bool = True) -> Heard:
    """`took` tells whether a frame was taken up since the last look."""
    heard = _hears(before, octets, now)
    wrote = octets.acknowledged != before.acknowledged
    return msgspec.structs.replace(
        heard,
        unread=before.unread + 1 if octets.unread and not took else 0,
        unwritten=before.unwritten + 1 if octets.unwritten and not wrote else 0,
    )


def _hears(before: Heard, octets: Octets, now: float) -> Heard:
    if octets.acknowledged != before.acknowledged:
        return Heard(octets.acknowledged, now, now if octets.on_their_way else None)
    if not octets.on_their_way:
        return msgspec.structs.replace(before, waits_since=None)
    return before if before.waits_since is not None else msgspec.structs.replace(before, waits_since=now)


def lost(heard: Heard, octets: Octets, now: float, limit: float) -> str:
    """Return why the connection is lost, '' if it isn't; `limit` in seconds.

    Whoever was paused may have sent its first octets for long only just now: they have half of the limit.
    """
    if octets.came_ago >= limit:
        return f"nothing came from the broker for {octets.came_ago:.0f} s"
    if max(heard.unread, heard.unwritten) >= LOOKS_STOOD:
        return "what came from the broker is not read" if heard.unread >= LOOKS_STOOD else "what waits is not written"
    if heard.waits_since is None:
        return ""
    unheard = min(now - heard.acknowledged_at, 2 * (now - heard.waits_since))
    return f"the broker has not heard us for {now - heard.acknowledged_at:.0f} s" if unheard >= limit else ""


class Link(TransportFactory):
    """One connection's socket."""

    def __init__(self, server_name: str | None = None) -> None:
        """`server_name`: that a certificate is for, where that is not the host's."""
        self.give_up: Callable[[str], Awaitable[object]] | None = None
        self._server_name = server_name
        self._reader: Any = None
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        factory: TransportFactory = TCPTransportFactory()
        if url.scheme == "amqps":
            factory = TLSTransportFactory()
            kwargs |= {"server_hostname": self._server_name} if self._server_name else {}
        self._reader, writer = await factory.create(url, **kwargs)
        self._writer = JoinedWrites(writer, self._reader)
        return self._reader, self._writer

    def octets(self, frames: int = 0) -> Octets | None:
        """None where the kernel doesn't tell; `frames` is how many wait to be written."""
        tcp_info = getattr(socket, "TCP_INFO", None)
        its = self._writer.get_extra_info("socket") if self._writer else None
        if tcp_info is None or self._writer is None or its is None or its.fileno() < 0:
            return None
        waiting = array.array("i", [0])
        try:
            told = its.getsockopt(socket.IPPROTO_TCP, tcp_info, _TCP_INFO.size)
            fcntl.ioctl(its.fileno(), termios.FIONREAD, waiting)
        except OSError:
            return None
        if len(told) < _TCP_INFO.size:
            return None
        unacknowledged, came_ago, acknowledged, room = _TCP_INFO.unpack(told)
        return Octets(
            0.0 if waiting[0] else came_ago / 1000,
            acknowledged,
            unacknowledged > 0 and room > 0,
            # The stream has no word for either: whether somebody waits for it, and whether there is something to wait for.
            unread=self._reader._waiter is None and bool(waiting[0] or self._reader._buffer or self._reader.at_eof()),
            unwritten=frames > 0 and self._writer.transport.get_write_buffer_size() == 0,
        )

    def hang_up(self) -> None:
        """At once, whatever is still to be written."""
        if self._writer:
            self._writer.transport.abort()


class LiveConnection(aio_pika.Connection):
    """A connection that is given up in time, and closed in time."""

    def __init__(self, url: URL, *, server_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(url, **kwargs)
        self.given_up = asyncio.Event()  # its socket is closed half a second later
        self.unmade = Unmade()
        self._link = Link(server_name)
        self._link.give_up = self._give_up
        self.kwargs["transport_factory"] = self._link

    async def close(self, *why: Any) -> None:
        late = self.loop.call_later(CLOSES_WITHIN, self._link.hang_up)
        try:
            await super().close(*why)
        finally:
            late.cancel()

    async def _give_up(self, because: str) -> None:
        """Tell whoever works over it first: the broker gives its jobs to others as soon as it sees that nobody is there."""
        log.warning("the connection to the broker is given up", because=because)
        self.given_up.set()
        await asyncio.sleep(STOPS_WITHIN)
        self._link.hang_up()


def beat_and_look() -> None:
    """Have every connection of this process that `Link` made do so."""
    Connection._Connection__heartbeat = _beat  # type: ignore[attr-defined]


async def _beat(connection: Connection) -> None:
    link = connection._transport_factory
    if not isinstance(link, Link) or link.give_up is None or (octets := link.octets()) is None:
        await _library_beats(connection)
        return
    now, limit = connection.loop.time(), LIMIT * connection.heartbeat_timeout
    beats_at, heard = now, Heard(octets.acknowledged, now)
    took_at = connection._Connection__last_frame_time  # type: ignore[attr-defined]
    while (octets := link.octets(connection.write_queue.qsize())) is not None:
        now, took_before = connection.loop.time(), took_at
        took_at = connection._Connection__last_frame_time  # type: ignore[attr-defined]
        if now >= beats_at and connection.write_queue.empty():
            connection.write_queue.put_nowait(ChannelFrame.marshall(frames=[Heartbeat()], channel_number=0))
            beats_at = now + connection.heartbeat_timeout / 2
        heard = look(heard, octets, now, took=took_at != took_before)
        if because := lost(heard, octets, now, limit):
            await link.give_up(because)
            return
        await asyncio.sleep(min(_LOOKS_EVERY, limit / LOOKS_STOOD))
    await asyncio.sleep(CLOSES_WITHIN)  # this ends with the connection, mostly in that time
    await link.give_up("its socket is closed, and nobody has noticed")
