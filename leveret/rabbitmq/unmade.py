"""Queues that the broker can't make, and what takes their place meanwhile.

RabbitMQ 4.3 answers the declaration of a quorum queue that was deleted while somebody declared it with an internal error
(541), which closes the whole connection, and each later one, until its node is restarted. So whoever meets that notes the
queue for its next connections, too: they declare all but that one, which is tried on connections of its own until it's made.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Collection, Mapping

import aio_pika
import msgspec
import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ConnectionInternalError

from leveret import wire
from leveret.retry import LEVELS
from leveret.topology import CONTROL, EVENTS, EVENTS_DEAD, UNROUTABLE, Topology, delay_exchange

log = structlog.get_logger(__name__)

NOT_MADE = f"{EVENTS} could not be made"  # the reason on what is set aside meanwhile

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 60.0  # s between tries to make one, half of it by chance

_DELAYS = [delay_exchange(level) for level in range(LEVELS)]
_MEANWHILE = {
    EVENTS: f"nothing new is recorded: it waits in {EVENTS_DEAD}, and a producer puts it back by itself",
    EVENTS_DEAD: "what can't be recorded holds up what comes after it",
    UNROUTABLE: "jobs for a queue that is gone wait in the outbox, or with who publishes them",
    CONTROL: "consumers don't learn what is cancelled",
    **dict.fromkeys(_DELAYS, "what waits there waits at another level, a longer one where there is one"),
}


class Unmade:
    """Those that one line of connections has come upon."""

    def __init__(
        self,
        opens: Callable[[], Awaitable[AbstractConnection]] | None = None,
        tell: Callable[[Mapping[str, str]], object] = lambda _: None,
    ) -> None:
        """`opens` connects once more, to the same broker; `tell` is called with a sentence for each queue when they change."""
        self.opens, self._tell = opens, tell
        self._parts: dict[str, Topology] = {}
        self.said: dict[str, str] = {}  # queue → a sentence
        self.some = asyncio.Event()
        self._tries: dict[str, tuple[float, float]] = {}  # when next, and the pause after that

    def note(self, problem: ConnectionInternalError, topologies: Collection[Topology]) -> bool:
        """Note the queue that the broker names; return False if it names none of these: then it has another trouble."""
        text = str(problem)
        for topology in topologies:
            for queue in topology.queues:
                if f"queue '{queue.name}' in vhost" in text:
                    bound = tuple(one for every in topologies for one in every.bindings if one.queue == queue.name)
                    self._parts[queue.name] = Topology((), (queue,), bound)
                    self.said[queue.name] = sentence(queue.name, text)
                    self.some.set()
                    log.error(
                        "a queue can't be made; all else goes on", queue=queue.name, because=self.said[queue.name]
                    )
                    self._tell(self.said)
                    return True
        return False

    def parts(self) -> Mapping[str, Topology]:
        """Each queue with what binds it."""
        return dict(self._parts)

    def is_due(self, name: str, now: float, draw: float) -> bool:
        """Tell whether to try it now; then the next time is after a pause that grows, half of it by chance.

        At once where it is new. Kept here, so that sessions that end soon don't begin the row anew.
        """
        at, pause = self._tries.get(name, (now, FIRST_PAUSE))
        if now < at:
            return False
        self._tries[name] = now + pause * (1 + draw) / 2, min(2 * pause, LONGEST_PAUSE)
        return True

    def try_at_once(self) -> None:
        """The broker was away: it may have been restarted, which mends it."""
        self._tries.clear()

    def made(self, name: str) -> None:
        del self._parts[name], self.said[name]
        self._tries.pop(name, None)
        log.info("a queue that could not be made is there", queue=name)
        if not self.said:
            self.some.clear()
        self._tell(self.said)


def unmade_of(connection: object) -> Unmade:
    """What a connection of `stay_connected` knows of; nothing for another one."""
    known = getattr(connection, "unmade", None)
    return known if isinstance(known, Unmade) else Unmade()


def sentence(queue: str, problem: str) -> str:
    meanwhile = f"meanwhile {_MEANWHILE[queue]}" if queue in _MEANWHILE else "all other queues go on"
    return (
        f"the broker can't make {queue} ({problem}); {meanwhile}; it is tried again, "
        "and where that goes on for minutes a restart of the broker's node mends it"
    )


def without(topology: Topology, names: Collection[str]) -> Topology:
    if not names:
        return topology
    return msgspec.structs.replace(
        topology,
        queues=tuple(one for one in topology.queues if one.name not in names),
        bindings=tuple(one for one in topology.bindings if one.queue not in names),
    )


def instead(
    names: Collection[str], exchange: str, routing_key: str, message: aio_pika.Message
) -> tuple[str, str, aio_pika.Message]:
    """Return what is published where in the place of this, while these queues can't be made.

    What is to wait does so at the next longer level, else at the longest that is left: never at none. What is told is set
    aside as the recorder does it, so that it can be put back.
    """
    if exchange in names and exchange in _DELAYS:
        level = _DELAYS.index(exchange)
        left = [one for one in (*_DELAYS[level:], *reversed(_DELAYS[:level])) if one not in names]
        return (left or [exchange])[0], routing_key, message
    if exchange == EVENTS and EVENTS in names:
        aside = copy.copy(message)
        aside.headers = {**message.headers, wire.ROUTING_KEY: routing_key, wire.REASON: NOT_MADE}
        return "", EVENTS_DEAD, aside
    return exchange, routing_key, message
