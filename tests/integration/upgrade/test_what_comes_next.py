"""What a later version tells is read by today's: states, fields and events that nothing here writes yet."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aio_pika
from producers import QUEUE, Producer, eventually_true, known, operating, producing, ready

from leveret import topology
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database

NOW = datetime.now(UTC)


def _event(job: str, state: str, second: float, **fields: object) -> dict[str, object]:
    at = (NOW + timedelta(seconds=second)).isoformat()
    return {
        "id": job,
        "type": "t",
        "state": state,
        "at": at,
        "consumer": "pod",
        "submitted_at": NOW.isoformat(),
        **fields,
    }


async def _publish(publisher: Publisher, key: str, body: object) -> None:
    """As it is on the wire: today's classes are not asked."""
    await publisher.publish(topology.EVENTS, key, aio_pika.Message(json.dumps(body).encode()))


async def _shown(producer: Producer, job: str, state: str) -> dict[str, Any]:
    async def is_there() -> bool:
        answer = await producer.http.get(f"/v1/jobs/{job}")
        return answer.status_code == 200 and answer.json()["state"] == state

    await eventually_true(is_there, f"the job is {state}")
    return await producer.job(job)


async def _listed(producer: Producer, state: str) -> list[str]:
    page = (await producer.http.get("/v1/jobs", params={"queue": QUEUE, "state": state})).json()
    return [job["id"] for job in page["jobs"]]


START = NOW.isoformat()
# The states that a job goes through, each with what its event has beside; and the outcomes of its attempts.
HISTORIES = {
    "cancelled while it waited": ([("blocked", {}), ("cancelled", {"deadline": START})], ["cancelled"]),
    "cancelled while it ran": (
        [
            ("running", {"started_at": START, "wait_seconds": 0.1, "headers": {"a": "b"}, "unheard_of": [1]}),
            ("cancelled", {"started_at": START, "run_seconds": 1.0, "deadline": START, "headers": {}}),
        ],
        ["cancelled"],
    ),
    "cancelled between its attempts": (
        [("running", {"started_at": START}), ("retrying", {"started_at": START}), ("cancelled", {"attempt": 2})],
        ["retrying", "cancelled"],
    ),
    "cancelled, and dead by a stale report": ([("cancelled", {}), ("dead", {})], ["cancelled"]),
    "dead by a stale report, and cancelled": ([("dead", {}), ("cancelled", {})], ["cancelled"]),
    "it had succeeded when it was cancelled": ([("cancelled", {}), ("succeeded", {"result": 1})], ["succeeded"]),
    "blocked": ([("blocked", {"attempt": 0, "deadline": START, "headers": {"a": "b"}})], []),
    "blocked, and then it ran": ([("blocked", {"attempt": 0}), ("running", {"started_at": START})], [None]),
}
ENDS = ("cancelled", "cancelled", "cancelled", "cancelled", "cancelled", "succeeded", "blocked", "running")
FINAL = {"cancelled", "succeeded"}


async def test_states_and_fields_are_recorded_and_shown(broker: Broker, database: Database) -> None:
    ids = {name: str(uuid4()) for name in HISTORIES}
    async with producing(broker, database) as producer, operating(broker, QUEUE) as publisher:
        await ready(producer)
        await known(producer)
        for name, (history, _) in HISTORIES.items():
            for second, (state, fields) in enumerate(history):
                await _publish(publisher, f"job.{QUEUE}", [_event(ids[name], state, second, **fields)])
        for (name, (_, outcomes)), state in zip(HISTORIES.items(), ENDS, strict=True):
            job = await _shown(producer, ids[name], state)
            assert (job["finished_at"] is not None) is (state in FINAL), name
            assert [one["outcome"] for one in job["attempts"]] == outcomes, name
        for state in {*ENDS}:
            so = {ids[name] for name, end in zip(HISTORIES, ENDS, strict=True) if end == state}
            assert set(await _listed(producer, state)) == so
        assert (await producer.http.get(f"/v1/queues/{QUEUE}/dead-letters")).json()["dead_letters"] == []
        assert (await producer.http.get(f"/v1/queues/{QUEUE}")).status_code == 200

        def finished(outcome: str) -> float:
            labels = {"queue": QUEUE, "outcome": outcome}
            return producer.metrics.registry.get_sample_value("leveret_jobs_finished_total", labels) or 0

        async def counted() -> bool:  # an event is counted after its commit, by which it is shown
            # The one that was dead first is counted as that, if this was recorded before the cancel came.
            return finished("cancelled") + finished("dead") == 5 and finished("cancelled") >= 4

        await eventually_true(counted, "five cancelled jobs are counted")
        await _nothing_is_wrong(producer)


async def test_what_asks_for_a_cancel_is_heeded_whatever_else_it_says(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as publisher:
        await ready(producer)
        await known(producer)
        job = str((await producer.submit({"type": "t", "payload": 0})).json()["id"])
        for asked in ({"id": job}, {"id": job, "generation": 1, "at": START}, {"id": job, "by": "somebody"}):
            await _publish(publisher, f"cancel.{QUEUE}", asked)
        other = str(uuid4())
        await _publish(publisher, f"job.{QUEUE}", [_event(other, "succeeded", 0)])
        await _shown(producer, other, "succeeded")  # what came before it has been read
        shown = await producer.job(job)
        assert shown["state"] in {"accepted", "queued"}, "it may be with the broker"
        assert shown["cancel_requested_at"] is not None
        await _nothing_is_wrong(producer)


async def test_states_can_be_asked_for(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer:
        await ready(producer)
        document = (await producer.http.get("/openapi.json")).json()
        (asked,) = [one for one in document["paths"]["/v1/jobs"]["get"]["parameters"] if one["name"] == "state"]
        shown = document["components"]["schemas"]["State"]
        assert {"cancelled", "blocked"} <= set(asked["schema"]["enum"]) & set(shown["enum"])


async def _nothing_is_wrong(producer: Producer) -> None:
    assert producer.metrics.registry.get_sample_value("leveret_events_set_aside_total") == 0
    assert [one for family in producer.metrics.failures.collect() for one in family.samples if one.value] == []
