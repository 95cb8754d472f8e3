"""Port 9000 of a process: `/metrics`, and health as the kubelet asks for it.

The server runs in threads of its own, so that it still answers when the event loop does not: a loop that has not
turned for 30 s is just what `/healthz` has to tell.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

LOOP_MUST_TURN_WITHIN = 30.0  # s


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    says: str  # one sentence for a person


class LoopBeat:
    """Knows when the event loop last turned. `run()` beats in the loop; `age()` may be asked from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    async def run(self, every: float = 1.0) -> None:
        while True:
            self._last = self._clock()
            await asyncio.sleep(every)

    def age(self) -> float:
        """Return the seconds since the last turn."""
        return self._clock() - self._last


class ProbeServer:
    """Serves one process's metrics and health until closed."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        beat: LoopBeat | None = None,
        readiness: Callable[[], Readiness] | None = None,
        port: int = 9000,
    ) -> None:
        """Listen on all addresses; port 0 takes a free one. Without `beat` and `readiness` there are only metrics."""
        self._metrics = make_wsgi_app(registry)
        self._beat, self._readiness = beat, readiness
        self._server = make_server("", port, self._answer, ThreadingWSGIServer, _Silent)
        self.port: int = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, name="probes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return list(self._metrics(environ, start_response))
            case "/healthz" if self._beat is not None:
                age = self._beat.age()
                return _say(start_response, age < LOOP_MUST_TURN_WITHIN, f"the loop turned {age:.1f} s ago")
            case "/readyz" if self._readiness is not None:
                state = self._readiness()
                return _say(start_response, state.ready, state.says)
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"there is /metrics, and in most processes /healthz and /readyz\n"]


def _say(start_response: StartResponse, good: bool, sentence: str) -> list[bytes]:
    start_response("200 OK" if good else "503 Service Unavailable", [("Content-Type", "application/json")])
    return [json.dumps({"ok": good, "says": sentence}).encode() + b"\n"]


class _Silent(WSGIRequestHandler):
    """Probes every few seconds would fill the log."""

    def log_message(self, format: str, *args: object) -> None:
        pass
