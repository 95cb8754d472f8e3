"""`python -m leveret_producer`: the HTTP front door, with the relay and the recorder behind it."""

# A pod that is stopped while Python is importing must end: as process 1 of a container it has only the signals that it has
# a handler for, and nothing runs yet. What runs later puts its own handler here.
import os
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import gc
import sys

import structlog

from leveret.settings import MissingSetting, Places
from leveret.telemetry.logs import configure_logs
from leveret.telemetry.probes import ProbeServer
from leveret_producer.access.token import LEAST, flaw_of
from leveret_producer.app import create_app
from leveret_producer.health import Health
from leveret_producer.http.server import Server
from leveret_producer.metrics import Metrics
from leveret_producer.settings import read_settings

log = structlog.get_logger(__name__)


def check_token(places: Places) -> None:
    """End with a sentence for a token that nobody could use; one that isn't there yet may come."""
    try:
        tokens = places.tokens()
    except (MissingSetting, OSError):
        return
    for flaw in filter(None, map(flaw_of, tokens)):
        sys.exit(f"leveret-producer: {flaw}")
    if min(map(len, tokens)) < LEAST:
        log.warning(
            "the API's token is short: whoever gets hold of a session's cookie can guess it", characters_at_least=LEAST
        )


def main() -> None:
    try:
        settings = read_settings(os.environ)
    except ValueError as problem:
        sys.exit(f"leveret-producer: {problem}")
    configure_logs(settings.log)
    check_token(settings.places)
    health, metrics = Health(), Metrics()
    probes = ProbeServer(metrics.registry, port=settings.metrics_port)
    probes.start()
    gc.freeze()  # what is there now stays: each full collection, which 80,000 lists in a body bring on, took 0.1 s over it
    Server(create_app(settings, health, metrics), settings, health).run()
    probes.close()
    if health.gave_up:
        sys.exit(f"leveret-producer: {health.right_missing}")


if __name__ == "__main__":
    main()
