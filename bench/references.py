"""The bare references: the least that asyncpg and aio-pika can be asked to do for the same effect.

They keep the guarantees that matter on the wire (commits, confirms, one ack for each message, quorum queues), and
nothing else: no validation, no outbox, no time-outs, no events.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar
from uuid import UUID, uuid4

import asyncpg
from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

QUORUM = {"x-queue-type": "quorum"}

PAYLOADS = "CREATE TABLE bare_payloads (id uuid PRIMARY KEY, body text NOT NULL)"
STATES = "CREATE TABLE bare_states (id uuid PRIMARY KEY, state text NOT NULL, rank bigint NOT NULL, at timestamptz)"

_INSERT = "INSERT INTO bare_payloads SELECT * FROM unnest($1::uuid[], $2::text[])"
_UPSERT = """
    INSERT INTO bare_states AS old
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::timestamptz[])
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, rank = excluded.rank, at = excluded.at
    WHERE old.rank < excluded.rank
"""

Rows = Sequence[tuple[object, ...]]
T = TypeVar("T")


async def insert(connection: asyncpg.Connection, lists: Sequence[Sequence[tuple[UUID, str]]]) -> float:
    """Insert each list of rows by one statement; return rows/s."""
    return await _write(connection, _INSERT, lists)


async def upsert(connection: asyncpg.Connection, lists: Sequence[Rows]) -> float:
    """Upsert each list of (id, state, rank, at) by one statement; return rows/s."""
    return await _write(connection, _UPSERT, lists)


async def _write(connection: asyncpg.Connection, statement: str, lists: Sequence[Rows]) -> float:
    columns = [list(zip(*rows, strict=True)) for rows in lists]
    began = time.perf_counter()
    for one in columns:
        await connection.execute(statement, *one)
    return sum(len(rows) for rows in lists) / (time.perf_counter() - began)


async def publish(connection: AbstractConnection, queue: str, messages: Sequence[Message], window: int) -> float:
    """Publish with confirms, so many in flight on one channel; return messages/s until all are confirmed."""
    channel = await connection.channel(publisher_confirms=True)

    async def one_after_the_other(some: Iterator[Message]) -> None:
        for message in some:
            await channel.default_exchange.publish(message, queue)

    began = time.perf_counter()
    shared = iter(messages)
    await asyncio.gather(*(one_after_the_other(shared) for _ in range(window)))
    seconds = time.perf_counter() - began
    await channel.close()
    return len(messages) / seconds


async def consume(connection: AbstractConnection, queue: str, count: int, prefetch: int) -> float:
    """Take messages that wait and ack each; return messages/s from the first delivery to the last ack."""
    channel = await connection.channel(publisher_confirms=False)
    await channel.set_qos(prefetch_count=prefetch)
    finished = asyncio.Event()
    began, acked = 0.0, 0

    async def take(message: AbstractIncomingMessage) -> None:
        nonlocal began, acked
        began = began or time.perf_counter()
        await message.ack()
        acked += 1
        if acked == count:
            finished.set()

    await (await channel.get_queue(queue, ensure=False)).consume(take)
    await finished.wait()
    seconds = time.perf_counter() - began
    await channel.close()
    return count / seconds


def in_lists(rows: Iterable[T], size: int) -> list[list[T]]:
    """Cut rows into lists of one size; the last may be shorter."""
    left = iter(rows)
    return list(iter(lambda: list(islice(left, size)), []))


class Caller:
    """RPC as aio-pika's own pattern has it: an exclusive callback queue, and a future for each correlation id."""

    def __init__(self, channel: AbstractChannel, queue: str, reply_to: str) -> None:
        self._channel, self._queue, self._reply_to = channel, queue, reply_to
        self._waiting: dict[str | None, asyncio.Future[bytes]] = {}

    @classmethod
    async def open(cls, connection: AbstractConnection, queue: str) -> "Caller":
        channel = await connection.channel()
        replies = await channel.declare_queue(exclusive=True)
        caller = cls(channel, queue, replies.name)
        await replies.consume(caller._hear, no_ack=True)
        return caller

    async def call(self, body: bytes) -> bytes:
        key = str(uuid4())
        answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        message = Message(body, correlation_id=key, reply_to=self._reply_to, delivery_mode=2)
        await self._channel.default_exchange.publish(message, self._queue)
        body_of_answer: bytes = await answer
        return body_of_answer

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        self._waiting.pop(message.correlation_id).set_result(message.body)
