"""Port 9000 of a process: `/metrics`, and health as the kubelet asks for it.

The server runs in threads of its own, so that it still answers when the event loop does not: a loop that has not
turned for 30 s is just what `/healthz` has to tell. It answers from before the loop begins: what a process does until then
is alive for as long as a start may take, and not ready.

Prometheus' client is loaded by the first scrape, and the server is none of the standard library's for HTTP: both are a tenth
of what a consumer loads before it works.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from prometheus_client import CollectorRegistry

LOOP_MUST_TURN_WITHIN = 30.0  # s
LONGEST_LINE, MOST_HEADERS = 8 * 1024, 100


class Readiness(msgspec.Struct, frozen=True):
    ready: bool
    says: str  # one sentence for a person
    since: datetime | None = None  # None: not told


class LoopBeat:
    """Knows when the event loop last turned. `run()` beats in the loop; `health()` may be asked from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, begins_within: float | None = None) -> None:
        """`begins_within` is how many seconds the loop may take to begin, None: no longer than it may take to turn."""
        self._clock, self._begins_within = clock, begins_within
        self._last = clock()

    async def run(self, every: float = 1.0) -> None:
        while True:
            self._last, self._begins_within = self._clock(), None
            await asyncio.sleep(every)

    def health(self) -> tuple[bool, str]:
        """Return whether the process is alive, and a sentence."""
        age, begins_within = self.age(), self._begins_within
        if begins_within is not None:
            return age < begins_within, f"starting for {age:.1f} s; it may take {begins_within:g} s"
        return age < LOOP_MUST_TURN_WITHIN, f"the loop turned {age:.1f} s ago"

    def age(self) -> float:
        """Return the seconds since the last turn."""
        return self._clock() - self._last


class ProbeServer:
    """Serves one process's metrics and health until closed."""

    def __init__(
        self,
        registry: "CollectorRegistry | Callable[[], CollectorRegistry]",
        *,
        beat: LoopBeat | None = None,
        readiness: Callable[[], Readiness] | None = None,
        port: int = 9000,
    ) -> None:
        """Listen on all addresses, IPv6 too; port 0 takes a free one. Without `beat` and `readiness` there are only metrics."""
        self._registry = registry
        self._metrics: WSGIApplication | None = None  # once it was scraped
        self._beat, self._readiness = beat, readiness
        self._server = _Server(port, partial(_Request, self._answer))
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, name="probes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> list[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return list(self._scrape(environ, start_response))
            case "/healthz" if self._beat is not None:
                return _say(start_response, Readiness(*self._beat.health()))
            case "/readyz" if self._readiness is not None:
                return _say(start_response, self._readiness())
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"there is /metrics, and in most processes /healthz and /readyz\n"]

    def _scrape(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if self._metrics is None:
            from prometheus_client import make_wsgi_app

            self._metrics = make_wsgi_app(self._registry() if callable(self._registry) else self._registry)
        return self._metrics(environ, start_response)


def _say(start_response: "StartResponse", state: Readiness) -> list[bytes]:
    start_response("200 OK" if state.ready else "503 Service Unavailable", [("Content-Type", "application/json")])
    since = {} if state.since is None else {"since": state.since.isoformat()}
    return [json.dumps({"ok": state.ready, "says": state.says, **since}).encode() + b"\n"]


class _Server(ThreadingTCPServer):
    """A thread for each connection: one that sends nothing holds up no other."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, request: Any) -> None:
        self.address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        super().__init__(("", port), request)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # IPv4 by the same socket
        super().server_bind()


class _Request(StreamRequestHandler):
    """One request of a kubelet or of Prometheus, as HTTP/1.0 has it, and a connection's only one."""

    timeout = 10.0  # s without a byte

    def __init__(self, answer: "WSGIApplication", *connection: Any) -> None:
        self._app = answer
        super().__init__(*connection)

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # it has gone, or says nothing
            method, target, *_ = [*self.rfile.readline(LONGEST_LINE).decode("latin-1").split(), "", ""]
            path, _, query = target.partition("?")
            environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, **self._headers()}
            head: list[str] = []

            def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> Any:
                head[:] = [f"HTTP/1.0 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]

            body = b"".join(self._app(environ, start_response))
            self.wfile.write("\r\n".join(head).encode("latin-1") + (b"" if method == "HEAD" else body))

    def _headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for _ in range(MOST_HEADERS):
            name, colon, value = self.rfile.readline(LONGEST_LINE).decode("latin-1").partition(":")
            if not colon:
                break
            found[f"HTTP_{name.strip().upper().replace('-', '_')}"] = value.strip()
        return found
