"""A foreign client that writes nonsense to every exchange of ours, for as long as it is told to.

All of it is malformed: keys that no JobQueue has or that are no text, properties that are none, bodies that are no event
or signal. No job of a user's queue is among it. What it writes follows from the seed.
"""

import ipaddress
import json
import random
import time
from collections.abc import Callable
from uuid import UUID

from raw_messages import ODD_TEXTS, Fields, Raw, connect, header, nested, sized

from leveret import topology
from leveret.retry import LEVELS

DELAYS = "any delay level"
PREFIX = b"foreign."  # of keys that are text; no JobQueue is called so

Make = Callable[[random.Random], tuple[bytes, bytes]]


def flood(
    host: str,
    port: int,
    user: str,
    password: str,
    vhost: str,
    *,
    count: int = 2000,
    seconds: float = 20.0,
    seed: int = 1,
) -> int:
    """Publish so many messages, spread over so many seconds; return how many the broker took.

    Raises ValueError for a host that is not this machine.
    """
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise ValueError(f"a flood goes to a broker on this machine only, not to {host}")
    chance = random.Random(seed)
    began = time.monotonic()
    with connect(host, port, user, password, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(count):
            exchange, key, body = message(chance)
            channel.basic_publish(exchange, key, body, Raw(**properties(chance)))  # raises what the broker refuses
            if (ahead := began + (number + 1) * seconds / count - time.monotonic()) > 0:
                connection.sleep(ahead)
    return count


def message(chance: random.Random) -> tuple[str, bytes, bytes]:
    """Return an exchange, a key and a body."""
    exchange, make = chance.choice(_EXCHANGES)
    if exchange == DELAYS:
        exchange = topology.delay_exchange(chance.randrange(LEVELS))
    key, body = make(chance)
    return exchange, key[:255], body


def properties(chance: random.Random) -> Fields:
    fields: Fields = {"message_id": str(_id(chance)).encode(), "type": b"echo"} if chance.random() < 0.7 else {}
    for name, values in _PROPERTIES.items():
        if chance.random() < 0.3:
            fields[name] = chance.choice(values)
    return fields


def _id(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)


def _foreign_key(chance: random.Random) -> bytes:
    """The key of no queue: odd bytes, of which each is no text or has no JobQueue."""
    return chance.choice([*ODD_TEXTS.values(), PREFIX, PREFIX + chance.randbytes(8), PREFIX + b"x" * 247])


def _job(chance: random.Random) -> tuple[bytes, bytes]:
    return _foreign_key(chance), chance.choice([*_BODIES, b'{"value": 1}', b"x" * 300_000])


def _event(chance: random.Random) -> tuple[bytes, bytes]:
    kind = chance.choice(
        [b"", b"job.", b"job.", b"job.", b"handlers.", b"queue.", b"jobqueues.", b"cancel.", b"other."]
    )
    return kind + _foreign_key(chance), chance.choice([*_BODIES, _bad_events(chance)])


def _signal(chance: random.Random) -> tuple[bytes, bytes]:
    key = chance.choice([b"", b"hint.", b"heartbeat.", b"jobqueue."]) + _foreign_key(chance)
    kind = chance.choice(["hint", "heartbeat", "jobqueue", "", None])
    return key, chance.choice([*_BODIES, json.dumps({"type": kind, "at": "2026-01-01T00:00:00", "queue": 1}).encode()])


def _bad_events(chance: random.Random) -> bytes:
    """Some events on jobs, of which each has a field that it can't have."""
    return b"[" + b",".join(_bad_event(chance) for _ in range(chance.randint(1, 5))) + b"]"


def _bad_event(chance: random.Random) -> bytes:
    event = {"id": str(_id(chance)), "type": "t", "state": "running", "at": "2026-01-01T00:00:00Z", "consumer": "c"}
    name, value = chance.choice(_FIELDS)
    return json.dumps(event | {name: value}).encode()


_BODIES = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"{",
    b"null",
    b"NaN",
    b'"\\ud800"',
    b"[[]]",
    b"[{}]",
    b"[1,",
    b"[" * 10_000,
    b'{"type":"hint","x":' + b"[" * 10_000,
    b'{"type":"defined"}',
    b"\xe9" * 70_000,
]
_FIELDS: list[tuple[str, object]] = [
    ("id", "17"),
    ("id", None),
    ("type", 5),
    ("state", "exploded"),
    ("at", "2026-01-01T00:00:00"),
    ("at", "0000-01-01T00:00:00Z"),
    ("at", "9999-12-31T23:59:60Z"),
    ("at", 1e300),
    ("consumer", None),
    ("consumer", "\ud800"),
    ("attempt", 10**30),
    ("attempt", "one"),
    ("run_seconds", float("nan")),
    ("run_seconds", float("-inf")),
    ("progress", [1, 2]),
    ("error", "no"),
    ("headers", {"a": 1}),
]
_EXCHANGES: list[tuple[str, Make]] = [
    (topology.JOBS, _job),
    (topology.JOBS, _job),
    (topology.EVENTS, _event),
    (topology.EVENTS, _event),
    (topology.UNROUTABLE, _job),
    (topology.SIGNALS, _signal),
    (topology.DEAD, _job),
    (DELAYS, _job),
]
_PROPERTIES: dict[str, list[bytes | int]] = {
    "content_type": [b"image/png", b"\xff"],
    "content_encoding": [b"gzip", b"\xe9" * 255],
    "headers": [
        header(b"caf\xe9", b"S", sized(b"\xff")),
        header(b"at", b"T", b"\xff" * 8),
        header(b"leveret-attempt", b"l", b"\x80" + b"\0" * 7),
        header(b"leveret-dead-letter", b"S", sized(b'{"x":' + b"[" * 10_000)),
        header(b"leveret-reason", b"S", sized(b"GaveUp"))
        + header(b"leveret-error", b"S", sized(b'{"x":' + b"[" * 10_000)),
        header(b"leveret-given-back-since", b"S", sized(b"0001-01-01T00:00:00+23:59")),
        header(b"x-death", b"A", sized(b"F" + sized(header(b"\xe9", b"S", sized(b"\xe9"))))),
        header(b"huge", b"S", sized(b"x" * 100_000)),
        nested(500),
    ],
    "delivery_mode": [0, 1, 2, 255],
    "priority": [0, 255],
    "correlation_id": [b"caf\xe9\0", b"\xff" * 255],
    "reply_to": [b"\xff" * 255, b"leveret.events", b"amq.rabbitmq.reply-to.nobody"],
    "message_id": [b"", b"17", b"\xff" * 255],
    "timestamp": [0, 2**32, 1_700_000_000_000_000_000, 2**64 - 1],
    "type": [b"", b"caf\xe9", b"\0"],
    "app_id": [b"\xff"],
}
