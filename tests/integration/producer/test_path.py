"""From POST over the database, the broker and the events to GET, on real servers."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
from producers import QUEUE, eventually_true, known, message_ids, operating, producing, ready, tell

from leveret.events import JobEvent
from leveret.jobs import State
from leveret.settings import Broker, Database


async def test_a_job_goes_from_post_to_its_result(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        answer = await producer.submit({"type": "echo", "payload": {"value": 1}})
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
        assert (job["state"], job["payload"], job["attempt"], job["max_attempts"]) == ("accepted", {"value": 1}, 0, 5)

        async def in_state(state: str) -> bool:
            return (await producer.job(job["id"]))["state"] == state

        await eventually_true(lambda: in_state("queued"), "queued")
        assert await message_ids(broker, QUEUE) == [job["id"]]

        now = datetime.now(UTC)
        running = JobEvent(UUID(job["id"]), "echo", State.RUNNING, now, "pod-1", started_at=now, wait_seconds=0.1)
        done = msgspec.structs.replace(
            running, state=State.SUCCEEDED, result=msgspec.Raw(b'{ "value":1 }'), wait_seconds=None, run_seconds=0.5
        )
        await tell(operator, f"job.{QUEUE}", [running, done])
        await eventually_true(lambda: in_state("succeeded"), "succeeded")
        found = await producer.job(job["id"])
        assert found["result"] == {"value": 1}
        assert found["finished_at"] is not None
        assert [one["outcome"] for one in found["attempts"]] == ["succeeded"]  # type: ignore[attr-defined]
