"""Every field of every event at every extreme, on a real broker and database: neighbours are recorded, nobody restarts.

The table is that of `tests/unit/producer/test_extremes.py`.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import aio_pika
import msgspec
from extremes import Case, reaching
from producers import QUEUE, Producer, eventually_true, known, operating, producing, ready, tell
from prometheus_client import generate_latest
from sqlalchemy import text

from leveret import events, topology
from leveret.events import JobEvent, QueueDefined
from leveret.jobs import State
from leveret.rabbitmq.publisher import Publisher
from leveret.retry import LONGEST_DELAY
from leveret.settings import Broker, Database
from leveret_producer.store.postgres import Postgres

JOB = {"type": "t", "payload": 1}
AT_ONCE = 50  # published, and not confirmed yet
FEW = 8  # submits at once: none waits for a connection to the database, which is a 503 where the machine is busy
BREAK_THE_LIST = ("never closed", "no JSON")


async def publish(operator: Publisher, messages: Sequence[tuple[str, bytes]]) -> None:
    for start in range(0, len(messages), AT_ONCE):
        some = messages[start : start + AT_ONCE]
        sent = [operator.publish(topology.EVENTS, key, aio_pika.Message(body)) for key, body in some]
        await asyncio.gather(*sent)


def neighbour() -> JobEvent:
    return JobEvent(uuid4(), "t", State.RUNNING, datetime.now(UTC), "pod")


async def sound(producer: Producer, paths: Sequence[str]) -> None:
    """All can be read, and all is JSON."""
    for path in paths:
        answer = await producer.http.get(path)
        assert answer.status_code in (200, 404), f"{path}: {answer.status_code} {answer.text[:500]}"
        msgspec.json.decode(answer.content, type=msgspec.Raw)  # Python's own reads no number of 5,000 digits
    metrics = generate_latest(producer.metrics.registry).decode()
    assert "leveret_recorder_lag_seconds" in metrics
    failures = [line for line in metrics.splitlines() if line.startswith("leveret_producer_failures_total")]
    assert failures == [], "nothing was begun anew"


async def recorded(producer: Producer, id: UUID) -> None:
    async def is_there() -> bool:
        return (await producer.http.get(f"/v1/jobs/{id}")).status_code == 200

    await eventually_true(is_there, "the last one is recorded", 100)


async def pages(producer: Producer) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    behind = ""
    while True:
        answer = await producer.http.get(f"/v1/jobs?queue={QUEUE}&limit=500{behind}")
        assert answer.status_code == 200, answer.text[:500]
        found += answer.json()["jobs"]
        if answer.json()["next"] is None:
            return found
        behind = f"&before={answer.json()['next']}"


def _message(event: JobEvent, bad: Case) -> bytes:
    return b"[%b,%b]" % (events.encode([event])[1:-1], bad.body)


async def test_reports_at_their_extremes_take_no_neighbour_with_them(broker: Broker, database: Database) -> None:
    good = {
        (one := neighbour()).id: (one, case)
        for case in reaching()
        if case.kind == "job" and case.value not in BREAK_THE_LIST
    }
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        await known(producer)
        await publish(operator, [(f"job.{QUEUE}", _message(*both)) for both in good.values()])
        last = neighbour()
        await tell(operator, f"job.{QUEUE}", [last])
        await recorded(producer, last.id)
        there = {UUID(str(job["id"])): job for job in await pages(producer)}
        assert [str(case) for one, (_, case) in good.items() if one not in there] == [], "all neighbours are recorded"
        soon = datetime.now(UTC) + timedelta(minutes=2)
        for job in there.values():
            for name in ("created_at", "started_at", "finished_at"):
                assert job[name] is None or datetime.fromisoformat(str(job[name])) < soon
            assert (job["finished_at"] is None) == (job["state"] not in ("succeeded", "dead", "cancelled"))
        odd = [f"/v1/jobs/{one}" for one in there if one not in good]
        assert len(odd) > 100, "what is odd and can be recorded is"
        await sound(producer, [*odd[::3], f"/v1/queues/{QUEUE}/dead-letters", "/v1/queues", "/readyz"])


async def test_what_is_told_at_its_extremes_breaks_neither_the_lists_nor_submits(
    broker: Broker, database: Database
) -> None:
    """Each case has a queue of its own, which was defined before, with a limit and handlers."""
    told = {f"leveret.x{number}": case for number, case in enumerate(reaching()) if case.kind != "job"}
    now = datetime.now(UTC) - timedelta(seconds=1)
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        before: list[tuple[str, bytes]] = []
        for queue in told:
            defined = QueueDefined("leveret", queue.removeprefix("leveret."), now, "t", 5, 30.0, 100)
            before.append((f"queue.{queue}", events.encode(defined)))
        await publish(operator, before)
        # A list is about a namespace, in which nothing else is.
        await publish(operator, [(f"{case.kind}.{queue}", case.body) for queue, case in told.items()])
        last = neighbour()
        await tell(operator, f"job.{QUEUE}", [last])
        await recorded(producer, last.id)
        shown = {queue["name"] for queue in (await producer.http.get("/v1/queues")).json()["queues"]}
        assert [str(case) for queue, case in told.items() if queue not in shown and "Removed" not in case.field] == []
        for start in range(0, len(told), FEW):
            some = [*told.items()][start : start + FEW]
            answers = await asyncio.gather(*(producer.submit(JOB, queue=queue) for queue, _ in some))
            for (_, case), answer in zip(some, answers, strict=True):
                assert answer.status_code < 500, f"{case}: {answer.status_code} {answer.text[:500]}"
        await sound(producer, [*(f"/v1/queues/{queue}" for queue in [*told][::10]), "/readyz"])


async def test_a_consumer_whose_clock_is_wrong_moves_nothing_out_of_reach(broker: Broker, database: Database) -> None:
    """A retry comes within the longest delay, and what is shown is no later than now."""
    far, job = datetime(9999, 12, 31, tzinfo=UTC), uuid4()
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        waits = JobEvent(
            job, "t", State.RETRYING, far, "pod", started_at=far, publish_at=far, payload=msgspec.Raw(b"1")
        )
        await tell(operator, f"job.{QUEUE}", [waits])
        await recorded(producer, job)
        store = Postgres(lambda: database, connections=1, name="test")
        async with store.transaction() as connection:
            (row,) = await connection.execute(text("SELECT due_at, lease_until, created_at, finished_at FROM jobs"))
        await store.close()
        assert row.due_at == row.lease_until
        assert row.due_at - datetime.now(UTC) <= LONGEST_DELAY
        assert row.created_at <= datetime.now(UTC) + timedelta(minutes=1)
        assert row.finished_at is None
        await tell(operator, f"job.{QUEUE}", [JobEvent(job, "t", State.SUCCEEDED, datetime.now(UTC), "pod", attempt=2)])

        async def ended() -> bool:
            return (await producer.job(str(job)))["state"] == "succeeded"

        await eventually_true(ended, "a right clock's end counts")
