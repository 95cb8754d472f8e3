"""Ten thousand messages that are no jobs, of every kind, among jobs: each is a dead letter, and nobody else notices."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from raw_messages import Fields, Raw, connect, header, nested, sized
from runs import until

from leveret import topology, wire
from leveret.settings import Broker

QUEUE = "leveret.under-test"
MALFORMED = 10_000
GOOD_EVERY = 20  # a job after so many of them

# What is wrong with the job: the body, other fields, and the reason.
FAULTS: list[tuple[bytes, Fields, str]] = [
    (b"{", {}, "NotJson"),
    (b"", {}, "NotJson"),
    (b"\xff\xfe{}", {}, "NotJson"),
    (b"\0", {}, "NotJson"),
    (b"{} {}", {}, "NotJson"),
    (b'{"value": NaN}', {}, "NotJson"),
    (b'{"value": "\\ud800"}', {}, "NotJson"),
    (b"[" * 10_000, {}, "NotJson"),
    (b'{"value":' * 5_000, {}, "NotJson"),
    (b"[]", {}, "InvalidPayload"),
    (b"null", {}, "InvalidPayload"),
    (b'{"values": 1}', {}, "InvalidPayload"),
    (b'{"seconds": "soon"}', {"type": b"sleep"}, "InvalidPayload"),
    (b'{"seconds": -1}', {"type": b"sleep"}, "InvalidPayload"),
    (b'{"seconds": 1e999}', {"type": b"sleep"}, "InvalidPayload"),
    (b'{"value": 1}', {"type": b"nobody"}, "UnknownType"),
    (b'{"value": 1}', {"type": b""}, "UnknownType"),
    (b'{"value": 1}', {"type": b"caf\xe9"}, "UnknownType"),
    (b'{"value": 1}', {"type": b"\xff" * 255}, "UnknownType"),
    (b'{"value": 1}', {"type": b"echo\0"}, "UnknownType"),
    (b'{"value": 1}', {"message_id": b""}, "NoId"),
    (b'{"value": 1}', {"message_id": b"17"}, "NoId"),
    (b'{"value": 1}', {"message_id": b"\xff" * 255}, "NoId"),
    (b'{"value": 1}', {"message_id": b"6f1c1a52-6d3e-4c53-9f0a-0f4bb3a7d1cZ"}, "NoId"),
]
LARGE: list[tuple[bytes, Fields, str]] = [
    (b'"' + b"x" * (size * 1024) + b'"', {}, "TooLarge") for size in (257, 300, 512, 1024)
]

# Properties that are odd and no reason to turn a job down.
ODD: list[Fields] = [
    {},
    {"timestamp": 1_700_000_000_000},
    {"timestamp": 1_700_000_000_000_000_000},
    {"timestamp": 2**64 - 1},
    {"delivery_mode": 0},
    {"delivery_mode": 255},
    {"priority": 255},
    {"expiration": b"3600000"},
    {"correlation_id": b"caf\xe9\0"},
    {"reply_to": b"\xff" * 255},
    {"reply_to": b"leveret.events"},
    {"content_type": b"image/png", "content_encoding": b"gzip", "app_id": b"\xff"},
    {"headers": header(b"caf\xe9", b"I", b"\xff" * 4)},
    {"headers": header(b"at", b"T", b"\xff" * 8) + header(b"leveret-attempt", b"I", b"\0\0\0\1")},
    {"headers": header(b"leveret-attempt", b"l", b"\x80" + b"\0" * 7) + header(b"leveret-generation", b"t", b"\1")},
    {"headers": header(b"leveret-attempt", b"F", sized(b"")) + header(b"leveret-generation", b"A", sized(b""))},
    {"headers": header(b"leveret-attempt", b"S", sized(b"two")) + header(b"leveret-generation", b"d", b"\x7f" * 8)},
    {"headers": header(b"leveret-generation", b"l", b"\x7f" + b"\xff" * 7)},
    {"headers": header(b"traceparent", b"V", b"") + header(b"", b"x", sized(b"\xff" * 1000))},
    {"headers": header(b"leveret-reason", b"S", sized(b"\xff")) + header(b"leveret-dead-letter", b"S", sized(b"{"))},
    {"headers": header(b"in", b"F", sized(header(b"\xff", b"T", b"\xff" * 8))) + header(b"n", b"A", sized(b"t\1"))},
    {"headers": header(b"CC", b"A", sized(b"")) + header(b"x-death", b"S", sized(b"never"))},
    {
        "headers": header(b"f", b"f", b"\x7f\x7f\xff\xff")
        + header(b"D", b"D", b"\xff\0\0\0\1")
        + header(b"s", b"s", b"\x80\0")
    },
]
HUGE: list[Fields] = [
    {"headers": header(b"huge", b"S", sized(b"x" * 120_000))},
    {"headers": b"".join(header(bytes([i]), b"S", sized(b"x" * 25_000)) for i in range(65, 70))},
    {"headers": nested(2_000)},  # beyond what Python reads; 15,000 cost the broker itself 2 s each
]


def malformed() -> Iterator[tuple[bytes, Raw, str]]:
    """Each fault with each oddity, over and over; the big ones only once."""
    big = [(fault, odd) for fault in LARGE for odd in ODD[:6]] + [(fault, odd) for fault in FAULTS[:10] for odd in HUGE]
    small = itertools.cycle(itertools.product(FAULTS, ODD))
    for number in range(MALFORMED):
        take_big = number % (MALFORMED // len(big)) == 0 and big
        (body, fields, reason), odd = big.pop() if take_big else next(small)
        yield body, Raw(**{**good(uuid4()), **odd, **fields}), reason


def good(job: UUID) -> Fields:
    return {"message_id": str(job).encode(), "type": b"echo"}


def publish(broker: Broker, odd: list[Fields], jobs: list[UUID]) -> Counter[str]:
    """Publish them all, with a job after each twenty; return how many there were of each reason."""
    expected: Counter[str] = Counter()
    oddities = itertools.cycle(odd)
    with connect(broker.host, broker.port, broker.username, broker.password, broker.vhost) as connection:
        channel = connection.channel()
        for number, (body, properties, reason) in enumerate(malformed()):
            channel.basic_publish(topology.JOBS, QUEUE, body, properties)
            expected[reason] += 1
            if number % GOOD_EVERY == 0:
                job = uuid4()
                channel.basic_publish(topology.JOBS, QUEUE, b'{"value": 1}', Raw(**{**next(oddities), **good(job)}))
                jobs.append(job)
        channel.queue_declare(QUEUE, passive=True)  # answered when all before it is with the broker
    return expected


@pytest.mark.timeout(600)
async def test_ten_thousand_malformed_messages_are_dead_letters_and_every_job_among_them_is_done(
    rig: Any, consumer: Callable[..., Any]
) -> None:
    one = consumer(handlers="examples.bench.handlers:handlers", concurrency=100)
    await one.ready()
    jobs: list[UUID] = []
    began = time.monotonic()
    expected = await asyncio.to_thread(publish, rig.broker, ODD + HUGE, jobs)
    ends = await rig.final(*jobs, seconds=500)
    assert {str(end.state) for end in ends} == {"succeeded"}
    await until("every dead letter", lambda: len(rig.dead_letters) >= MALFORMED, 500)
    print(f"{MALFORMED} and {len(jobs)} jobs in {time.monotonic() - began:.1f} s")
    assert sum(expected.values()) == MALFORMED
    assert Counter(str(dead.headers[wire.REASON]) for dead in rig.dead_letters) == expected
    assert len({dead.message_id for dead in rig.dead_letters}) == MALFORMED
    assert all(UUID(dead.message_id) for dead in rig.dead_letters)
    assert one.readiness() == (True, f"consuming {QUEUE} with 100 slots")
    assert len(rig.registered) == 1, "it kept its first connection all along"
    assert await rig.ready_messages() == 0
