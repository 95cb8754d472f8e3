"""Somebody deletes what is Leveret's under a producer and a consumer: every job ends, and no attempt runs twice."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from consuming import consuming, in_states
from deletions import Deleted, delete
from producers import QUEUE, Producer, known, operating, producing, ready

from leveret import wire
from leveret.jobs import Envelope
from leveret.rabbitmq.connection import BrokerGone, open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database
from leveret.topology import DEAD, EVENTS, EVENTS_DEAD, JOBS, SIGNALS, UNROUTABLE, Binding, dead_queue, delay_exchange
from leveret_producer.recorder.inbox import Inbox

LEVEL = delay_exchange(0)
CLIENTS = "answers of a client that has deleted it"

ROUNDS: dict[str, list[Deleted]] = {
    "queues": [f"queue {name}" for name in (LEVEL, EVENTS, EVENTS_DEAD, dead_queue(QUEUE))],
    # With the jobs' exchange goes the binding of their queue.
    "exchanges": [f"exchange {name}" for name in (JOBS, UNROUTABLE, LEVEL, DEAD, EVENTS, SIGNALS)],
    "bindings": [
        Binding(LEVEL, LEVEL),
        Binding(DEAD, dead_queue(QUEUE), QUEUE),
        Binding(DEAD, EVENTS, QUEUE),
        Binding(EVENTS, EVENTS, "#"),
    ],
}


async def submitted(producer: Producer, witness: Path, *jobs: tuple[str, dict[str, object]]) -> list[str]:
    bodies = [{"type": kind, "payload": {"witness": str(witness), **payload}} for kind, payload in jobs]
    answer = (await producer.submit(*bodies)).json()
    return [one["id"] for one in answer.get("jobs", [answer])]


async def one_round(
    producer: Producer, connection: AbstractConnection, witness: Path, those: Sequence[Deleted]
) -> None:
    """Delete something under a job that runs; then it, and others of each kind, end as they should."""
    running = await submitted(producer, witness, ("sleep", {"seconds": 1}))
    await in_states(producer, running, "running")
    await delete(connection, *those)
    kinds: list[tuple[str, dict[str, object]]] = [
        ("sleep", {}),
        ("fail", {"times": 1}),
        ("fail-slowly", {"times": 1}),
        ("fail", {"times": 9}),
    ]
    jobs = await submitted(producer, witness, *kinds)
    asks = Envelope(uuid4(), QUEUE, "sleep", json.dumps({"witness": str(witness)}).encode(), reply_to=CLIENTS)
    await (await Publisher.open(connection)).publish(JOBS, QUEUE, wire.to_message(asks))
    await in_states(
        producer,
        [*running, *jobs, str(asks.id)],
        "succeeded",
        "succeeded",
        "succeeded",
        "succeeded",
        "dead",
        "succeeded",
    )


async def test_every_job_ends_and_no_attempt_runs_twice_though_all_of_ours_is_deleted(
    broker: Broker, database: Database, tmp_path: Path
) -> None:
    log, witness = tmp_path / "consumer.log", tmp_path / "witness"
    async with (
        producing(broker, database) as producer,
        operating(broker, QUEUE),
        consuming(broker, log),
        await open_connection(broker, "vandal") as connection,
    ):
        await ready(producer)
        await known(producer)
        for name, those in ROUNDS.items():
            try:
                await one_round(producer, connection, witness, those)
            except AssertionError as problem:
                raise AssertionError(f"{name}: {problem}; the consumer's log:\n{log.read_text()}") from None
        with pytest.raises(ChannelNotFoundEntity):  # it's the client's, and the client doesn't want it
            async with connection.channel() as channel:
                await channel.declare_queue(CLIENTS, passive=True)
    starts = Counter(line for line in witness.read_text().splitlines() if line.startswith("start"))
    assert set(starts.values()) == {1}
    assert "broker is not connected" not in log.read_text(), "no session of the consumer's ends for it"


async def test_events_that_were_delivered_before_their_queue_was_deleted_are_recorded(broker: Broker) -> None:
    async with operating(broker) as publisher, await open_connection(broker, "vandal") as connection:
        inbox = await Inbox.subscribe(connection, EVENTS, 100)
        for number in range(3):
            await publisher.publish(EVENTS, f"job.{number}", aio_pika.Message(b""))
        await asyncio.sleep(0.5)  # they are delivered
        await delete(connection, f"queue {EVENTS}")
        await asyncio.sleep(0.5)
        batch = await inbox.batch()
        assert [one.routing_key for one in batch] == ["job.0", "job.1", "job.2"]
        await inbox.acknowledge(batch)
        with pytest.raises(BrokerGone):
            await inbox.batch()
