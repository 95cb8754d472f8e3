"""`python -m leveret_consumer`: run the handlers that LEVERET_HANDLERS names on the jobs of LEVERET_QUEUE."""

# A pod that is stopped while Python is importing must end: as process 1 of a container it has only the signals that it has
# a handler for, and nothing runs yet. What runs later puts its own handler here.
import os
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import asyncio
import logging
import sys
from typing import NoReturn

import structlog
import uvloop

from leveret.sdk.handlers import Handlers
from leveret.settings import MissingSetting, Places
from leveret.telemetry.logs import configure_logs
from leveret_consumer.loading import BrokenModule, load_handlers
from leveret_consumer.runtime import serve
from leveret_consumer.settings import BadSetting, Settings, read_settings

log = structlog.get_logger("leveret_consumer")


def main() -> int:
    """Return the exit code: 0 stopped as asked, 1 a wrong setting or a consumer that must be restarted."""
    configure_logs("json" if os.environ.get("LEVERET_LOG") == "json" else "text")
    places = Places()
    try:
        settings, handlers = _read(places)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code, work_left = runner.run(serve(settings, handlers, places))
            if work_left:
                _leave(code)
    except BrokenModule as problem:
        # The user's own traceback is of use; on a terminal the sentence names file and line.
        log.error(str(problem), exc_info=problem.__cause__ if os.environ.get("LEVERET_LOG") == "json" else None)
        return 1
    except (BadSetting, MissingSetting) as problem:
        log.error(str(problem))
        return 1
    except Exception:
        log.exception("the consumer ended by an error of its own")
        return 1
    return code


def _leave(code: int) -> NoReturn:
    """End the process now: loop and interpreter would wait for what can't be stopped, for ever."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _read(places: Places) -> tuple[Settings, Handlers]:
    settings = read_settings(os.environ)
    handlers = load_handlers(settings.handlers, settings.timeout)
    places.broker()  # what is missing now is better said now
    return settings, handlers


if __name__ == "__main__":
    sys.exit(main())
