"""A job whose id another queue's job has, and whose next attempt the store is to publish: it is not lost."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import msgspec
import pytest
from producers import QUEUE, eventually_true, known, operating, producing, ready, tell

from leveret import topology, wire
from leveret.events import NO_RESULT, Error, JobEvent
from leveret.jobs import Envelope, State
from leveret.rabbitmq.connection import open_connection
from leveret.settings import Broker, Database

OTHER = "leveret.other"
FAILED = Error("Failed", "the shop is closed", "RetryLater")
OF_THE_JOB: dict[str, Any] = {
    "submitted_at": datetime(2026, 5, 1, 12, tzinfo=UTC),
    "correlation_id": "order 17",
    "reply_to": "answers",
    "priority": 3,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
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


WAITS = [
    pytest.param(timedelta(days=3), topology.delay_exchange(12), id="days: the last delay level"),
    pytest.param(timedelta(seconds=100), topology.delay_exchange(6), id="what is left of it: 64 s of 100"),
    pytest.param(timedelta(seconds=-5), QUEUE, id="over, as the recorder was away: at once"),
]


@pytest.mark.parametrize(("wait", "place"), WAITS)
async def test_the_next_attempt_of_a_job_whose_id_another_queue_has_waits_in_the_broker(
    broker: Broker, database: Database, wait: timedelta, place: str
) -> None:
    """Its message was acknowledged on the word of an event that was then set aside: the job was nowhere any more."""
    async with producing(broker, database) as producer, operating(broker, QUEUE, OTHER) as operator:
        await ready(producer)
        await known(producer)
        ours, neighbour = uuid4(), uuid4()
        await tell(operator, f"job.{OTHER}", [JobEvent(ours, "t", State.RUNNING, datetime.now(UTC), "pod")])
        told = [waits(ours, wait), JobEvent(neighbour, "t", State.RUNNING, datetime.now(UTC), "pod")]
        await tell(operator, f"job.{QUEUE}", told)
        (message,) = await taken(broker, place)
        job = wire.from_message(message, QUEUE)
        assert message.routing_key == QUEUE
        assert job == Envelope(ours, QUEUE, "t", b'{"n": 1}', attempt=3, generation=2, **OF_THE_JOB)
        (aside,) = await taken(broker, topology.EVENTS_DEAD)
        assert str(aside.headers["leveret-reason"]).startswith(
            "the job's id belongs to another queue; its next attempt was"
        )
        assert (await producer.job(str(ours)))["queue"] == OTHER

        # Put back, it is set aside again, and its next attempt is not published again.
        await operator.publish(topology.EVENTS, f"job.{QUEUE}", aio_pika.Message(aside.body))
        (again,) = await taken(broker, topology.EVENTS_DEAD)
        assert again.headers["leveret-reason"] == "the job's id belongs to another queue"
        assert await taken(broker, place, 0) == []

        async def is_recorded() -> bool:
            return (await producer.http.get(f"/v1/jobs/{neighbour}")).status_code == 200

        await eventually_true(is_recorded, "its neighbour is recorded")


NO_MESSAGE = [
    pytest.param({"priority": 1000}, "can't be published", id="a priority that no message has"),
    pytest.param({"correlation_id": "x" * 300}, "can't be published", id="a name too long for a property"),
    pytest.param({"payload": NO_RESULT}, "belongs to another queue", id="no payload"),
]


@pytest.mark.parametrize(("fields", "because"), NO_MESSAGE)
async def test_what_no_message_can_be_is_set_aside_as_it_came(
    broker: Broker, database: Database, fields: dict[str, Any], because: str
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE, OTHER) as operator:
        await ready(producer)
        ours, well = uuid4(), uuid4()
        # The other queue's has a payload in the store: it is not this one's.
        await tell(operator, f"job.{OTHER}", [waits(ours, timedelta(days=1)), waits(well, timedelta(days=1))])
        event = waits(ours, timedelta(days=3), **fields)
        await tell(operator, f"job.{QUEUE}", [event, waits(well, timedelta(days=3))])
        (message,) = await taken(broker, topology.delay_exchange(12))
        assert message.message_id == str(well)
        aside = await taken(broker, topology.EVENTS_DEAD, 2)
        (kept,) = [one for one in aside if msgspec.json.decode(one.body)[0]["id"] == str(ours)]
        assert because in str(kept.headers["leveret-reason"])
        assert msgspec.json.decode(kept.body, type=list[JobEvent]) == [event]
