"""A queue on a real broker, consumer processes for it, and witnesses: events, dead letters, and what handlers wrote."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aio_pika
import pytest
import uuid_utils.compat as uuid_utils
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from consuming import environment
from containers import free_port
from transacting import DRIVERS, Rows, made_rows

from leveret import control, events, topology, wire
from leveret.control import Cancel, CancelRule, Control
from leveret.events import HandlersRegistered, JobEvent
from leveret.jobs import FINAL, Envelope, State
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database

QUEUE = "leveret.under-test"
SETTLES_WITHIN = 2.0  # s


async def until(what: str, seen: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.05)


@dataclass
class Consumer:
    """A consumer process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def readiness(self) -> tuple[bool, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return True, json.load(answer)["says"]
        except urllib.error.HTTPError as answer:
            with answer:
                return False, json.load(answer)["says"]
        except OSError as problem:
            return False, str(problem)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    async def ready(self, seconds: float = 60) -> None:
        await self.says(lambda ready, _: ready, seconds)

    async def says(self, what: Callable[[bool, str], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not what(*(state := await asyncio.to_thread(self.readiness))):
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{state}, exit {self.process.poll()}; its log:\n{self.log.read_text()}")
            await asyncio.sleep(0.05)

    def signal(self, which: signal.Signals) -> None:
        self.process.send_signal(which)

    async def ended(self, seconds: float = 60) -> int:
        return await asyncio.to_thread(self.process.wait, seconds)


@pytest.fixture
def consumer(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Consumer]]:
    """Start consumers; what still runs at the end of the test is killed."""
    started: list[Consumer] = []

    def start(module: str = "leveret_consumer", under: Sequence[str] = (), **variables: object) -> Consumer:
        port = free_port()
        own = environment(broker, port, queue=QUEUE, pod=f"pod-{len(started)}")
        given = {f"LEVERET_{name.upper()}": str(value) for name, value in variables.items()}
        log = tmp_path / f"consumer-{len(started)}.log"
        with log.open("wb") as file:
            command = [*under, sys.executable, "-m", module]
            process = subprocess.Popen(command, env=own | given, stderr=file)
        started.append(Consumer(process, port, log))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()
        one.process.wait()


@dataclass
class Rig:
    """The broker's side: submit jobs, and see what is told of them."""

    broker: Broker
    connection: AbstractConnection
    told: list[JobEvent] = field(default_factory=list)
    queue_of: dict[UUID, str] = field(default_factory=dict)  # as it was told
    registered: list[HandlersRegistered] = field(default_factory=list)
    dead_letters: list[AbstractIncomingMessage] = field(default_factory=list)
    declared_at: float = 0.0
    publisher: tuple[AbstractConnection, Publisher] | None = None  # and the connection that it's on
    controls: tuple[AbstractConnection, AbstractChannel] | None = None

    async def declare_queue(self) -> None:
        async with self.connection.channel() as channel:
            await declare(channel, topology.for_queue(QUEUE))
        self.declared_at = time.monotonic()

    async def settle(self) -> None:
        """Let a new queue settle before the broker is killed.

        RabbitMQ 4.3 writes which quorum queues it has to disk up to half a second after it declared one. Killed before, it
        finds the queue's log when it starts again, but not whose it is, and begins an empty queue.
        """
        await asyncio.sleep(max(0, self.declared_at + SETTLES_WITHIN - time.monotonic()))

    async def delete_queue(self) -> None:
        async with self.connection.channel() as channel:
            await channel.queue_delete(QUEUE)

    async def submit(self, type: str, payload: object, **fields: Any) -> UUID:
        job = Envelope(uuid_utils.uuid7(), QUEUE, type, json.dumps(payload, default=str).encode(), **fields)
        await self.send(wire.to_message(job))
        return job.id

    async def send(self, message: aio_pika.Message) -> None:
        # One for all that is sent on a connection: opening a channel costs more than a publish, and they stay open.
        if self.publisher is None or self.publisher[0] is not self.connection:
            self.publisher = self.connection, await Publisher.open(self.connection)
        await self.publisher[1].publish(topology.JOBS, QUEUE, message)

    async def tell(self, *commands: Cancel | CancelRule) -> None:
        """Write into the control stream, as a producer does."""
        if self.controls is None or self.controls[0] is not self.connection:
            channel = await self.connection.channel(publisher_confirms=True, on_return_raises=True)
            self.controls = self.connection, channel
        body = control.encode(Control(datetime.now(UTC), [*commands]))
        await self.controls[1].default_exchange.publish(aio_pika.Message(body, delivery_mode=2), topology.CONTROL)

    async def cancel(self, *jobs: UUID, queue: str = QUEUE) -> None:
        await self.tell(Cancel(queue, control.pack((job, 1) for job in jobs), control.until(datetime.now(UTC))))

    async def listen(self) -> None:
        channel = await self.connection.channel()
        await (await channel.get_queue(topology.EVENTS, ensure=False)).consume(self._heard, no_ack=True)
        dead = await channel.get_queue(topology.dead_queue(QUEUE), ensure=False)
        await dead.consume(self._found_dead, no_ack=True)

    async def _heard(self, message: AbstractIncomingMessage) -> None:
        if message.exchange == topology.DEAD:
            return  # a dead letter itself, for the recorder
        queue, what = events.decode(message.routing_key or "", message.body)
        if isinstance(what, HandlersRegistered):
            assert queue == QUEUE
            self.registered.append(what)
        else:
            assert isinstance(what, list)
            self.told += what
            self.queue_of |= {event.id: queue for event in what}

    def of(self, job: UUID) -> list[JobEvent]:
        """Return what was told of a job, in the order of its history: a next attempt may be told of before the last one's end."""
        return sorted((event for event in self.told if event.id == job), key=lambda event: event.key)

    def ends(self, job: UUID) -> list[JobEvent]:
        """Return what was told of the ends of a job's attempts; one that is soon over has no start of its own."""
        return [event for event in self.of(job) if event.state is not State.RUNNING]

    def states(self, job: UUID) -> list[str]:
        return [str(event.state) for event in self.of(job)]

    async def final(self, *jobs: UUID, seconds: float = 60) -> list[JobEvent]:
        """Wait for the ends of jobs; return the first final event of each."""
        end = time.monotonic() + seconds
        while True:
            ends = {event.id: event for event in reversed(self.told) if event.state in FINAL}
            if all(job in ends for job in jobs):
                return [ends[job] for job in jobs]
            if time.monotonic() > end:
                left = [str(job) for job in jobs if job not in ends]
                told = [f"{event.id} {event.state} {event.attempt}/{event.delivery}" for event in self.told]
                ready = await self.ready_messages()
                raise TimeoutError(f"not final: {left}; told: {told}; registered {len(self.registered)}; ready {ready}")
            await asyncio.sleep(0.02)

    async def retrying(self, job: UUID) -> JobEvent:
        """Wait for the first report of an attempt that is tried again."""
        await until("retrying", lambda: "retrying" in self.states(job))
        return next(event for event in self.of(job) if event.state is State.RETRYING)

    async def dead(self, seconds: float = 60) -> AbstractIncomingMessage:
        """Take the next dead letter."""
        await until("a dead letter", lambda: bool(self.dead_letters), seconds)
        return self.dead_letters.pop(0)

    async def _found_dead(self, message: AbstractIncomingMessage) -> None:
        self.dead_letters.append(message)

    async def ready_messages(self) -> int:
        """How many messages wait in the queue."""
        (ready,) = await self.messages(QUEUE)
        return ready

    async def messages(self, *queues: str) -> list[int]:
        """How many messages wait in each of these queues."""
        async with self.connection.channel() as channel:
            found = [await channel.declare_queue(name, passive=True) for name in queues]
        return [queue.declaration_result.message_count or 0 for queue in found]


@pytest.fixture
async def rig(broker: Broker) -> AsyncIterator[Rig]:
    """The queue is declared, and what consumers report is heard."""
    async with await open_connection(broker, "test") as connection:
        made = Rig(broker, connection)
        await declare(await connection.channel(), topology.shared())
        await made.declare_queue()
        await made.listen()
        yield made


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    path = tmp_path / "witness"
    path.touch()
    return path


def lines(witness: Path, word: str) -> list[str]:
    return [line for line in witness.read_text().splitlines() if line.startswith(word)]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """What a handler's transaction goes through."""
    return str(request.param)


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[Rows]:
    """What transactions have committed, in a database with the table of done-marks."""
    async with made_rows(database) as made:
        yield made
