"""Whatever is posted, told or asked, the loop turns for all others: an 8 MiB body stood it for 1.6 s, a wrong name for 0.1 s."""

import gc
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pretended_server import QUEUE, Server
from standing import turns

from leveret.events import RELAXED, HandlerInfo
from leveret_producer.catalog import unknown_queue
from leveret_producer.outbox.hints import HintBook
from leveret_producer.store.queues import KnownQueue
from leveret_producer.submission import MOST_BODY

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USUAL = b'{"type":"t","payload":{"url":"https://example.org/%s","n":[%s]}}' % (b"p" * 300, b",".join([b"12345"] * 70))


def filled(one: bytes, most: int = 10_000) -> bytes:
    number = min(most, (MOST_BODY - 2) // (len(one) + 1))
    return b"[" + b",".join([one] * number) + b"]"


def of(payload: bytes) -> bytes:
    return b'{"type":"t","payload":%b}' % payload


def many(one: bytes, size: int = 250 << 10) -> bytes:
    return b"[" + b",".join([one] * (size // (len(one) + 1))) + b"]"


def alone(payload: bytes) -> bytes:
    return of(payload)[:MOST_BODY]


LARGE = MOST_BODY - 100
DEEP = b"[" * 900 + b"]" * 900
BODIES: dict[str, tuple[Callable[[], bytes], int]] = {
    "jobs as usual": (lambda: filled(USUAL), 202),
    "as many as can be": (lambda: filled(of(b"1")), 202),
    "for later": (lambda: filled(b'{"type":"t","payload":1,"delay":"0.25h"}'), 202),
    "at a time": (lambda: filled(b'{"type":"t","payload":1,"run_at":"2026-01-01T00:00:00+05:30"}'), 202),
    "types of their own": (
        lambda: b"[" + b",".join(b'{"type":"t%d","payload":1}' % n for n in range(10_000)) + b"]",
        202,
    ),
    "empty lists": (lambda: filled(of(many(b"[]"))), 202),
    "small objects": (lambda: filled(of(many(b'{"":0}'))), 202),
    "numbers": (lambda: filled(of(many(b"1.5e3"))), 202),
    "keys": (lambda: filled(of(b"{" + b",".join(b'"%d":0' % n for n in range(25_000)) + b"}")), 202),
    "escapes": (lambda: filled(of(b'"' + b"\\u00e9" * 40_000 + b'"')), 202),
    "letters of four bytes": (lambda: filled(of(b'"' + "\U0001f407".encode() * 60_000 + b'"')), 202),
    "spaces": (lambda: filled(b" " * 400 + of(b" " * 400 + b"1")), 202),
    "deep": (lambda: filled(of(many(DEEP))), 422),
    "too many": (lambda: b"[" + b",".join([of(b"1")] * 300_000) + b"]", 422),
    "a list of lists": (lambda: many(b"[]", LARGE), 422),
    "one payload of lists": (lambda: alone(many(b"[]", LARGE)), 413),
    "one payload of objects": (lambda: alone(many(b'{"":0}', LARGE)), 413),
    "one payload, deep": (lambda: alone(many(DEEP, LARGE)), 413),
    "one string": (lambda: alone(b'"' + b"a" * (LARGE - 2) + b'"'), 413),
    "one string, not alone": (lambda: b"[" + alone(b'"' + b"a" * (LARGE - 4) + b'"') + b"]", 413),
    "one number": (lambda: alone(b"1" * LARGE), 413),
    "a number and nothing else": (lambda: b"1" * MOST_BODY, 422),
    "a string and nothing else": (lambda: b'"' + b"\\n" * (MOST_BODY // 2 - 1) + b'"', 413),
    "a long type": (lambda: filled(b'{"type":"' + b"\\u0041" * 160_000 + b'","payload":1}'), 422),
    "a long delay": (lambda: filled(b'{"type":"t","payload":1,"delay":"' + b"9" * 900_000 + b's"}'), 422),
    "a long key": (lambda: filled(b'{"' + b"k" * 900_000 + b'":1}'), 422),
    "unknown fields": (lambda: b"{" + b",".join(b'"k%d":0' % n for n in range(600_000)) + b"}", 413),
    "brackets": (lambda: b"[" * MOST_BODY, 400),
    "spaces and nothing else": (lambda: b" " * MOST_BODY, 400),
    "spaces behind": (lambda: of(b"1") + b" " * LARGE, 202),
    "broken at its end": (lambda: filled(USUAL)[:-1] + b"}", 400),
    "halves of pairs": (lambda: filled(of(b'"' + b"\\ud83d\\ude00" * 20_000 + b'\\ud83d"')), 400),
    "not UTF-8": (lambda: filled(of(b'"' + b"a" * 200_000 + b'\xff"')), 400),
    "backslashes": (lambda: b'{"' + b"\\" * LARGE, 413),
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES.keys())
async def test_whatever_the_body_others_have_the_loop(body: Callable[[], bytes], status: int) -> None:
    made, server = body(), Server()
    assert len(made) <= MOST_BODY

    async def post() -> None:
        answer, document, _ = await server.call(made)
        assert answer == status, document

    await turns(post)


async def test_schemas_hold_nobody_up() -> None:
    item = {"type": "object", "properties": {"url": {"type": "string", "pattern": "^https://[a-z.]+/p*$"}}}
    info = HandlerInfo({RELAXED: 1, **item, "required": ["url", "n"]})
    server = Server(KnownQueue(QUEUE, 5, {"t": info}, "v1"))
    body = filled(USUAL)

    async def post() -> None:
        assert (await server.call(body))[0] == 202

    await turns(post)


@pytest.mark.parametrize("body", ["small objects", "jobs as usual", "letters of four bytes", "one payload of lists"])
async def test_a_body_costs_a_few_times_its_size(body: str) -> None:
    """8 MiB of `[]` cost 180 MiB, since trees were made of it before anything was refused."""
    made, server = BODIES[body][0](), Server()
    gc.collect()
    tracemalloc.start()
    try:
        await server.call(made)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MOST_BODY, f"{peak / MOST_BODY:.1f} times"


async def test_a_wrong_name_among_thousands_of_queues_costs_little() -> None:
    """It was compared with all queues, 27 ms for a thousand; and those of other teams were named."""
    names = [f"team-{n % 23}.orders-{n}" for n in range(5_000)]
    server = Server(*(KnownQueue(name, 5, {}, "v1") for name in names))
    path = "/v1/queues/team-3.orderz-3/jobs"

    async def ask() -> None:
        for _ in range(20):
            status, document, _ = await server.call(b'{"type":"t","payload":1}', path)
            assert (status, document["detail"].count("team-3.")) == (404, 4)

    await turns(ask)
    assert "team-3.orders-3," in unknown_queue("team-3.orderz-3", names).problem.detail
    for wrong in ("team-99.orders-3", "orders-3", ""):
        assert "Known ones" not in unknown_queue(wrong, names).problem.detail


class Counted(str):
    """A queue's name that counts how often it is compared, character by character."""

    looked_at = 0
    __slots__ = ()

    def __getitem__(self, key: object) -> str:
        Counted.looked_at += 1
        return super().__getitem__(key)  # type: ignore[index]


def test_only_some_of_a_namespace_are_compared() -> None:
    Counted.looked_at = 0
    unknown_queue("a.x", [Counted(f"a.{n}") for n in range(5_000)])
    assert 0 < Counted.looked_at <= 400


async def test_a_thousand_queues_hints_hold_nobody_up() -> None:
    book = HintBook("p")

    async def commits() -> None:
        for n in range(1_000):
            book.committed(f"q{n}", 1)
        book.unconfirmed({f"q{n}": 1 for n in range(1_000)})
        book.oldest_waiting({f"q{n}": NOW for n in range(1_000)})
        assert len(book.due(NOW + timedelta(seconds=len(book.due(NOW))))) in (0, 1_000)

    await turns(commits)
