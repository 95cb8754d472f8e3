"""The broker is short of memory or disk: jobs are accepted all the same, and each is published once, when that is over."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from containers import Server
from producers import QUEUE, Producer, eventually_true, known, message_ids, operating, producing, ready

from leveret.settings import Broker, Database
from leveret_producer.store.outbox import LEASE

# How an alarm is raised, and how it ends.
ALARMS = {
    "memory": (
        ("set_vm_memory_high_watermark", "absolute", "1"),
        ("set_vm_memory_high_watermark", "0.6"),
    ),
    "disk": (
        ("set_disk_free_limit", "900000GB"),
        ("set_disk_free_limit", "50MB"),
    ),
}


@pytest.fixture(autouse=True)
def no_alarm_afterwards(rabbitmq: Server) -> Iterator[None]:
    yield
    for _, end in ALARMS.values():
        rabbitmq.run("rabbitmqctl", "-q", *end)


async def _submit(producer: Producer, jobs: int) -> list[str]:
    answer = await producer.submit(*({"type": "free", "payload": number} for number in range(jobs)))
    assert answer.status_code == 202, answer.text
    return [job["id"] for job in answer.json()["jobs"]]


async def _says(producer: Producer, words: str) -> bool:
    answer = await producer.http.get("/readyz")
    assert answer.status_code == 200
    return words in answer.json()["says"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("alarm", ALARMS)
async def test_jobs_wait_for_the_end_of_an_alarm_and_are_published_once(
    alarm: str, broker: Broker, database: Database, rabbitmq: Server
) -> None:
    begin, end = ALARMS[alarm]
    async with (
        producing(broker, database, "producer-a") as producer,
        producing(broker, database, "producer-b") as other,
        operating(broker, QUEUE),
    ):
        await ready(producer)
        await ready(other)
        await known(producer)
        await known(other)
        accepted = await _submit(producer, 50)
        await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", *begin)
        for one in (producer, other):
            accepted += await _submit(one, 300)  # some are on their way when the broker stops reading
            await eventually_true(lambda one=one: _says(one, "has blocked publishing"), "it says so", seconds=60)  # type: ignore[misc]
            assert "memory or disk" in str((await one.says())["broker"])
            assert one.metrics.registry.get_sample_value("leveret_producer_broker_blocked") == 1
        accepted += await _submit(producer, 2_000)
        assert (await producer.job(accepted[-1]))["state"] == "accepted"
        for path in ("/v1/jobs?limit=10", f"/v1/queues/{QUEUE}", "/healthz"):
            assert (await other.http.get(path)).status_code == 200
        # Longer than a publish waits for its confirm, and than a lease: what is on its way is not sent again.
        await asyncio.sleep(LEASE + 8)
        accepted += await _submit(other, 100)
        await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", *end)

        async def published() -> bool:
            found = await producer.http.get("/v1/jobs?state=accepted&limit=1")
            return not found.json()["jobs"]

        await eventually_true(published, "all are published", seconds=60)
        await eventually_true(lambda: _says(producer, "serving"), "it serves", seconds=60)
        for one in (producer, other):
            assert (await one.says())["broker"] == "connected"
            assert one.metrics.registry.get_sample_value("leveret_producer_broker_blocked") == 0
        arrived = Counter(await message_ids(broker, QUEUE))
        assert arrived.keys() == set(accepted)
        assert {one for one, times in arrived.items() if times > 1} == set()


@pytest.mark.timeout(300)
async def test_what_a_producer_holds_when_an_alarm_begins_is_published_once(
    broker: Broker, database: Database, rabbitmq: Server
) -> None:
    begin, end = ALARMS["memory"]
    async with (
        producing(broker, database, "producer-a") as producer,
        producing(broker, database, "producer-b") as other,
        operating(broker, QUEUE),
    ):
        for one in (producer, other):
            await ready(one)
            await known(one)
        accepted = await _submit(producer, 50) + await _submit(other, 50)
        raising = asyncio.create_task(asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", *begin))
        while not await _says(producer, "has blocked publishing"):  # so that many wait in its memory at that moment
            for ids in await asyncio.gather(*(_submit(producer, 2_000) for _ in range(3))):
                accepted += ids
        await raising
        while not await _says(other, "has blocked publishing"):  # it hears of the alarm only when it publishes
            accepted += await _submit(other, 20)
            await asyncio.sleep(0.5)
        assert len(accepted) > 5_000
        await asyncio.sleep(LEASE + 8)
        await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", *end)

        async def published() -> bool:
            found = await producer.http.get("/v1/jobs?state=accepted&limit=1")
            return found.status_code == 200 and not found.json()["jobs"]

        await eventually_true(published, "all are published", seconds=120)
        arrived = Counter(await message_ids(broker, QUEUE))
        assert arrived.keys() == set(accepted)
        assert {one for one, times in arrived.items() if times > 1} == set()
