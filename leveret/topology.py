"""Names and arguments of every exchange and queue on the broker, as values.

What makes delivery safe is an argument of a queue, and an argument can't be changed once the queue exists: so this is
the one place that knows them, and every process declares from it (declaring what exists with the same arguments does
nothing).
"""

from collections.abc import Mapping

import msgspec

from leveret.retry import LEVELS

JOBS = "leveret.jobs"  # direct: routing key = queue name
DEAD = "leveret.dead"  # direct: routing key = name of the queue that the dead letter comes from
UNROUTABLE = "leveret.unroutable"  # fanout, and its queue: what was published to the jobs' exchange for no queue
EVENTS = "leveret.events"  # topic: job.…, handlers.…, queue.…, jobqueues.…; also the recorder's queue
EVENTS_DEAD = "leveret.events.dead"  # events that could not be recorded
SIGNALS = "leveret.signals"  # topic: hint.<queue>, heartbeat.<queue>, jobqueue.<queue>
CONTROL = "leveret.control"  # a stream: what is wanted of jobs (`leveret.control`)
INSTALLATION = "leveret.installation"  # whose the virtual host is (`leveret.rabbitmq.claim`)
RESERVED = frozenset({"leveret.asks", INSTALLATION})  # the first for a version to come

BROKER_DELIVERY_LIMIT = 20  # a fuse: deliveries that ended in a crash or a reject

Arguments = Mapping[str, str | int]
# Whoever reads it begins 15 minutes back: a small segment, because what is too old goes by whole segments only.
_CONTROL: Arguments = {"x-queue-type": "stream", "x-max-age": "1D", "x-stream-max-segment-size-bytes": 1_000_000}


class Exchange(msgspec.Struct, frozen=True):
    name: str
    type: str  # direct, fanout or topic; always durable
    arguments: Arguments = {}


class Queue(msgspec.Struct, frozen=True):
    name: str  # always durable; a quorum queue, or a stream
    arguments: Arguments = {}


class Binding(msgspec.Struct, frozen=True):
    exchange: str
    queue: str
    key: str = ""


class Topology(msgspec.Struct, frozen=True):
    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


def delay_exchange(level: int) -> str:
    """Publish here, under the job queue's name as routing key, what should come back after 2^level s."""
    return f"leveret.delay.{level}"


def dead_queue(queue: str) -> str:
    return f"{queue}.dead"


def shared() -> Topology:
    """What all job queues of a broker have in common."""
    exchanges = [
        Exchange(UNROUTABLE, "fanout"),
        # Nothing that is published here is refused for want of a queue, nor is what comes back from a delay level.
        Exchange(JOBS, "direct", {"alternate-exchange": UNROUTABLE}),
        Exchange(DEAD, "direct"),
        Exchange(EVENTS, "topic"),
        Exchange(SIGNALS, "topic"),
    ]
    queues = [Queue(name, _quorum(delivery_limit=-1)) for name in (EVENTS, EVENTS_DEAD, UNROUTABLE)]
    bindings = [Binding(EVENTS, EVENTS, "#"), Binding(UNROUTABLE, UNROUTABLE)]
    for level in range(LEVELS):
        name = delay_exchange(level)
        exchanges.append(Exchange(name, "fanout"))
        # The message keeps its routing key, so that dead-lettering it to the jobs' exchange brings it home.
        queues.append(
            Queue(name, {**_quorum(delivery_limit=-1), **_dead_letters_to(JOBS), "x-message-ttl": 1000 * 2**level})
        )
        bindings.append(Binding(name, name))
    # Last: a broker that has it has all others.
    return Topology(tuple(exchanges), (*queues, *control().queues), tuple(bindings))


def control() -> Topology:
    """The stream alone."""
    return Topology((), (Queue(CONTROL, _CONTROL),), ())


def for_queue(name: str) -> Topology:
    """A job queue and its dead letters."""
    jobs = Queue(name, {**_quorum(BROKER_DELIVERY_LIMIT), **_dead_letters_to(DEAD), "x-dead-letter-routing-key": name})
    dead = for_dead_letters(name)
    # The dead letters' queue first: nothing may die before it can land.
    return Topology((), (*dead.queues, jobs), (*dead.bindings, Binding(JOBS, name, name)))


def for_dead_letters(name: str) -> Topology:
    """Where the dead letters of a job queue land."""
    dead = Queue(dead_queue(name), {**_quorum(delivery_limit=-1), "x-single-active-consumer": True})
    # Each goes to the events, too: the store learns of what the broker itself gave up.
    return Topology((), (dead,), (Binding(DEAD, dead.name, name), Binding(DEAD, EVENTS, name)))


def _quorum(delivery_limit: int) -> dict[str, str | int]:
    return {"x-queue-type": "quorum", "x-delivery-limit": delivery_limit}


def _dead_letters_to(exchange: str) -> dict[str, str | int]:
    """At-least-once dead-lettering, which the broker only does when a full queue refuses publishers."""
    return {
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
