"""Delays end to end: handlers that ask for one, and a client that is not ours, pika, with each of the three headers."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pika  # type: ignore[import-untyped]
from producers import Producer, eventually_true, known, operating, producing, ready

from leveret.settings import Broker, Database

QUEUE = "leveret.under-test"
LATE = 2.0  # s, at most
ASKED = [0, 0.2, 1, 1.5, 2, 2.1, 2.5, 3, 4, 6]  # s
WAITS: list[tuple[dict[str, object], float]] = [
    ({"leveret-delay": "2500ms", "mine": 7}, 2.5),
    ({"leveret-delay": "500ms"}, 0.5),
    ({"leveret-delay": "5s"}, 5),
    ({"leveret-delay": "0s"}, 0),
    ({"x-delay": 3_500}, 3.5),
    ({"x-delay": 1}, 0.001),
    ({"x-delay": -3_500}, 0),
    ({"leveret-run-at": (datetime(2001, 1, 1, tzinfo=UTC)).isoformat()}, 0),
]
REFUSED: list[dict[str, object]] = [
    {"leveret-delay": "soon"},
    {"leveret-run-at": "2026-11-29T12:00:00"},
    {"x-delay": "soon"},
    {"x-delay": 10**13},
    {"x-delay": 5, "leveret-delay": "5s"},
]


def submit(broker: Broker, jobs: list[tuple[str, object, dict[str, object]]]) -> list[str]:
    """Publish jobs with these headers, and return their ids."""
    login = pika.PlainCredentials(broker.username, broker.password)
    where = pika.ConnectionParameters(broker.host, broker.port, broker.vhost, login)
    ids = [str(uuid4()) for _ in jobs]
    with pika.BlockingConnection(where) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for job, (kind, payload, headers) in zip(ids, jobs, strict=True):
            properties = pika.BasicProperties(message_id=job, type=kind, delivery_mode=2, headers=headers)
            channel.basic_publish("leveret.jobs", QUEUE, json.dumps(payload).encode(), properties, mandatory=True)
    return ids


async def ended(producer: Producer, ids: list[str], *states: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}

    async def all_ended() -> bool:
        for job in ids:
            answer = await producer.http.get(f"/v1/jobs/{job}")
            if answer.status_code == 200 and answer.json()["state"] in states:
                found[job] = answer.json()
        return len(found) == len(ids)

    await eventually_true(all_ended, "all have ended")
    return [found[job] for job in ids]


def at(time: str) -> datetime:
    return datetime.fromisoformat(time)


async def test_no_delay_is_early_and_none_is_two_seconds_late(
    broker: Broker, database: Database, consumer: Callable[..., Any]
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE):
        await ready(producer)
        await known(producer, QUEUE)
        await consumer(handlers="delay_jobs:handlers").ready()
        begun = time.time()
        soon = datetime.now(UTC) + timedelta(seconds=5)
        ids = await asyncio.to_thread(
            submit,
            broker,
            [
                *(("later", seconds, {}) for seconds in ASKED),
                *(("now", number, headers) for number, (headers, _) in enumerate(WAITS)),
                ("now", 0, {"leveret-run-at": soon.isoformat()}),
                *(("now", 0, headers) for headers in REFUSED),
            ],
        )
        sent = time.time()
        jobs = await ended(producer, ids, "succeeded", "dead")
        asked, waited, timed = jobs[: len(ASKED)], jobs[len(ASKED) : -len(REFUSED) - 1], jobs[-len(REFUSED) - 1]
        for seconds, job in zip(ASKED, asked, strict=True):
            first, second = (at(one["started_at"]) for one in job["attempts"])
            assert seconds <= (second - first).total_seconds() <= seconds + LATE, job
        for (headers, seconds), job in zip(WAITS, waited, strict=True):
            assert (job["state"], [one["attempt"] for one in job["attempts"]]) == ("succeeded", [1]), headers
            started = at(job["started_at"]).timestamp()
            assert begun + seconds <= started <= sent + seconds + LATE, headers
        assert soon <= at(timed["started_at"]) <= soon + timedelta(seconds=LATE)
        refused = jobs[-len(REFUSED) :]
        assert {(job["state"], job["error"]["reason"], job["started_at"]) for job in refused} == {
            ("dead", "InvalidDelay", None)
        }

        # A redrive doesn't wait.
        answer = await producer.http.post(
            f"/v1/queues/{QUEUE}/dead-letters/redrive", json={"ids": [job["id"] for job in refused]}
        )
        assert answer.status_code == 202, answer.text
        again = await ended(producer, ids[-len(REFUSED) :], "succeeded")
        assert {job["generation"] for job in again} == {2}
