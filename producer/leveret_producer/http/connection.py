"""One client's connection: uvicorn's, with bounds for what a stranger may send and how slowly, and an end that cuts nobody.

All of it comes before authentication, since a head or a body that never ends never gets there. Whoever is refused is told
why, after the answers to what it asked before.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from leveret_producer.health import Health
from leveret_producer.http import refusals
from leveret_producer.http.pace import ANSWER, Pace, Part
from leveret_producer.problems import Refused

log = structlog.get_logger(__name__)

MOST_WAITING = 64  # requests on one connection that others are before: each is some KiB, and 14,000 come in one segment
AT_REST = 5.0  # s: as long as clients keep a connection that they don't use


class Full(Exception):
    """As many requests wait as may; httptools reads no further."""


class Connection(HttpToolsProtocol):
    """What the server makes for each client. `look` is to be called every second."""

    def __init__(self, *args: Any, health: Health, clock: Callable[[], float] = time.monotonic, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._health, self._clock = health, clock
        self._pace, self._sending = Pace(Part.NOTHING, clock()), Pace(Part.DONE, clock())
        self._unsent = 0  # bytes, when last looked at
        self._told = self._raw = self._body = 0  # bytes of this part: whole headers; all but the body; the body
        # A part began or ended within what came last: nobody knows how much of that belongs to which.
        self._turned = False
        self._unanswered = 0  # requests
        self._over = False  # nothing more is read
        self._last: Refused | None = None  # to be said once all before it is answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        connected = transport.get_extra_info("socket")
        if connected is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(ANSWER * 1000))

    def data_received(self, data: bytes) -> None:
        if self._over:
            if self._unanswered:
                self.flow.pause_reading()
            return
        self._turned, before = False, self._body
        self._parse(data)
        if not self._turned and self._pace.part in (Part.HEAD, Part.BODY):  # of what doesn't end the parser never tells
            self._raw += len(data) - (self._body - before)
            if self._raw > self._most():
                self._refuse(refusals.too_large())

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offered:  # which nobody has to take (RFC 9110 7.8)
                data = self._without_offer() + data[offered.args[0] :]
                # The other takes nothing more if the client is to close.
                self.parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError as error:
                if isinstance(error.__context__, Full):
                    self.cycle.keep_alive = False
                    self._over = True
                else:
                    self._refuse(error.__context__ if isinstance(error.__context__, Refused) else refusals.malformed())
                return

    def _without_offer(self) -> bytes:
        """The head again: after one that offers an upgrade the parser takes the body for the other protocol.

        Java's own client offers h2c with its first request, a POST or not.
        """
        lines = [b"%s: %s\r\n" % pair for pair in self.headers if pair[0] != b"upgrade"]
        start = f"{self.scope['method']} {self.url.decode()} HTTP/{self.parser.get_http_version()}\r\n"
        return start.encode() + b"".join(lines) + b"\r\n"

    # -- what the parser calls

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_WAITING:
            raise Full
        super().on_message_begin()
        self._begins(Part.HEAD)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(":\r\n"))
        if self._pace.part is Part.HEAD:  # and not of a trailer: that is no place for a token (RFC 9110 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():  # see `_parse`
            self.scope["method"] = self.parser.get_method().decode()
            if self.scope["method"] == "CONNECT":
                raise refusals.malformed()
            return
        if self.parser.get_http_version() == "1.1" and [name for name, _ in self.headers].count(b"host") != 1:
            raise refusals.malformed()  # RFC 9112 3.2
        if not self.url.startswith(b"/"):
            self.url = _origin_form(self.url)
        super().on_headers_complete()
        self._unanswered += 1
        self._begins(Part.BODY)
        if self._health.stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if not self.cycle.response_complete:
            self._pace.moved(len(body), self._clock())
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._begins(Part.DONE)
        super().on_message_complete()

    def _begins(self, part: Part) -> None:
        self._pace.begins(part, self._clock())
        self._told = self._raw = self._body = 0
        self._turned = True

    def _count(self, size: int) -> None:
        self._told += size
        if self._told > self._most():
            raise refusals.too_large()

    def _most(self) -> int:
        return refusals.MOST_HEAD + refusals.MOST_FRAMING * self._body

    # -- what the server calls

    def on_response_complete(self) -> None:
        self._unanswered -= 1
        super().on_response_complete()
        self._unset_keepalive_if_required()  # any byte would stop uvicorn's timer for good: `look` knows who rests
        if self._pace.part is not Part.HEAD:
            self._pace.begins(self._pace.part, self._clock())
        if self._over and not self._unanswered and not self.transport.is_closing():
            self._say()

    def look(self) -> None:
        """End the connection if its client takes too long."""
        now, cycle = self._clock(), self._cycle()
        self._look_at_unsent(now)
        if self.transport.is_closing() or (self._over and self._unanswered):
            return
        answered = cycle is not None and cycle.response_complete
        if self._at_rest() and not self._unsent:
            if now - self._pace.since >= self.timeout_keep_alive:
                self.transport.close()
        elif self._at_rest() or self.flow.read_paused or (cycle is not None and cycle.waiting_for_100_continue):
            self._pace.begins(self._pace.part, now)  # the client has to take an answer first, or it's we who are late
        elif self._pace.is_late(now):
            if self._pace.part in (Part.NOTHING, Part.REFUSED) or (self._pace.part is Part.BODY and answered):
                self.transport.close()
            else:
                self._refuse(refusals.too_slow(self._pace.part))

    def _look_at_unsent(self, now: float) -> None:
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if not self._unsent:
            self._sending.begins(Part.DONE, now)
        elif self._sending.part is Part.DONE:
            self._sending.begins(Part.ANSWER, now)
        else:
            self._sending.moved(max(before - self._unsent, 0), now)
        if self._sending.is_late(now):
            self.transport.abort()

    def stops(self) -> None:
        """Say at the end of the answer that is being made that it is the last."""
        if (cycle := self._cycle()) is not None:
            cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close now what can have no request on its way: else it is answered first, or has rested for long enough."""
        self.stops()
        rested = self._clock() - self._pace.since
        if self._pace.part in (Part.NOTHING, Part.REFUSED) or (self._at_rest() and rested >= AT_REST):
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(max(AT_REST - rested, 0.1), self.shutdown)

    def _cycle(self) -> RequestResponseCycle | None:
        """The newest request and its answer; none before the first."""
        return self.cycle

    def _at_rest(self) -> bool:
        return self._pace.part is Part.DONE and not self._unanswered

    # -- how it ends

    def _refuse(self, why: Refused) -> None:
        """Read no more, and say why once the requests before are answered; the one whose body is at fault isn't."""
        if self._over:
            return
        self._over, self._last = True, why
        cycle = self._cycle()
        if cycle is not None and self._pace.part is Part.BODY:
            if cycle.response_started:
                cycle.keep_alive = False
                self._last = None
            elif self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
                self._unanswered -= 1
            else:
                cycle.disconnected = True
                cycle.message_event.set()
                self._unanswered -= 1
        if self._unanswered:
            self.flow.pause_reading()
        else:
            self._say()

    def _say(self) -> None:
        if self._last is None:
            self.transport.close()
            return
        log.info("a request is refused", because=self._last.problem.detail)
        response = self._last.response()
        head = b"".join(b"%s: %s\r\n" % pair for pair in response.raw_headers)
        status = b"HTTP/1.1 %d %s\r\n" % (response.status_code, self._last.problem.title.encode())
        self.transport.write(status + head + b"connection: close\r\n\r\n" + bytes(response.body))
        self.transport.write_eof()
        self._pace.begins(Part.REFUSED, self._clock())


def _origin_form(target: bytes) -> bytes:
    """RFC 9112 3.2.2: a target may be a whole address, and that needs no path."""
    parsed = httptools.parse_url(target)
    return (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
