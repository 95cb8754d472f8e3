"""Events on jobs, gathered into few messages: a flush every 5 ms or 200 events, each flush confirmed by the broker.

`confirmed()` returns once the broker has the event; only then may a delivery be acknowledged. `tell()` does not wait:
nothing depends on those. While no confirm comes, each attempt's progress waits once: a later value takes the place of
an earlier one that is not on its way. No other event is left out for a later one.

Reports belong to a connection: what is not confirmed when it ends is dropped, because the broker delivers those jobs again
and they are reported on anew. An event that can't be written as JSON is left out, so that its neighbours go; whoever
waits for it is told.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from uuid import UUID

import structlog

from leveret import events
from leveret.events import JobEvent
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import until_confirmed

log = structlog.get_logger(__name__)

FLUSH_AFTER = 0.005  # s
MOST_EVENTS = 200
LARGEST_BATCH = 1024 * 1024  # bytes, roughly; the broker refuses messages above 16 MiB
MOST_IN_FLIGHT = 8  # batches whose confirm is awaited

_NOT_WRITTEN = (TypeError, ValueError, OverflowError, RecursionError)  # what encoding raises

# Of a queue's jobs, None for the consumer's own; returns once confirmed, raises NotConfirmed.
PublishBatch = Callable[[list[JobEvent], str | None], Awaitable[None]]


class Unreportable(Exception):
    """An event that can't be written as JSON; the message says why."""


_Attempt = tuple[UUID, int, int, int]  # job, generation, attempt, delivery


class Confirmed(Protocol):
    """What is told when an event is confirmed or can't be: a future, or what needs none."""

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> None: ...

    def set_exception(self, problem: Exception, /) -> None: ...


Made = Callable[[], JobEvent | None]  # None: there is nothing to tell any more


@dataclass(slots=True)
class _Waiting:
    event: JobEvent
    confirmed: Confirmed | None
    queue: str | None = None


class Reports:
    """One per process; `run()` serves it for as long as a connection lasts."""

    def __init__(self, publish: PublishBatch | None = None) -> None:
        self._publish = publish
        self._waiting: list[_Waiting | Made] = []
        self._progress: dict[_Attempt, _Waiting] = {}  # those of `_waiting`
        self._unconfirmed: set[Confirmed] = set()
        self._some = asyncio.Event()
        self._many = asyncio.Event()

    def tell(self, event: JobEvent) -> None:
        """Send an event, some time; it's dropped while there is no connection."""
        if not self._publish:
            return
        if event.progress is None:
            self._add(_Waiting(event, None))
        elif earlier := self._progress.get(_attempt(event)):
            earlier.event = event  # after what was told of its job before, as the earlier one
        else:
            self._progress[_attempt(event)] = waiting = _Waiting(event, None)
            self._add(waiting)

    def tell_in_time(self, make: Made) -> None:
        """Send what `make` returns when the next batch is written."""
        if self._publish:
            self._add(make)

    async def confirmed(self, event: JobEvent, queue: str | None = None) -> None:
        """Send an event, on another queue's job if that is given, and wait until the broker has it; raise BrokerGone if the
        connection ends before, or Unreportable.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(self._unconfirmed.discard)
        self.hand_on(event, future, queue)
        await future

    def hand_on(self, event: JobEvent, confirmed: Confirmed, queue: str | None = None) -> None:
        """Send an event; `confirmed` is told what `confirmed()` returns or raises."""
        if not self._publish:
            confirmed.set_exception(BrokerGone("not connected"))
            return
        self._unconfirmed.add(confirmed)
        self._add(_Waiting(event, confirmed, queue))

    async def flush(self) -> None:
        """Wait until all that was sent is confirmed."""
        self._many.set()
        while self._waiting or self._unconfirmed:  # noqa: ASYNC110 - once in a process's life; an event would cost always
            await asyncio.sleep(FLUSH_AFTER)

    async def run(self, publish: PublishBatch) -> None:
        """Publish what comes, until cancelled; several batches may wait for their confirm at once."""
        self._publish = publish
        room = asyncio.Semaphore(MOST_IN_FLIGHT)
        try:
            async with asyncio.TaskGroup() as batches:
                while True:
                    await self._some.wait()
                    with contextlib.suppress(TimeoutError):
                        # Not `wait_for`: it forgets that it was cancelled if what it waits for happens in that moment.
                        async with asyncio.timeout(FLUSH_AFTER):
                            await self._many.wait()
                    await room.acquire()
                    sending = batches.create_task(self._send(publish, self._next_batch()))
                    sending.add_done_callback(lambda _: room.release())
        finally:
            self._publish = None
            self._drop()

    def _add(self, waiting: _Waiting | Made) -> None:
        self._waiting.append(waiting)
        self._some.set()
        if len(self._waiting) >= MOST_EVENTS:
            self._many.set()

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = taken = 0
        for one in self._waiting:
            if isinstance(one, _Waiting):
                waiting = one
            elif event := one():
                waiting = _Waiting(event, None)
            else:
                taken += 1
                continue
            size += _size(waiting.event)
            if batch and (len(batch) == MOST_EVENTS or size > LARGEST_BATCH or waiting.queue != batch[0].queue):
                break
            batch.append(waiting)
            taken += 1
            if waiting.event.progress is not None:
                self._progress.pop(_attempt(waiting.event), None)
        del self._waiting[:taken]
        if not self._waiting:
            self._some.clear()
        if len(self._waiting) < MOST_EVENTS:
            self._many.clear()
        return batch

    async def _send(self, publish: PublishBatch, batch: list[_Waiting]) -> None:
        while batch:
            try:
                some = [waiting.event for waiting in batch]
                await until_confirmed(partial(publish, some, batch[0].queue), "events", events=len(some))
                break
            except _NOT_WRITTEN:
                # Looked for only now: writing each event twice would cost all that can be written.
                if len(rest := [waiting for waiting in batch if self._is_written(waiting)]) == len(batch):
                    raise
                batch = rest
        for waiting in batch:
            if waiting.confirmed and not waiting.confirmed.done():
                self._unconfirmed.discard(waiting.confirmed)
                waiting.confirmed.set_result(None)

    def _is_written(self, waiting: _Waiting) -> bool:
        try:
            events.encode([waiting.event])
        except _NOT_WRITTEN as problem:
            because = f"{type(problem).__name__}: {problem}"
            event = waiting.event
            log.error(
                "an event can't be written and is left out", job=str(event.id), state=event.state, because=because
            )
            if waiting.confirmed and not waiting.confirmed.done():
                self._unconfirmed.discard(waiting.confirmed)
                waiting.confirmed.set_exception(
                    Unreportable(f"the report on the job can't be written as JSON: {because}")
                )
            return False
        return True

    def _drop(self) -> None:
        self._waiting = []
        self._progress = {}
        self._some.clear()
        self._many.clear()
        unconfirmed, self._unconfirmed = self._unconfirmed, set()
        for one in unconfirmed:
            if not one.done():
                one.set_exception(BrokerGone("the connection ended before the event was confirmed"))


def _attempt(event: JobEvent) -> _Attempt:
    return event.id, event.generation, event.attempt, event.delivery


def _size(event: JobEvent) -> int:
    error = event.error
    return (
        500
        + len(event.payload)
        + len(event.result or b"")
        + (sum(len(name) + len(str(value)) for name, value in event.headers.items()) if event.headers else 0)
        + (len(error.message) + len(error.traceback or "") if error else 0)
    )
