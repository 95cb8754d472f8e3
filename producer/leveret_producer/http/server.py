"""The HTTP server: its connections are bounded, and it says that it stops before it stops.

Whoever is sent here while the addresses of this pod are still spread is answered, and told with each answer to connect
anew; the door is closed after that, and what is idle then only once nothing can be on its way.
"""

import signal
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from leveret_producer.health import Health
from leveret_producer.http.connection import Connection
from leveret_producer.settings import Settings

FINISH_REQUESTS = 15  # s at a stop
TICKS = 10  # of uvicorn, in a second


class Server(uvicorn.Server):
    def __init__(
        self, app: ASGIApp, settings: Settings, health: Health, clock: Callable[[], float] = time.monotonic
    ) -> None:
        config = uvicorn.Config(
            app,
            host="",  # a pod is reached from outside: every address, a socket for IPv4 and one for IPv6 where there is that
            port=settings.listen_port,
            loop="uvloop",
            http=cast("type[Connection]", partial(Connection, health=health)),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=round(settings.keep_alive.total_seconds()),
            timeout_graceful_shutdown=FINISH_REQUESTS,
        )
        super().__init__(config)
        self._health, self._clock = health, clock
        self._announce = settings.announce_stop_seconds
        self._leave_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and not self._health.stopping:
            self._health.stopping = True
            return
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._health.stopping:
            if self._leave_at is None:
                self._leave_at = self._clock() + self._announce  # the counter begins anew once a day
                for connection in self._connections():
                    connection.stops()
            self.should_exit = self.should_exit or self._clock() >= self._leave_at
        self.should_exit = self.should_exit or self._health.gave_up
        if counter % TICKS == 0:
            for connection in self._connections():
                connection.look()
        return await super().on_tick(counter)

    def _connections(self) -> list[Connection]:
        return [one for one in self.server_state.connections if isinstance(one, Connection)]
