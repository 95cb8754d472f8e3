"""What producers must know about queues, published to `leveret.events` with confirms.

A definition is repeated every minute and on each connection, and so is the list of all JobQueues; an observation is made
at most every 5 s. Each of these is a state: what waits is the newest of each queue, however many there are and however long the
broker takes nothing. Decisions are a log, and each waits until it is confirmed (at most the last 10,000).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import aio_pika
import structlog

from leveret.events import (
    JobQueuesListed,
    QueueDecided,
    QueueDefined,
    QueueEvent,
    QueueObserved,
    QueueRemoved,
    encode,
)
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed, persistent_json
from leveret.topology import EVENTS
from leveret_operator.dead_letter_sources import Source
from leveret_operator.jobqueue import JobQueue

log = structlog.get_logger(__name__)

REPEAT_EVERY = timedelta(seconds=60)
OBSERVED_EVERY = timedelta(seconds=5)
# Of a queue whose length is limited also what has not changed: the front door believes no number older than 30 s.
LIMITED_EVERY = timedelta(seconds=15)
DECISIONS_KEPT = 10_000

_Slot = tuple[str, object]  # routing key; and the kind of what is a state, or the decision itself


class Publishes(Protocol):
    """Confirms, or raises NotConfirmed."""

    async def publish(self, exchange: str, routing_key: str, message: aio_pika.Message) -> None: ...


class Announcements:
    """Decides what is due, keeps it in order, and publishes it while there is a connection."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._waiting: dict[_Slot, QueueEvent | JobQueuesListed] = {}  # in the order in which it is published
        self._decisions: deque[_Slot] = deque()  # the last ones, confirmed or not
        self._listed_at: datetime | None = None
        self._there_is_some = asyncio.Event()
        self._defined: dict[str, QueueDefined] = {}
        self._observed: dict[str, QueueObserved] = {}

    @property
    def waiting(self) -> int:
        """How many are not confirmed yet."""
        return len(self._waiting)

    def defined(self, queue: str) -> bool:
        """Whether this connection was told of the queue, or will be."""
        return queue in self._defined

    def new_connection(self) -> None:
        """Everything is defined anew."""
        self._defined.clear()
        self._listed_at = None

    def list_all(self, queues: Callable[[], Mapping[str, str | None]], now: datetime) -> None:
        """Call often, once every JobQueue there is is known; `queues` gives each one's queue, None where it has none."""
        if self._listed_at is None or now - self._listed_at >= REPEAT_EVERY:
            self._listed_at = now
            self._say((f"jobqueues.{self._namespace}", JobQueuesListed), JobQueuesListed(now, dict(queues())))

    def define(self, jobqueue: JobQueue, source: Source | None, now: datetime) -> None:
        """Call whenever the queue is known to be on the broker; `source` is where its consumers take dead letters from."""
        new = QueueDefined(
            namespace=jobqueue.namespace,
            jobqueue=jobqueue.name,
            at=now,
            version=jobqueue.version,
            max_attempts=jobqueue.retry.max_attempts,
            timeout_seconds=jobqueue.timeout.total_seconds(),
            max_length=jobqueue.queue_spec.max_length,
            dead_letters_of=source.queue if source else None,
        )
        last = self._defined.get(jobqueue.queue)
        if last is None or now - last.at >= REPEAT_EVERY or _undated(last) != _undated(new):
            self._defined[jobqueue.queue] = new
            self._say_of(jobqueue.queue, new)

    def observe(self, jobqueue: JobQueue, seen: QueueObserved) -> None:
        queue, limited = jobqueue.queue, jobqueue.queue_spec.max_length is not None
        last = self._observed.get(queue)
        age = None if last is None else seen.at - last.at
        repeat = LIMITED_EVERY if limited else REPEAT_EVERY
        if age is None or age >= repeat or (age >= OBSERVED_EVERY and _undated(seen) != _undated(last)):
            self._observed[queue] = seen
            self._say_of(queue, seen)

    def decide(self, queue: str, decided: QueueDecided) -> None:
        slot = (f"queue.{queue}", decided)
        self._say(slot, decided)
        self._decisions.append(slot)
        if len(self._decisions) > DECISIONS_KEPT:
            self._waiting.pop(self._decisions.popleft(), None)

    def remove(self, queue: str, now: datetime) -> None:
        self._defined.pop(queue, None)
        self._observed.pop(queue, None)
        for kind in (QueueDefined, QueueObserved):
            self._waiting.pop((f"queue.{queue}", kind), None)
        self._say_of(queue, QueueRemoved(now))

    async def publish(self, publisher: Publishes) -> None:
        """Publish what waits, in order, until cancelled; raise BrokerGone if this connection can't."""
        while True:
            if not self._waiting:
                self._there_is_some.clear()
                await self._there_is_some.wait()
            slot, event = next(iter(self._waiting.items()))
            try:
                await publisher.publish(EVENTS, slot[0], persistent_json(encode(event)))
            except NotConfirmed as problem:
                log.warning("an event about a queue was not confirmed; it is tried again", because=str(problem))
                if not isinstance(problem.__cause__, TimeoutError):
                    raise BrokerGone(f"events can't be published: {problem}") from problem  # declares anew
                continue
            if self._waiting.get(slot) is event:  # else something newer has its slot
                del self._waiting[slot]

    def _say_of(self, queue: str, event: QueueEvent) -> None:
        self._say((f"queue.{queue}", type(event)), event)

    def _say(self, slot: _Slot, event: QueueEvent | JobQueuesListed) -> None:
        self._waiting[slot] = event
        self._there_is_some.set()


def _undated(event: QueueDefined | QueueObserved | None) -> tuple[object, ...] | None:
    """Everything but the time: what has to change before it is said again."""
    if event is None:
        return None
    return tuple(getattr(event, name) for name in event.__struct_fields__ if name != "at")
