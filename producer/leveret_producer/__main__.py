"""`python -m leveret_producer`: the HTTP front door, with the relay and the recorder behind it."""

# A pod that is stopped while Python is importing must end: as process 1 of a container it has only the signals that it has
# a handler for, and nothing runs yet. What runs later puts its own handler here.
import os
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import gc
import sys
from types import FrameType

import uvicorn

from leveret.telemetry.logs import configure_logs
from leveret.telemetry.probes import ProbeServer
from leveret_producer.app import create_app
from leveret_producer.health import Health
from leveret_producer.metrics import Metrics
from leveret_producer.settings import read_settings

FINISH_REQUESTS = 15  # s at a stop


class Server(uvicorn.Server):
    """Says that it stops before it stops, so that nobody is sent to a door that has just closed."""

    def __init__(self, config: uvicorn.Config, health: Health, announce_seconds: float) -> None:
        super().__init__(config)
        self._health = health
        self._announce_ticks = round(announce_seconds / 0.1)
        self._leave_at: int | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and not self._health.stopping:
            self._health.stopping = True
            return
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._health.stopping:
            if self._leave_at is None:
                self._leave_at = counter + self._announce_ticks
            self.should_exit = self.should_exit or counter >= self._leave_at
        return await super().on_tick(counter)


def main() -> None:
    try:
        settings = read_settings(os.environ)
    except ValueError as problem:
        sys.exit(f"leveret-producer: {problem}")
    configure_logs(settings.log)
    health, metrics = Health(), Metrics()
    probes = ProbeServer(metrics.registry, port=settings.metrics_port)
    probes.start()
    config = uvicorn.Config(
        create_app(settings, health, metrics),
        host="0.0.0.0",  # noqa: S104 - a pod is reached from outside
        port=settings.listen_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=FINISH_REQUESTS,
    )
    gc.freeze()  # what is there now stays: each full collection, which 80,000 lists in a body bring on, took 0.1 s over it
    Server(config, health, settings.announce_stop_seconds).run()
    probes.close()


if __name__ == "__main__":
    main()
