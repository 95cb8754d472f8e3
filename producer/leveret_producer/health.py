"""What /readyz says: ready once the tables are there and until the stop, unless the broker is another installation's.

A database or broker that goes away later doesn't make a replica unready, since every replica would be at once and
clients would get no answer at all, where they now get 503 with the reason, or a job that is stored and published later.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
from aio_pika.abc import AbstractIncomingMessage

from leveret.rabbitmq import alarm

RELAY = "relay"  # the connection that jobs are published on
STUCK = 3  # times that a batch was begun anew


class Ready(msgspec.Struct, frozen=True):
    ok: bool
    says: str
    database: str
    broker: str


@dataclass(slots=True)
class Beginnings:
    """How often a recorder began anew with the batch that it has not finished: told by its first message."""

    key: str = ""
    anew: int = 0
    _first: bytes = b""

    @contextmanager
    def batch(self, messages: Sequence[AbstractIncomingMessage]) -> Iterator[None]:
        """Count a beginning; what raises within the context has not finished the batch."""
        self.key = messages[0].routing_key or ""
        first = hashlib.sha256(f"{messages[0].exchange} {self.key} ".encode() + messages[0].body).digest()
        self.anew = self.anew + 1 if first == self._first else 0
        self._first = first
        yield
        self._first, self.anew = b"", 0


@dataclass(slots=True)
class Health:
    migrated: bool = False
    stopping: bool = False
    right_missing: str | None = None  # without which nothing can be done; with the statement that gives it
    warnings: list[str] = field(default_factory=list)  # of the database, at the start
    broker_shared: str | None = None  # the broker's virtual host is another installation's
    gave_up: bool = False  # the process ends, so that Kubernetes shows what it ends with
    broker: dict[str, str] = field(default_factory=dict)  # connection → what is the matter
    unmade: dict[str, Mapping[str, str]] = field(default_factory=dict)  # connection → queues that the broker can't make
    events: Beginnings = field(default_factory=Beginnings)
    returned: Beginnings = field(default_factory=Beginnings)  # messages that no queue took

    def report(
        self, database_trouble: str | None, *, broker_alarm: bool = False, looks_fail_for: float | None = None
    ) -> Ready:
        broker = "; ".join(f"{name}: {because}" for name, because in self.broker.items()) or (
            alarm.TEXT if broker_alarm else "connected"
        )
        database = database_trouble or "connected"
        if self.stopping:
            return Ready(False, "stopping: finishing what was begun", database, broker)
        if self.right_missing:
            return Ready(False, self.right_missing, database, broker)
        if not self.migrated:
            return Ready(False, "waiting for the database, to make its tables", database, broker)
        if self.broker_shared:
            return Ready(False, self.broker_shared, database, broker)
        says = "serving"
        if database_trouble:
            says = "serving, but the database is away: requests that need it are answered with 503"
        elif RELAY in self.broker:
            says = "serving, but the broker is away: jobs are stored and published when it is back"
        elif self.broker:
            says = "serving, but not everything that is told can be recorded now: it waits with the broker"
        elif broker_alarm:
            says = (
                "serving, but the broker has blocked publishing: jobs are stored and published when its alarm is over"
            )
        for queue, begun in (("leveret.events", self.events), ("leveret.unroutable", self.returned)):
            if begun.anew >= STUCK:
                says += (
                    f"; of {queue} the same messages were begun anew {begun.anew} times, the first with the routing key "
                    f"{begun.key[:100]!r}: they are kept, and what came after them waits; the log says why"
                )
        if looks_fail_for is not None:
            says += (
                f"; for {looks_fail_for:.0f} s no look through the whole outbox has ended in time: what comes due is published, "
                "and what another replica has left may wait; the log says what to look for"
            )
        unmade = {queue: said for queues in self.unmade.values() for queue, said in queues.items()}
        return Ready(True, "; ".join((says, *unmade.values(), *self.warnings)), database, broker)


@dataclass(frozen=True, slots=True)
class BrokerListener:
    """Notes how one connection to the broker fares."""

    health: Health
    name: str

    def __post_init__(self) -> None:
        self.health.broker[self.name] = "not connected yet"

    def connected(self) -> None:
        self.health.broker.pop(self.name, None)

    def disconnected(self, because: str) -> None:
        self.health.broker[self.name] = because

    def lacks(self, unmade: Mapping[str, str]) -> None:
        self.health.unmade[self.name] = dict(unmade)
