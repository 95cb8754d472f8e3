"""What the store makes of follow-ups, of which it learns by what their parents' consumers tell alone."""

from datetime import UTC, datetime, timedelta

import uuid_utils.compat as uuid_utils
from msgspec.structs import replace
from producers import QUEUE, eventually_true, known, message_taken, operating, producing, ready, tell

from leveret import wire
from leveret.events import JobEvent
from leveret.jobs import Envelope, State
from leveret.settings import Broker, Database
from leveret_consumer import job_events
from leveret_consumer.ends import Deferred, Finished


def child(at: datetime) -> Envelope:
    return Envelope(uuid_utils.uuid7(), QUEUE, "mail", b'{"to": 1}', submitted_at=at, traceparent="00-a-b-01")


async def test_one_that_is_told_as_queued_has_its_row_like_a_foreign_clients_job(
    broker: Broker, database: Database
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        at = datetime.now(UTC).replace(microsecond=0)
        waits, runs = child(at), child(at)
        queued = [job_events.queued(job, "pod", at) for job in (waits, runs)]
        running = JobEvent(runs.id, "mail", State.RUNNING, at, "pod", started_at=at, submitted_at=at)
        await tell(operator, f"job.{QUEUE}", [running])
        await tell(operator, f"job.{QUEUE}", [*queued, *queued])  # as by a parent that ran twice

        async def there() -> bool:
            return (await producer.http.get(f"/v1/jobs/{waits.id}")).status_code == 200

        await eventually_true(there, "it has a row")
        shown = await producer.job(str(waits.id))
        assert (shown["queue"], shown["type"], shown["state"], shown["attempt"]) == (QUEUE, "mail", "queued", 0)
        assert datetime.fromisoformat(str(shown["created_at"])) == at
        assert (await producer.job(str(runs.id)))["state"] == "running", "it may start before its parent is told of"
        assert producer.metrics.submitted.labels(QUEUE)._value.get() == 0, "nobody submitted it here"


async def test_one_that_is_left_to_the_store_is_published_whole_and_not_before_its_time(
    broker: Broker, database: Database
) -> None:
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        now = datetime.now(UTC)
        until = {child(now): now, child(now): now + timedelta(seconds=2.5)}  # the first one's queue was full
        told = [job_events.finished(job, "pod", now, Finished(Deferred(at))) for job, at in until.items()]
        await tell(operator, f"job.{QUEUE}", told)
        for job, at in until.items():
            came = wire.from_message(await message_taken(broker), QUEUE)
            assert isinstance(came, Envelope)
            assert datetime.now(UTC) >= at
            assert replace(came, submitted_at=None) == replace(job, submitted_at=None)
