"""One client's connection: uvicorn's, with bounds for what a stranger may send and how slowly, and an end that cuts nobody.

All of it comes before authentication, since a head or a body that never ends never gets there.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from leveret_producer.health import Health
from leveret_producer.http.pace import BODY, FIRST_BYTE, HEAD, LEAST_RATE, Pace, Part
from leveret_producer.problems import Refused

log = structlog.get_logger(__name__)

MOST_HEAD = 32 << 10  # bytes of the request's line and headers
UNHEARD = 60.0  # s that an answer may wait to be taken
AT_REST = 5.0  # s: as long as clients keep a connection that they don't use


class TooLarge(Exception):
    """A head is; httptools ends the request with it."""


class Connection(HttpToolsProtocol):
    """What the server makes for each client. `look` is to be called every second."""

    def __init__(self, *args: Any, health: Health, clock: Callable[[], float] = time.monotonic, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._health, self._clock = health, clock
        self._pace = Pace(clock())
        self._head = 0  # bytes of the head that is being read
        self._began = False  # a head began within what came last

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        connected = transport.get_extra_info("socket")
        if connected is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNHEARD * 1000))

    # -- what the parser calls

    def data_received(self, data: bytes) -> None:
        self._began = False
        super().data_received(data)
        if self._pace.part is Part.HEAD and not self._began:  # one header that doesn't end is told of at its end only
            self._head += len(data)
            if self._head > MOST_HEAD:
                self._refuse(_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head, self._began = 0, True
        self._pace.begins(Part.HEAD, self._clock())

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._pace.begins(Part.BODY, self._clock())
        if self._health.stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._pace.received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._pace.begins(Part.DONE, self._clock())
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._pace.part is Part.DONE:
            self._pace.begins(Part.DONE, self._clock())
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for whatever the parser can't take."""
        if self._head > MOST_HEAD:
            self._refuse(_too_large())
        else:
            self._refuse(Refused("malformed-request", "This is not HTTP/1.1 as RFC 9112 has it; nothing was stored."))

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MOST_HEAD:
            raise TooLarge

    # -- what the server calls

    def look(self) -> None:
        """End the connection if its client takes too long."""
        now, cycle = self._clock(), self._cycle()
        if self.flow.read_paused or (cycle is not None and cycle.waiting_for_100_continue):
            if self._pace.part is not Part.NOTHING:
                self._pace.begins(self._pace.part, now)  # it's we who are late
        elif self._pace.is_late(now) and not self.transport.is_closing():
            answered = cycle is not None and cycle.response_complete
            if self._pace.part is Part.NOTHING or (self._pace.part is Part.BODY and answered):
                self.transport.close()
            else:
                self._refuse(_too_slow(self._pace.part))

    def stops(self) -> None:
        """Say at the end of the answer that is being made that it is the last."""
        if (cycle := self._cycle()) is not None:
            cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close now what can have no request on its way: else it is answered first, or has rested for long enough."""
        self.stops()
        rested = self._clock() - self._pace.since
        if self._pace.part is Part.NOTHING or (self._at_rest() and rested >= AT_REST):
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(max(AT_REST - rested, 0.1), self.shutdown)

    def _cycle(self) -> RequestResponseCycle | None:
        """The newest request and its answer; none before the first."""
        return self.cycle

    def _at_rest(self) -> bool:
        cycle = self._cycle()
        return self._pace.part is Part.DONE and (cycle is None or cycle.response_complete)

    def _refuse(self, why: Refused) -> None:
        """Answer and close; where an answer is under way, only what came after its request is dropped."""
        cycle = self._cycle()
        if cycle is not None and not cycle.response_complete:
            if self._pace.part is Part.HEAD or cycle.response_started:
                cycle.keep_alive = False
                self.flow.pause_reading()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        log.info("a request is refused", because=why.problem.detail)
        response = why.response()
        head = b"".join(b"%s: %s\r\n" % pair for pair in response.raw_headers)
        status = b"HTTP/1.1 %d %s\r\n" % (response.status_code, why.problem.title.encode())
        self.transport.write(status + head + b"connection: close\r\n\r\n" + bytes(response.body))
        self.transport.close()


def _too_large() -> Refused:
    return Refused(
        "header-too-large",
        f"The request's line and headers may have {MOST_HEAD >> 10} KiB; nothing was stored.",
    )


def _too_slow(part: Part) -> Refused:
    within = f"its headers within {HEAD:.0f} s"
    if part is Part.BODY:
        within = f"its body within {BODY:.0f} s and one more for each {LEAST_RATE >> 10} KiB"
    return Refused(
        "request-timeout",
        f"A request has to come with {within} (and its first byte within {FIRST_BYTE:.0f} s); nothing was stored. "
        "Send it again.",
    )
