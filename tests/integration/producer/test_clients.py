"""Both clients with a real producer behind a proxy that cuts every third answer: nothing is lost, and nothing doubled."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from cutting_proxy import cutting_proxy
from producers import QUEUE, TOKEN, Producer, known, operating, producing, ready, tell

from leveret.client import AsyncClient, Client, NewJob, Submitted, UnknownQueue
from leveret.events import JobEvent
from leveret.jobs import State
from leveret.settings import Broker, Database

JOBS = int(os.environ.get("LEVERET_TEST_SUBMITS", "150"))  # of each client


async def _stored(producer: Producer) -> list[UUID]:
    found, more = list[UUID](), dict[str, str]()
    while True:
        page = (await producer.http.get("/v1/jobs", params={"queue": QUEUE, "limit": 500, **more})).json()
        found += [UUID(job["id"]) for job in page["jobs"]]
        if page["next"] is None:
            return found
        more = {"before": page["next"]}


def _in_threads(url: str) -> list[Submitted]:
    with Client(url, TOKEN) as client, ThreadPoolExecutor(30) as threads:
        return list(threads.map(lambda number: client.submit(QUEUE, "echo", {"n": number}), range(JOBS)))


async def test_of_answers_that_are_cut_off_each_job_is_stored_once(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        server = producer.http.base_url
        async with cutting_proxy(server.host, server.port or 80) as proxy, AsyncClient(proxy.url, TOKEN) as client:
            first = await asyncio.gather(*(client.submit(QUEUE, "echo", {"n": number}) for number in range(JOBS)))
            second = await asyncio.to_thread(_in_threads, proxy.url)
            listed = await client.submit_many(QUEUE, [NewJob("echo", {"n": number}) for number in range(50)])
            unwanted = [job.id for job in await client.submit_many(QUEUE, [NewJob("echo", {}, delay="1h")] * 1_001)]
            async with AsyncClient(str(server), TOKEN) as uncut:
                begun = await uncut.cancel_many(QUEUE, unwanted[:1])
                assert (begun.total, begun.skipped) == (1, 0)
                assert [job.state for job in await uncut.wait_many(unwanted[:1], timeout=60)] == [State.CANCELLED]
                begun = await uncut.cancel_many(QUEUE, [*unwanted[:2], UUID(int=1)])
                assert (begun.total, begun.skipped) == (3, 2), "one had ended, one is none of the queue's"
            assert (await client.cancel_many(QUEUE, unwanted)).total == 1_001
            assert {job.state for job in await client.wait_many(unwanted, timeout=60)} == {State.CANCELLED}

            ids = [job.id for job in (*first, *second, *listed)]
            assert len(set(ids)) == 2 * JOBS + 50
            assert sorted(await _stored(producer)) == sorted([*ids, *unwanted])
            assert proxy.cut > JOBS / 2

            now, result = datetime.now(UTC), msgspec.Raw(b'{"n":1}')
            waits = asyncio.create_task(client.wait_many(ids, timeout=60))
            ended = [JobEvent(one, "echo", State.SUCCEEDED, now, "pod-1", started_at=now, result=result) for one in ids]
            await tell(operator, f"job.{QUEUE}", ended)
            assert [(job.id, job.state, job.result) for job in await waits] == [
                (one, State.SUCCEEDED, {"n": 1}) for one in ids
            ]
            assert [job.id for job in await client.get_many([*ids, UUID(int=1)])] == ids
            assert (await client.get(ids[0])).payload == {"n": 0}
            with pytest.raises(UnknownQueue):
                await client.submit("leveret.none", "echo", {})
