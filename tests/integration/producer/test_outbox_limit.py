"""The outbox is bounded: beyond the limit nothing more is accepted until the broker has taken some."""

import asyncio

from containers import Server
from producers import QUEUE, eventually_true, known, message_ids, operating, producing, ready

from leveret.settings import Broker, Database

JOB = {"type": "free", "payload": 1}


async def test_a_full_outbox_refuses_and_accepts_again_once_it_drained(
    broker: Broker, database: Database, rabbitmq: Server
) -> None:
    async with (
        producing(broker, database, "producer-a", outbox_limit=100) as producer,
        producing(broker, database, "producer-b", outbox_limit=100) as other,
    ):
        async with operating(broker, QUEUE):
            await ready(producer)
            await ready(other)
            await known(producer)

            async def published() -> bool:
                answer = await producer.http.get("/v1/jobs?state=accepted&limit=1")
                return answer.status_code == 200 and not answer.json()["jobs"]

            for _ in range(5):  # more than the limit in all: what is confirmed makes room at once
                answer = await producer.submit(*([JOB] * 60))
                assert answer.status_code == 202, answer.text
                await eventually_true(published, "what was accepted is published", seconds=60)
        assert len(await message_ids(broker, QUEUE)) == 300

        await asyncio.to_thread(rabbitmq.kill)
        try:
            waits = await producer.submit({**JOB, "delay": "1h"})
            kept = await producer.submit(*([JOB] * 120))  # a list is taken whole
            assert (waits.status_code, kept.status_code) == (202, 202)
            refused = await producer.submit(JOB)
            assert refused.status_code == 503
            problem = refused.json()
            assert problem["type"] == "https://leveret.dev/problems/outbox-full"
            assert int(refused.headers["retry-after"]) > 0
            for said in ("are kept", "nothing was stored", "outboxLimit"):
                assert said in problem["detail"]

            async def other_knows() -> bool:
                return (await other.submit(*([JOB] * 2))).status_code == 503

            await eventually_true(other_knows, "the other replica has counted", seconds=60)

            async def gauge() -> bool:
                return (producer.metrics.outbox_pending.value or 0) >= 120

            await eventually_true(gauge, "the gauge shows it", seconds=60)
        finally:
            await asyncio.to_thread(rabbitmq.start)

        async def accepted() -> bool:
            return (await producer.submit(JOB)).status_code == 202

        await eventually_true(accepted, "jobs are accepted again", seconds=60)
        published = set(await message_ids(broker, QUEUE))
        assert {one["id"] for one in kept.json()["jobs"]} <= published
        assert (await producer.job(waits.json()["id"]))["state"] == "scheduled"
