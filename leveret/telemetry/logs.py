"""One log format for a process and its libraries: JSON in a cluster, readable on a terminal.

`configure_logs` is called once, in a process's `main()`. Messages are constant and values are fields, so that logs
can be searched; whatever the libraries log goes the same way.
"""

import logging
import sys
from typing import Literal

import structlog

_QUIET = ("aio_pika", "aiohttp.access", "asyncio", "httpx", "httpcore", "kopf", "kubernetes")


def configure_logs(form: Literal["json", "text"], *, debug: bool = False) -> None:
    """Send the logs of this process to standard error in one form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if form == "json":
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        # Not the rich one, which would show the local variables, and with them passwords and payloads.
        plain = structlog.dev.plain_traceback
        last += [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # each failed try would be said twice: sessions say it
    structlog.configure(
        # The level first: what nobody will read is not made, which is most of the cost of a debug line per job.
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def log_form(value: str | None) -> Literal["json", "text"]:
    """Read LEVERET_LOG: `json` or `text`; text if unset, with anything else refused."""
    if value in (None, "", "text"):
        return "text"
    if value == "json":
        return "json"
    raise ValueError(f"LEVERET_LOG is {value!r}, and must be json or text")
