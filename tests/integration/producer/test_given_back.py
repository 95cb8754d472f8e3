"""A job that consumers of an old version gave back: what is shown of it and counted, from accepted to its end."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from producers import QUEUE, eventually, eventually_true, known, operating, producing, ready, tell

from leveret.events import Error, JobEvent
from leveret.jobs import State
from leveret.settings import Broker, Database


async def test_a_job_that_was_given_back_shows_it_and_ends_in_its_first_attempt(
    broker: Broker, database: Database
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        job = (await producer.submit({"type": "resize", "payload": 1})).json()["id"]

        async def shows(state: str, attempt: int) -> dict[str, Any] | None:
            found: dict[str, Any] = await producer.job(job)
            return found if (found["state"], found["attempt"]) == (state, attempt) else None

        async def is_shown(state: str, attempt: int) -> bool:
            return await shows(state, attempt) is not None

        def counted(name: str) -> float:
            return producer.metrics.registry.get_sample_value(name, {"queue": QUEUE}) or 0

        now = datetime.now(UTC)
        why = Error("UnknownType", "no handler here is for 'resize'; there are: echo")
        back = JobEvent(
            UUID(job), "resize", State.RETRYING, now, "old", attempt=0, error=why, retry_at=now, given_back=True
        )
        await tell(operator, f"job.{QUEUE}", [back])
        await eventually_true(lambda: is_shown("retrying", 0), "it is given back")
        await tell(operator, f"job.{QUEUE}", [msgspec.structs.replace(back, at=datetime.now(UTC))])
        await eventually(lambda: counted("leveret_given_back_total") == 2, "both are counted")
        found = await shows("retrying", 0)
        assert found is not None, "the broker's confirm, which may be written later, has not undone it"
        assert (found["attempts"], found["error"]["reason"], found["started_at"]) == ([], "UnknownType", None)

        running = JobEvent(UUID(job), "resize", State.RUNNING, now, "new", started_at=now, wait_seconds=3)
        await tell(operator, f"job.{QUEUE}", [running])
        await eventually_true(lambda: is_shown("running", 1), "it runs")
        done = msgspec.structs.replace(running, state=State.SUCCEEDED, wait_seconds=None, run_seconds=0.5)
        await tell(operator, f"job.{QUEUE}", [done])
        await eventually_true(lambda: is_shown("succeeded", 1), "it has succeeded")
        assert [(one["attempt"], one["outcome"]) for one in (await producer.job(job))["attempts"]] == [  # type: ignore[attr-defined]
            (1, "succeeded")
        ]
        assert [counted(f"leveret_job_{name}") for name in ("retries_total", "run_seconds_count")] == [0, 1]
        assert (counted("leveret_job_wait_seconds_count"), counted("leveret_job_wait_seconds_sum")) == (1, 3)
