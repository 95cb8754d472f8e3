"""Calls whose jobs are cancelled, from the caller to the consumer and back: through broker, recorder and control stream."""

import asyncio

import pytest
from containers import free_port
from processes import Start
from producers import QUEUE, TOKEN, eventually_true, known, operating, producing, ready

from leveret.client import AsyncClient, Refused, State, UnknownJob
from leveret.client.rpc import Cancelled, ConnectionConfig, Published, Rpc
from leveret.settings import Broker, Database


async def test_a_call_is_given_up_with_its_job_and_one_whose_job_is_cancelled_says_so(
    broker: Broker, database: Database, start: Start
) -> None:
    config = ConnectionConfig(broker.username, broker.password, broker.host, broker.port, broker.vhost)
    async with operating(broker, QUEUE), producing(broker, database) as producer:
        await ready(producer)
        await known(producer)
        start(
            "leveret_consumer", LEVERET_QUEUE=QUEUE, LEVERET_HANDLERS="examples.bench.handlers:handlers",
            LEVERET_BROKER_URL=broker.url(), LEVERET_PROBE_PORT=str(free_port()), LEVERET_TIMEOUT="2m", LEVERET_CONCURRENCY="2",
        )  # fmt: skip

        async def running() -> str:
            """The id of the one job that runs, once there is one."""

            async def one() -> bool:
                query = {"queue": QUEUE, "state": "running"}
                found.extend(job["id"] for job in (await producer.http.get("/v1/jobs", params=query)).json()["jobs"])
                return bool(found)

            found: list[str] = []
            await eventually_true(one, "a job runs")
            return found[0]

        async with (
            await Rpc.connect(config) as rpc,
            AsyncClient(str(producer.http.base_url), TOKEN) as client,
        ):
            call = asyncio.create_task(rpc.call(QUEUE, "sleep", {"seconds": 90}, 100, cancel=True))
            first = await running()
            call.cancel()
            assert (await client.wait(first, 30)).state is State.CANCELLED

            call = asyncio.create_task(rpc.call(QUEUE, "sleep", {"seconds": 90}, 100))
            second = await running()
            assert (await client.cancel(second)).cancel_requested_at
            with pytest.raises(Cancelled, match="Somebody asked for it") as raised:
                await call
            assert (str(raised.value.job), raised.value.published) == (second, Published.CONFIRMED)
            assert (await client.wait(second, 30)).state is State.CANCELLED
            assert (await client.cancel(second)).state is State.CANCELLED, "once more is as good"

            done = (await rpc.call(QUEUE, "sleep", {"seconds": 0}, 30)).job

            async def is_recorded() -> bool:
                return (await producer.http.get(f"/v1/jobs/{done}")).json().get("state") == "succeeded"

            await eventually_true(is_recorded, "the third is recorded")
            with pytest.raises(Refused) as ended:
                await client.cancel(done, queue=QUEUE)
            assert ended.value.slug == "job-finished"
            unseen = "01a00000-0000-7000-8000-000000000007"
            with pytest.raises(UnknownJob):
                await client.cancel(unseen)
            job = await client.cancel(unseen, queue=QUEUE)
            assert (str(job.id), job.queue, job.final) == (unseen, QUEUE, False)
