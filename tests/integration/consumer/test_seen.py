"""What a handler tells, and what becomes of its job, from a real consumer through real recorders to GET /v1/jobs/{id}."""

import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import uuid_utils.compat as uuid_utils
from producers import Producer, eventually_true, known, operating, producing, ready

from leveret import signals, topology
from leveret.rabbitmq.publisher import Publisher, Unroutable
from leveret.settings import Broker, Database
from leveret.signals import JobQueueTold
from leveret_producer.views import Job

QUEUE = "leveret.under-test"
KINDS = ["", "-in-thread", "-in-process"]
LAG = "leveret_recorder_lag_seconds"


@dataclass(frozen=True)
class World:
    """Two producers, so two recorders, and a consumer of ten slots."""

    producers: tuple[Producer, Producer]
    consumer: Any
    publisher: Publisher

    async def submit(self, *jobs: object) -> list[str]:
        answer = await self.producers[0].submit(*jobs, queue=QUEUE)
        assert answer.status_code == 202, answer.text
        found = answer.json()
        return [one["id"] for one in found.get("jobs", [found])]

    async def job(self, id: str) -> dict[str, Any]:
        answer = await self.producers[1].http.get(f"/v1/jobs/{id}")
        found: dict[str, Any] = answer.json()
        return found

    async def tell_present_version(self, version: str) -> None:
        """As the operator does, once the consumer listens: only then does it call a payload invalid."""
        told = JobQueueTold(QUEUE, datetime.now(UTC), version)
        message = aio_pika.Message(signals.encode(told))

        async def heard() -> bool:
            with contextlib.suppress(Unroutable):
                await self.publisher.publish(topology.SIGNALS, signals.routing_key(told), message)
                return True
            return False

        await eventually_true(heard, "the consumer listens to the operator")

    async def job_in(self, id: str, state: str, attempt: int) -> dict[str, Any]:
        """Wait for a state of an attempt, and with `running` for its progress."""
        found: dict[str, Any] = {}

        async def there() -> bool:
            found.update(await self.job(id))  # one that came over AMQP is a problem document until it was told of
            is_there: bool = found.get("state") == state and found["attempt"] == attempt
            return is_there and (state != "running" or found["progress"] is not None)

        await eventually_true(there, f"{state}, attempt {attempt}")
        return found


@pytest.fixture
async def world(broker: Broker, database: Database, consumer: Callable[..., Any]) -> AsyncIterator[World]:
    async with (
        producing(broker, database, "producer-a") as one,
        producing(broker, database, "producer-b") as other,
        operating(broker, QUEUE) as publisher,
    ):
        for producer in (one, other):
            await ready(producer)
            await known(producer, QUEUE)
        started = consumer(handlers="seen_jobs:handlers", version="v1")
        await started.ready()
        yield World((one, other), started, publisher)


@pytest.mark.parametrize("kind", KINDS)
async def test_progress_of_ten_jobs_rises_and_is_seen_within_a_second(world: World, kind: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    jobs = await world.submit(*[{"type": f"tell-the-time{kind}", "payload": str(gate)}] * 10)
    seen: dict[str, list[float]] = {job_id: [] for job_id in jobs}
    behind: list[float] = []
    lags: list[float] = []

    async def all_done() -> bool:
        done = 0
        for job_id in jobs:
            asked = time.time()
            job = await world.job(job_id)
            if progress := job["progress"]:
                seen[job_id].append(progress["done"])
                behind.append(asked - progress["done"])
                lags.extend(lag for one in world.producers if (lag := one.metrics.registry.get_sample_value(LAG)))
            done += job["state"] == "succeeded"
        if all(len(set(values)) >= 3 for values in seen.values()):
            gate.touch()
        return done == len(jobs)

    await eventually_true(all_done, "all are done")
    for values in seen.values():
        assert values == sorted(values)
    assert statistics.median(behind) < 1
    assert statistics.median(lags) < 1, "an event's age is counted from when it was told, not from the start of its job"


@pytest.mark.parametrize("kind", KINDS)
async def test_all_that_a_job_shows_and_a_context_offers(world: World, kind: str, tmp_path: Path) -> None:
    gate, run_at = tmp_path / "gate", datetime.now(UTC) + timedelta(seconds=1)
    type_ = f"everything{kind}"
    [job_id] = await world.submit({"type": type_, "payload": str(gate), "run_at": run_at.isoformat()})
    scheduled = await world.job(job_id)
    assert set(scheduled) == set(Job.__struct_fields__)
    assert (scheduled["state"], scheduled["attempt"], scheduled["started_at"]) == ("scheduled", 0, None)

    retrying = await world.job_in(job_id, "retrying", 1)
    error = retrying["error"]
    assert (error["reason"], error["type"], error["message"]) == ("Failed", "ValueError", "the first attempt fails")
    assert "seen_jobs.py" in error["traceback"]

    running = await world.job_in(job_id, "running", 2)
    assert running["progress"] == {"done": 2, "total": 4}
    assert (running["error"], running["result"], running["finished_at"], running["max_attempts"]) == (None,) * 3 + (3,)
    started_at = datetime.fromisoformat(running["started_at"])
    gate.touch()

    done = await world.job_in(job_id, "succeeded", 2)
    assert datetime.fromisoformat(done["started_at"]) == started_at
    result = done["result"]
    limit, finished_at = timedelta(seconds=30), datetime.fromisoformat(done["finished_at"])
    deadline = datetime.fromisoformat(result.pop("deadline"))  # counted from when the handler had a slot and began
    assert started_at + limit <= deadline < finished_at + limit
    own = {"job_id": job_id, "queue": QUEUE, "type": type_, "attempt": 2}
    assert result == own | {"max_attempts": 3, "delivery": 0, "dead_letter": None}
    assert (done["payload"], done["error"], done["generation"], done["correlation_id"]) == (str(gate), None, 1, None)
    assert abs(datetime.fromisoformat(done["run_at"]) - run_at) < timedelta(milliseconds=1)
    times = [datetime.fromisoformat(done[name]) for name in ("created_at", "run_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert [(one["attempt"], one["outcome"], one["consumer"]) for one in done["attempts"]] == [
        (1, "retrying", "pod-0"),
        (2, "succeeded", "pod-0"),
    ]
    assert done["attempts"][1]["started_at"] == done["started_at"]
    assert done["attempts"][1]["finished_at"] == done["finished_at"]
    lines = [json.loads(line) for line in world.consumer.log.read_text().splitlines() if '"colour"' in line]
    assert [(one["job"], one["type"], one["attempt"], one["colour"]) for one in lines] == [(job_id, type_, 2, "green")]


async def test_what_a_message_brings_and_a_redrive_changes(world: World, tmp_path: Path) -> None:
    await world.tell_present_version("v1")
    job_id = str(uuid_utils.uuid7())
    message = aio_pika.Message(b'{"not": "a path"}', message_id=job_id, type="everything", correlation_id="order 7")
    await world.publisher.publish(topology.JOBS, QUEUE, message)
    dead = await world.job_in(job_id, "dead", 1)
    assert (dead["correlation_id"], dead["error"]["reason"], dead["generation"]) == ("order 7", "InvalidPayload", 1)
    assert dead["finished_at"] is not None
    http = world.producers[0].http
    answer = await http.post(f"/v1/queues/{QUEUE}/dead-letters/redrive", json={"ids": [job_id]})
    assert answer.status_code == 202, answer.text

    async def again() -> bool:
        found = await world.job(job_id)
        return (found["generation"], found["state"]) == (2, "dead")

    await eventually_true(again, "it died again, as generation 2")
