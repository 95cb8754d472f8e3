"""`python -m leveret_consumer`: run the handlers that LEVERET_HANDLERS names on the jobs of LEVERET_QUEUE."""

# A pod that is stopped while Python is importing must end: as process 1 of a container it has only the signals that it has
# a handler for, and nothing runs yet. What runs later puts its own handler here. Process 1 itself stays as small as it is now.
import gc
import os
import signal

from leveret_consumer.first_process import leave_to_parent

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    leave_to_parent()
    gc.disable()  # until our own modules are imported: they stay, so looking for those that don't is for nothing

import asyncio
import atexit
import contextlib
import logging
import sys
import threading
import time
from typing import NoReturn

from leveret.lazy import absent, versions_by_folder

with absent("rich"):  # which structlog would load for pictures that we don't draw, a fifth of all that is imported
    import structlog
with versions_by_folder():
    import aio_pika  # noqa: F401 - here, so that it is imported so

from leveret.durations import format_duration
from leveret.sdk.handlers import Handlers
from leveret.settings import MissingSetting, Places
from leveret.telemetry.logs import configure_logs
from leveret_consumer import exits, last_words
from leveret_consumer.consumer import Shown, serve, show
from leveret_consumer.loading import BrokenModule, load_handlers
from leveret_consumer.settings import Settings, read_settings

log = structlog.get_logger("leveret_consumer")

LAST_WORDS_WITHIN = 2.0  # s
# What is there once the handlers are loaded stays for good, and few objects of a job refer to each other in a circle: at
# Python's own thresholds an eighth of a job's time went to looking for such.
COLLECTS_AFTER = (20_000, 10, 20)  # new objects, young collections, those of middle age


def main() -> int:
    """Return the exit code: 0 stopped as asked, 1 a wrong setting or a consumer that must be restarted."""
    gc.freeze()  # what we import ourselves: next to nothing of it is garbage, and looking for that takes 10 ms
    gc.enable()
    gc.set_threshold(*COLLECTS_AFTER)
    configure_logs("json" if os.environ.get("LEVERET_LOG") == "json" else "text")
    places = Places()
    try:
        settings = read_settings(os.environ)
        shown = show(settings)
        handlers = _handlers(settings, shown, places)
    except BrokenModule as problem:
        # The user's own traceback is of use; on a terminal the sentence names file and line.
        log.error(str(problem), exc_info=problem.__cause__ if os.environ.get("LEVERET_LOG") == "json" else None)
        last_words.leave(str(problem))
        return 1
    except MissingSetting as problem:
        return _wrong(problem)
    except Exception as problem:
        log.exception("the consumer ended by an error of its own")
        return _defect(problem)
    return _run(settings, handlers, places, shown)


def _run(settings: Settings, handlers: Handlers, places: Places, shown: Shown) -> int:
    gc.collect()
    gc.freeze()
    try:
        # The loop is not closed: it would wait for threads.
        return exits.run(_loop(settings), serve(settings, handlers, places, shown))
    except MissingSetting as problem:
        return _wrong(problem)
    except Exception as problem:
        log.exception("the consumer ended by an error of its own")
        return _defect(problem)


def _wrong(problem: MissingSetting) -> int:
    log.error(str(problem))
    last_words.leave(str(problem))
    return 1


def _defect(problem: Exception) -> int:
    """Its text is for the log alone: it may hold what not everybody may read who may see a JobQueue."""
    last_words.leave(f"the consumer ended by an error of its own, {type(problem).__name__}; its log tells more")
    return 1


def _leave(code: int) -> NoReturn:
    """End the process now: runner and interpreter would wait, for ever, for each thread that a handler has left behind.

    What the handlers' modules have registered with `atexit` runs before, unless it takes long.
    """
    last = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
    last.start()
    last.join(LAST_WORDS_WITHIN)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or read by nobody any more
            stream.flush()
    os._exit(code)


def _handlers(settings: Settings, shown: Shown, places: Places) -> Handlers:
    module, began = settings.handlers.partition(":")[0], time.monotonic()

    def stopped(*_: object) -> NoReturn:
        if time.monotonic() - began >= settings.startup_timeout.total_seconds():
            last_words.leave(
                f"importing {module} took longer than {format_duration(settings.startup_timeout)}: have the first job that "
                "needs it load what takes long, or raise spec.consumer.startupTimeout (LEVERET_STARTUP_TIMEOUT)"
            )
        os._exit(0)

    signal.signal(signal.SIGTERM, stopped)
    shown.status.starts(f"importing {module}")
    handlers = load_handlers(settings.handlers, settings.timeout)
    places.broker()  # what is missing now is better said now
    return handlers


def _loop(settings: Settings) -> asyncio.AbstractEventLoop:
    if settings.loop == "asyncio":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


if __name__ == "__main__":
    _leave(main())
