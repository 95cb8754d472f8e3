"""Jobs that bring their ids, on a real PostgreSQL and RabbitMQ: each is stored once and published once, whoever sends it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
import uuid_utils.compat
from producers import QUEUE, Producer, eventually_true, known, message_ids, operating, producing, ready, tell

from leveret.events import JobEvent
from leveret.jobs import State
from leveret.settings import Broker, Database

OTHER = "leveret.other"


def new_id(at: datetime | None = None) -> str:
    made = uuid_utils.compat.uuid7()
    if at is None:
        return str(made)
    return str(UUID(int=int(at.timestamp() * 1000) << 80 | made.int & ((1 << 80) - 1)))


def job(id: object, **more: object) -> dict[str, object]:
    return {"type": "free", "payload": {"n": 1}, "id": id, **more}


@pytest.fixture
async def two(broker: Broker, database: Database) -> AsyncIterator[tuple[Producer, Producer]]:
    async with (
        producing(broker, database, "producer-a") as one,
        producing(broker, database, "producer-b") as other,
        operating(broker, QUEUE, OTHER),
    ):
        for producer in (one, other):
            await ready(producer)
            await known(producer)
            await known(producer, OTHER)
        yield one, other


def ids_of(answer: httpx.Response) -> list[str]:
    return [one["id"] for one in answer.json()["jobs"]]


async def _published(producer: Producer, broker: Broker) -> Counter[str]:
    """Take all that is published, once nothing waits for it."""

    async def none_is_left() -> bool:
        return not (await producer.http.get("/v1/jobs?state=accepted&limit=1")).json()["jobs"]

    await eventually_true(none_is_left, "everything is published")
    await asyncio.sleep(0.3)
    return Counter(await message_ids(broker, QUEUE))


async def test_of_many_at_once_with_the_same_ids_in_any_order_each_is_stored_and_published_once(
    two: tuple[Producer, Producer], broker: Broker
) -> None:
    ids = [new_id() for _ in range(1_500)]
    lists = [ids, ids[::-1], ids[700:] + ids[:700], ids[:800], ids[750:]] * 2
    answers = await asyncio.gather(
        *(two[n % 2].submit(*[job(one) for one in some]) for n, some in enumerate(lists)),
        *(two[n % 2].submit(job(ids[n])) for n in range(20)),
    )
    assert {answer.status_code for answer in answers} == {202}
    for some, answer in zip(lists, answers, strict=False):
        assert ids_of(answer) == some
    assert await _published(two[0], broker) == Counter(ids)


async def test_what_is_there_is_answered_with_its_state_and_not_published_again(
    two: tuple[Producer, Producer], broker: Broker
) -> None:
    one, later = new_id(), new_id()
    first = await two[0].submit(job(one))
    assert (first.status_code, first.json()["id"], first.json()["state"]) == (202, one, "accepted")
    assert first.headers["location"] == f"/v1/jobs/{one}"
    assert (await two[0].submit(job(later, delay="1h"))).json()["state"] == "scheduled"
    assert await _published(two[0], broker) == Counter([one])

    async def queued() -> bool:
        return (await two[1].job(one))["state"] == "queued"

    await eventually_true(queued, "its state says so")
    again = await two[1].submit(job(one, payload="another"))
    assert (again.status_code, again.json()["state"], again.json()["payload"]) == (202, "queued", {"n": 1})
    assert again.json() == await two[1].job(one)
    fresh = new_id()
    mixed = await two[1].http.post(
        f"/v1/queues/{QUEUE}/jobs", json=[job(fresh), job(one), job(later)], headers={"Idempotency-Key": "k"}
    )
    assert [(each["id"], each["state"]) for each in mixed.json()["jobs"]] == [
        (fresh, "accepted"), (one, "queued"), (later, "scheduled"),
    ]  # fmt: skip
    assert await _published(two[0], broker) == Counter([fresh])


async def test_an_event_came_before_the_job(two: tuple[Producer, Producer], broker: Broker) -> None:
    known_id, at = new_id(), datetime.now(UTC)
    async with operating(broker) as operator:
        await tell(
            operator, f"job.{QUEUE}", [JobEvent(UUID(known_id), "free", State.SUCCEEDED, at, "pod", started_at=at)]
        )

    async def there() -> bool:
        return (await two[0].http.get(f"/v1/jobs/{known_id}")).status_code == 200

    await eventually_true(there, "it is recorded")
    assert (await two[0].submit(job(known_id))).json()["state"] == "succeeded"
    assert await _published(two[0], broker) == Counter()


async def test_a_cancel_came_before_the_job(two: tuple[Producer, Producer], broker: Broker) -> None:
    known_id = new_id()
    assert (await two[0].http.post(f"/v1/queues/{QUEUE}/jobs/{known_id}/cancel")).status_code == 202
    answer = await two[1].submit(job(known_id))
    assert (answer.status_code, answer.json()["id"]) == (202, known_id)
    found = await two[1].job(known_id)
    assert (found["type"], found["payload"], found["cancel_requested_at"] is None) == ("free", {"n": 1}, False)
    assert (await two[0].submit(job(known_id))).status_code == 202
    assert (await _published(two[0], broker)).total() <= 1  # which its consumer ends, as it is told of the cancel


async def test_an_id_of_another_queues_job_is_refused_and_nothing_is_stored(two: tuple[Producer, Producer]) -> None:
    known_id, fresh, unseen = new_id(), new_id(), new_id()
    assert (await two[0].submit(job(known_id), queue=OTHER)).status_code == 202
    await two[0].http.post(f"/v1/queues/{OTHER}/jobs/{unseen}/cancel")
    for taken in (known_id, unseen):
        refused = await two[0].submit(job(fresh), job(taken))
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/1/id")
        assert OTHER in refused.json()["detail"]
        assert "Nothing was stored." in refused.json()["detail"]
    assert (await two[0].http.get(f"/v1/jobs/{fresh}")).status_code == 404


async def test_what_is_no_such_id_is_refused(two: tuple[Producer, Producer]) -> None:
    once, ahead = new_id(), new_id(datetime.now(UTC) + timedelta(minutes=70))
    for bad in (str(uuid4()), "x", 7, ahead, once[:-1]):
        for jobs, pointer in (([job(bad)], "/id"), ([job(once), job(bad)], "/1/id")):
            answer = await two[0].submit(*jobs)
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), (bad, answer.text)
    twice = await two[0].submit(job(once), job(new_id()), job(once))
    assert (twice.status_code, twice.json()["errors"][0]["pointer"]) == (422, "/2/id")
    assert (await two[0].http.get(f"/v1/jobs/{once}")).status_code == 404
    taken = [new_id(datetime.now(UTC) + timedelta(minutes=50)), new_id(datetime(2001, 1, 1, tzinfo=UTC)), None]
    assert [(await two[0].submit(job(one))).status_code for one in taken] == [202, 202, 202]


async def test_with_a_key_the_first_answer_wins(two: tuple[Producer, Producer]) -> None:
    headers = {"Idempotency-Key": "k"}
    jobs = [job(new_id()), {"type": "free", "payload": 1}] * 1 + [job(new_id()) for _ in range(1_200)]
    path = f"/v1/queues/{QUEUE}/jobs"
    first = await two[0].http.post(path, json=jobs, headers=headers)
    again = await two[1].http.post(path, json=jobs, headers=headers)
    assert first.status_code == 202
    assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (202, first.content, "true")
    other = await two[1].http.post(path, json=jobs[2:], headers=headers)
    assert (other.status_code, other.json()["type"].rpartition("/")[2]) == (422, "key-reused")


async def test_a_long_list_without_ids_is_answered_again(two: tuple[Producer, Producer]) -> None:
    jobs, headers, path = [{"type": "free", "payload": n} for n in range(2_300)], {"Idempotency-Key": "k"}, None
    path = f"/v1/queues/{QUEUE}/jobs"
    first = await two[0].http.post(path, json=jobs, headers=headers)
    again = await two[1].http.post(path, json=jobs, headers=headers)
    assert (again.status_code, again.content) == (202, first.content)


async def test_what_is_stored_already_is_told_though_there_is_no_room(broker: Broker, database: Database) -> None:
    async with operating(broker, QUEUE), producing(broker, database, outbox_limit=1) as producer:
        await ready(producer)
        await known(producer)
        ids = [new_id(), new_id()]
        assert (await producer.submit(*[job(one) for one in ids])).status_code == 202
        again = await producer.submit(*[job(one) for one in ids])
        assert (again.status_code, ids_of(again)) == (202, ids)
