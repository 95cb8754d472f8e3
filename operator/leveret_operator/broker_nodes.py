"""Which nodes a broker has, as far as was told: by themselves, and by the management API.

They are remembered between reads, so that one that stops is missed. One that has left the cluster is forgotten: at once
where the management API lists every queue's members, else when it has been silent for 10 min.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

REMEMBERED_FOR = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node says that it is."""

    name: str  # as rabbit@host
    cluster: str  # an id that the cluster keeps, whatever it is renamed to


@dataclass(frozen=True, slots=True)
class Nodes:
    cluster: str | None = None
    heard: Mapping[str, datetime] = field(
        default_factory=dict
    )  # by name: the last answer, or when it was first told of

    def after(
        self, answered: Iterable[Identity], members: Collection[str] | None, now: datetime, cluster: str | None
    ) -> "Nodes":
        """Return what is known after a read; `members` of the queues is None where the management API was not asked."""
        heard = {name: self.heard.get(name, now) for name in members or ()}
        if members is None:
            heard = {name: at for name, at in self.heard.items() if now - at <= REMEMBERED_FOR}
        return Nodes(cluster or self.cluster, {**heard, **{one.name: now for one in answered}})

    def silent(self, now: datetime) -> dict[str, datetime]:
        """Return the nodes that have not answered this time, and since when not."""
        return {name: at for name, at in self.heard.items() if at != now}
