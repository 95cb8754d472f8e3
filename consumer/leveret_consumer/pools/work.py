"""One run of a handler, whatever it runs on.

A pool turns whatever a handler does into a value: its result as JSON, or a `Failure`. So nothing that a handler
raises, `SystemExit` included, reaches the loop.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from leveret.jobs import Envelope
from leveret.sdk.context import Context
from leveret.sdk.handlers import Handler
from leveret_consumer.ends import End


@dataclass(frozen=True, slots=True)
class Call:
    handler: Handler
    context: Context
    payload: object  # as the handler takes it
    job: Envelope  # whose body is the same as JSON


@dataclass(frozen=True, slots=True)
class Work:
    """`ended` is done when nothing of the run is left; `stop` asks for that, where it's possible."""

    ended: asyncio.Future[End]
    stop: Callable[[], object] | None  # None: a thread can't be stopped


class WorkPool(Protocol):
    async def start(self, call: Call) -> Work:
        """Start a run; return when it has started."""
        ...

    def close(self) -> None:
        """Let go of what the pool holds, without waiting for what still runs."""
        ...
