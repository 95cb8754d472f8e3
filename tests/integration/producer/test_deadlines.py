"""A job's deadline in the store: as it was asked for, on each message that is published, and off once somebody redrives it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from producers import QUEUE, Producer, eventually_true, known, message_taken, operating, producing, ready, tell

from leveret import topology, wire
from leveret.events import Error, JobEvent
from leveret.jobs import Envelope, State
from leveret.settings import Broker, Database
from leveret_producer.recorder.merge import Report
from leveret_producer.store.migrate import migrate
from leveret_producer.store.outbox import OutboxRows
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.recording import Recording
from leveret_producer.store.returning import Returning

LATE = Error("DeadlineExceeded", "the job's deadline passed")
LETTERS = f"/v1/queues/{QUEUE}/dead-letters"


async def _shown(producer: Producer, job: str, state: str, generation: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def is_there() -> bool:
        answer = await producer.http.get(f"/v1/jobs/{job}")
        found.update(answer.json())
        return answer.status_code == 200 and (found["state"], found["generation"]) == (state, generation)

    await eventually_true(is_there, f"the job is {state}")
    return found


async def test_it_is_stored_shown_published_and_taken_off_by_a_redrive(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        for asked in ({"deadline": "2020-01-01T00:00:00Z"}, {"deadline": "2090-01-01T00:00:00Z", "delay": "never"}):
            refused = await producer.submit({"type": "t", "payload": 1}, {"type": "t", "payload": 1, **asked})
            assert (refused.status_code, len(refused.json()["errors"])) == (422, 1)
        at = datetime.now(UTC).replace(microsecond=250_999) + timedelta(hours=1)
        shown = wire.as_time(at).replace("250Z", "250000Z")
        accepted = (await producer.submit({"type": "t", "payload": 1, "deadline": at.isoformat()})).json()
        assert accepted["deadline"] == shown
        job = accepted["id"]
        assert (await message_taken(broker)).headers[wire.DEADLINE] == wire.as_time(at)
        assert (await _shown(producer, job, "queued"))["deadline"] == shown
        [listed] = (await producer.http.get(f"/v1/jobs?queue={QUEUE}")).json()["jobs"]
        assert listed["deadline"] == shown
        headers: dict[str, str | int] = {wire.REASON: "GaveUp"}
        await operator.publish(topology.DEAD, QUEUE, wire.to_message(_envelope(job, at), headers))
        assert (await _shown(producer, job, "dead"))["deadline"] == shown
        redriven = await producer.http.post(f"{LETTERS}/redrive", json={"all": True})
        assert redriven.status_code == 202, redriven.text
        message = await message_taken(broker)
        assert (message.headers[wire.GENERATION], wire.DEADLINE in message.headers) == (2, False)
        assert (await _shown(producer, job, "queued", 2))["deadline"] is None


def _envelope(job: str, deadline: datetime) -> Envelope:
    return Envelope(UUID(job), QUEUE, "t", b"1", deadline=wire.deadline_of(deadline))


async def test_who_was_told_by_a_reply_left_no_dead_letter(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        now, told, kept = datetime.now(UTC), str(uuid4()), str(uuid4())
        dead = [JobEvent(UUID(one), "t", State.DEAD, now, "pod", error=LATE, deadline=now) for one in (told, kept)]
        dead[0] = msgspec.structs.replace(dead[0], reply_to="answers")
        await tell(operator, f"job.{QUEUE}", dead)
        for one in (told, kept):
            job = await _shown(producer, one, "dead")
            assert job["error"]["reason"] == "DeadlineExceeded"
            assert datetime.fromisoformat(job["deadline"]) == now
        listed = (await producer.http.get(f"{LETTERS}?reason=DeadlineExceeded")).json()["dead_letters"]
        assert [one["id"] for one in listed] == [kept]
        answer = await producer.http.get(f"{LETTERS}/{told}")
        assert (answer.status_code, "a reply told" in answer.json()["detail"]) == (404, True)
        made = (await producer.http.post(f"{LETTERS}/purge", json={"all": True})).json()
        assert made["total"] == 1


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Postgres]:
    one = Postgres(lambda: database, connections=2, name="test")
    await migrate(one)
    yield one
    await one.close()


async def test_it_is_on_what_comes_back_and_on_a_next_attempt_that_the_store_publishes(store: Postgres) -> None:
    rows, recording, now = OutboxRows(store), Recording(store), datetime.now(UTC)
    deadline = wire.deadline_of(now + timedelta(hours=1))
    for job in (returned := uuid4(), retried := uuid4()):
        running = JobEvent(job, "t", State.RUNNING, now, "an older pod", attempt=2)  # which tells no deadline
        await recording.record([Report(QUEUE, running)])
    assert await Returning(store).put_back([Envelope(returned, QUEUE, "t", b"1", attempt=3, deadline=deadline)]) == []
    waits = msgspec.structs.replace(
        running, state=State.RETRYING, publish_at=now, payload=msgspec.Raw(b"1"), deadline=deadline, consumer="pod"
    )
    await recording.record([Report(QUEUE, waits)])
    async with store.transaction() as connection:
        await connection.exec_driver_sql("UPDATE jobs SET lease_until = now()")
    taken = {one.job.id: one.job for one in await rows.take(10)}
    assert {job: (one.attempt, one.deadline) for job, one in taken.items()} == {
        returned: (3, deadline),
        retried: (3, deadline),
    }


async def test_of_two_ends_the_first_says_whether_there_is_a_dead_letter(store: Postgres) -> None:
    """The copies of a message that was published twice end apart: one among the dead letters, the other by a reply."""
    recording, now, ids = Recording(store), datetime.now(UTC), [uuid4(), uuid4()]
    for job in ids:
        kept = JobEvent(job, "t", State.DEAD, now, "pod", error=Error("GaveUp", "boom"))
        told = JobEvent(job, "t", State.DEAD, now + timedelta(seconds=1), "pod", error=LATE, reply_to="r")
        for event in (kept, told) if job is ids[0] else (told, kept):
            await recording.record([Report(QUEUE, event)])
    async with store.transaction() as connection:
        found = await connection.exec_driver_sql("SELECT dead_reason, purged_at FROM jobs")
        assert [tuple(row) for row in found] == [("GaveUp", None)] * 2
