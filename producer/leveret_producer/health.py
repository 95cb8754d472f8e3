"""What /readyz says: ready once the tables are there and until the stop.

A database or broker that goes away later doesn't make a replica unready, since every replica would be at once and
clients would get no answer at all, where they now get 503 with the reason, or a job that is stored and published later.
"""

from dataclasses import dataclass, field

import msgspec

from leveret.rabbitmq import alarm

RELAY = "relay"  # the connection that jobs are published on


class Ready(msgspec.Struct, frozen=True):
    ok: bool
    says: str
    database: str
    broker: str


@dataclass(slots=True)
class Health:
    migrated: bool = False
    stopping: bool = False
    broker: dict[str, str] = field(default_factory=dict)  # connection → what is the matter

    def report(self, database_trouble: str | None, *, broker_alarm: bool = False) -> Ready:
        broker = "; ".join(f"{name}: {because}" for name, because in self.broker.items()) or (
            alarm.TEXT if broker_alarm else "connected"
        )
        database = database_trouble or "connected"
        if self.stopping:
            return Ready(False, "stopping: finishing what was begun", database, broker)
        if not self.migrated:
            return Ready(False, "waiting for the database, to make its tables", database, broker)
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
        return Ready(True, says, database, broker)


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
