"""A job whose id another queue's job has, and whose next attempt the store is to publish: it is not lost."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import msgspec
from producers import QUEUE, eventually_true, known, operating, producing, ready, tell

from leveret import topology, wire
from leveret.delays import not_before
from leveret.events import NO_RESULT, Error, JobEvent
from leveret.jobs import Envelope, State
from leveret.rabbitmq.connection import open_connection
from leveret.retry import LONGEST_WAIT
from leveret.settings import Broker, Database
from leveret_producer.recorder import next_attempts

OTHER = "leveret.other"
FAILED = Error("Failed", "the shop is closed", "RetryLater")
OF_THE_JOB: dict[str, Any] = {
    "submitted_at": datetime(2026, 5, 1, 12, tzinfo=UTC),
    "correlation_id": "order 17",
    "reply_to": "answers",
    "priority": 3,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "deadline": datetime(2030, 5, 1, 12, 0, 0, 250_000, UTC),
}


def waits(id: UUID, wait: timedelta, **fields: Any) -> JobEvent:
    """What a consumer tells of a failed attempt whose next one is to start later than the broker's last delay."""
    now = datetime.now(UTC)
    given: dict[str, Any] = {"payload": msgspec.Raw(b'{"n": 1}'), "attempt": 2, "generation": 2} | OF_THE_JOB | fields
    return JobEvent(
        id, "t", State.RETRYING, now, "pod", error=FAILED, retry_at=now + wait, publish_at=now + wait, **given
    )


async def taken(broker: Broker, queue: str, number: int = 1) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """Take so many messages from a queue."""
    found: list[aio_pika.abc.AbstractIncomingMessage] = []
    async with await open_connection(broker, "test look") as connection:
        place = await (await connection.channel()).get_queue(queue, ensure=False)

        async def all_there() -> bool:
            message = await place.get(no_ack=True, fail=False)
            found.extend([message] if message else [])
            return len(found) >= number

        await eventually_true(all_there, f"{number} messages are in {queue}")
        assert await place.get(no_ack=True, fail=False) is None
    return found


WAITS = {
    topology.delay_exchange(12): timedelta(days=3),
    topology.delay_exchange(7): timedelta(seconds=100),  # 128 s: not early
    QUEUE: timedelta(seconds=-5),  # over, as the recorder was away
}


async def test_the_next_attempt_of_a_job_whose_id_another_queue_has_waits_in_the_broker(
    broker: Broker, database: Database
) -> None:
    """Its message was acknowledged on the word of an event that was then set aside: the job was nowhere any more."""
    async with producing(broker, database) as producer, operating(broker, QUEUE, OTHER) as operator:
        await ready(producer)
        await known(producer)
        ours, neighbour = {place: uuid4() for place in WAITS}, uuid4()
        now = datetime.now(UTC)
        await tell(operator, f"job.{OTHER}", [JobEvent(one, "t", State.RUNNING, now, "pod") for one in ours.values()])
        told = [waits(ours[place], wait) for place, wait in WAITS.items()]
        await tell(operator, f"job.{QUEUE}", [*told, JobEvent(neighbour, "t", State.RUNNING, now, "pod")])
        for place, one in ours.items():
            (message,) = await taken(broker, place)
            assert message.routing_key == QUEUE
            later = not_before(message.headers, now)
            assert (later is not None) == (WAITS[place] > LONGEST_WAIT), "and it waits again"
            job = wire.from_message(message, QUEUE)
            assert job == Envelope(one, QUEUE, "t", b'{"n": 1}', attempt=3, generation=2, **OF_THE_JOB)
            assert (await producer.job(str(one)))["queue"] == OTHER
        aside = await taken(broker, topology.EVENTS_DEAD, 3)
        reasons = {str(one.headers["leveret-reason"]) for one in aside}
        assert reasons == {f"the job's id belongs to another queue; {next_attempts.PUBLISHED}"}

        # Put back, they are set aside again, and no next attempt is published again.
        for one_aside in aside:
            await operator.publish(topology.EVENTS, f"job.{QUEUE}", aio_pika.Message(one_aside.body))
        again = await taken(broker, topology.EVENTS_DEAD, 3)
        assert {one.headers["leveret-reason"] for one in again} == {"the job's id belongs to another queue"}
        for place in WAITS:
            assert await taken(broker, place, 0) == []
        assert (await producer.job(str(neighbour)))["queue"] == QUEUE


NO_MESSAGE: list[tuple[dict[str, Any], str]] = [
    ({"priority": 1000}, "can't be published"),
    ({"correlation_id": "x" * 300}, "can't be published"),
    ({"payload": NO_RESULT}, "the job's id belongs to another queue"),  # which has a payload: not this one's
    ({}, next_attempts.PUBLISHED),
]


async def test_what_no_message_can_be_is_set_aside_as_it_came(broker: Broker, database: Database) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE, OTHER) as operator:
        await ready(producer)
        ids = [uuid4() for _ in NO_MESSAGE]
        await tell(operator, f"job.{OTHER}", [waits(one, timedelta(days=1)) for one in ids])
        told = [waits(one, timedelta(days=3), **fields) for one, (fields, _) in zip(ids, NO_MESSAGE, strict=True)]
        await tell(operator, f"job.{QUEUE}", told)
        (message,) = await taken(broker, topology.delay_exchange(12))
        assert message.message_id == str(ids[-1])
        kept: dict[UUID, tuple[JobEvent, str]] = {}
        for one in await taken(broker, topology.EVENTS_DEAD, len(ids)):
            (event,) = msgspec.json.decode(one.body, type=list[JobEvent])
            kept[event.id] = event, str(one.headers["leveret-reason"])
        for event, (_, because) in zip(told, NO_MESSAGE, strict=True):
            assert because in kept[event.id][1]
        assert [kept[event.id][0] for event in told[:-1]] == told[:-1]
