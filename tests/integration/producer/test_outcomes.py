"""What became of many jobs, read from a real PostgreSQL: whole, in order, and in parts where it is large."""

import json
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import uuid_utils.compat
from producers import QUEUE, eventually_true, known, operating, producing, ready, tell

from leveret.events import Error, JobEvent
from leveret.jobs import State
from leveret.settings import Broker, Database
from leveret_producer.store.outcomes import MOST_BYTES, Outcomes
from leveret_producer.store.postgres import Postgres

LARGE = json.dumps("x" * ((256 << 10) - 2)).encode()


async def test_many_jobs_are_told_of_in_order_however_large_their_results_are(
    broker: Broker, database: Database
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        waiting = (await producer.submit({"type": "free", "payload": 1})).json()["id"]
        large, dead = [uuid_utils.compat.uuid7() for _ in range(30)], uuid_utils.compat.uuid7()
        at = datetime.now(UTC)
        for one in large:
            event = JobEvent(
                UUID(str(one)), "free", State.SUCCEEDED, at, "pod", started_at=at, result=msgspec.Raw(LARGE)
            )
            await tell(operator, f"job.{QUEUE}", [event])
        error = Error("Rejected", "no", "ValueError", "…")
        await tell(operator, f"job.{QUEUE}", [JobEvent(UUID(str(dead)), "free", State.DEAD, at, "pod", error=error)])
        unknown = [str(uuid_utils.compat.uuid7()) for _ in range(10)]
        asked = [str(dead), *unknown[:5], *map(str, reversed(large)), waiting, str(dead), *unknown[5:]]

        found: list[dict[str, object]] = []

        async def all_told() -> bool:
            answer = await producer.http.post("/v1/jobs/get", json={"ids": asked})
            assert answer.status_code == 200, answer.text
            found[:] = answer.json()["jobs"]
            return len(found) == 32

        await eventually_true(all_told, "all are recorded")
        assert [one["id"] for one in found] == [str(dead), *map(str, reversed(large)), waiting]
        assert {set(one) == {"id", "state", "result", "error"} for one in found} == {True}
        assert all(one["result"] == json.loads(LARGE) for one in found[1:-1])
        assert [found[0]["state"], found[-1]["result"]] == ["dead", None]
        assert found[0]["error"] == {"reason": "Rejected", "type": "ValueError", "message": "no", "traceback": "…"}
        assert (await producer.http.post("/v1/jobs/get", json={"ids": unknown})).json() == {"jobs": []}

        store = Postgres(lambda: database, connections=1, name="test")
        part = await Outcomes(store).part([UUID(one) for one in dict.fromkeys(asked)])
        await store.close()
        assert len(part.jobs) == 1 + -(-MOST_BYTES // len(LARGE))  # no more than a part
        assert part.rest[0] == UUID(str(large[-len(part.jobs)]))
