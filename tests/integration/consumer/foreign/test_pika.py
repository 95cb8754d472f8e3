"""A client that is not ours, pika, follows the wire contract: it submits jobs and hears of them by direct reply-to."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pika  # type: ignore[import-untyped]

from leveret.settings import Broker

DIRECT = "amq.rabbitmq.reply-to"


def ask(broker: Broker, jobs: list[tuple[str, object]]) -> dict[str, tuple[str, object]]:
    """Submit jobs, wait for their replies on the same channel, and return outcome and body by correlation id."""
    login = pika.PlainCredentials(broker.username, broker.password)
    where = pika.ConnectionParameters(broker.host, broker.port, broker.vhost, login)
    heard: dict[str, tuple[str, object]] = {}

    def hear(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        assert properties.correlation_id not in heard, "answered twice"
        heard[properties.correlation_id] = (properties.headers["leveret-outcome"], json.loads(body))

    with pika.BlockingConnection(where) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_consume(DIRECT, hear, auto_ack=True)
        for number, (kind, payload) in enumerate(jobs):
            properties = pika.BasicProperties(
                message_id=str(uuid4()),
                type=kind,
                content_type="application/json",
                delivery_mode=2,
                timestamp=int(time.time()),
                correlation_id=str(number),
                reply_to=DIRECT,
            )
            channel.basic_publish(
                "leveret.jobs", "leveret.under-test", json.dumps(payload).encode(), properties, mandatory=True
            )
        end = time.monotonic() + 90
        while len(heard) < len(jobs):
            assert time.monotonic() < end, f"no reply for {set(map(str, range(len(jobs)))) - set(heard)}"
            connection.process_data_events(time_limit=0.1)
    return heard


async def test_pika_submits_jobs_and_hears_results_and_dead_letters(rig: Any, consumer: Callable[..., Any]) -> None:
    retry = '{"maxAttempts":2,"backoff":{"initial":"0s"}}'
    await consumer(handlers="examples.bench.handlers:handlers", retry=retry).ready()
    jobs: list[tuple[str, object]] = [
        ("fail", {"times": 1}),
        ("fail", {"times": 2}),
        ("sleep", {"seconds": "soon"}),
        *(("echo", {"value": number}) for number in range(200)),
    ]
    heard = await asyncio.to_thread(ask, rig.broker, jobs)
    assert heard["0"] == ("succeeded", 2), "the reply's address outlives the copy for the next attempt"
    dead = [heard[name] for name in ("1", "2")]
    assert [outcome for outcome, _ in dead] == ["dead", "dead"]
    assert [problem["reason"] for _, problem in dead] == ["AttemptsExhausted", "InvalidPayload"]  # type: ignore[index]
    assert [heard[str(number + 3)] for number in range(200)] == [("succeeded", number) for number in range(200)]
    assert len(rig.dead_letters) == 2
