"""What was set aside comes back after a mend, as it was: events, dead letters, and what no queue took."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from uuid import UUID, uuid4

import aio_pika
import pytest
from producers import QUEUE, Producer, eventually, eventually_true, known, operating, producing, ready, tell
from sqlalchemy import text

from leveret import topology, wire
from leveret.events import Event, HandlerInfo, HandlersRegistered, JobEvent, encode
from leveret.jobs import State
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import persistent_json
from leveret.rabbitmq.unmade import NOT_MADE
from leveret.settings import Broker, Database
from leveret_producer.set_aside import DONE, SOME_STAY, put_back
from leveret_producer.store.postgres import Postgres

DIED = {
    "queue": QUEUE,
    "reason": "expired",
    "count": 1,
    "time": datetime(2026, 5, 1, tzinfo=UTC),
    "exchange": "leveret.jobs",
}


def command(broker: Broker, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LEVERET_BROKER_URL": broker.url()}
    return subprocess.run(
        [sys.executable, "-m", "leveret_producer.set_aside", *words],
        capture_output=True, text=True, check=False, env=environment, timeout=60,
    )  # fmt: skip


async def set_aside(producer: Producer, number: int) -> None:
    counted = producer.metrics.registry.get_sample_value
    await eventually(lambda: counted("leveret_events_set_aside_total") == number, f"{number} are set aside")


async def run_sql(database: Database, statement: str) -> None:
    store = Postgres(lambda: database, connections=1, name="test")
    async with store.transaction() as connection:
        await connection.execute(text(statement))
    await store.close()


async def left(broker: Broker, queue: str = topology.EVENTS_DEAD) -> int:
    async with await open_connection(broker, "test look") as connection:
        declared = await (await connection.channel()).declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


def dead_letter(id: UUID) -> aio_pika.Message:
    return aio_pika.Message(
        b'{"n": 1}',
        headers={"x-death": [DIED], "theirs": "kept"},
        message_id=str(id),
        type="t",
        correlation_id="c",
        content_type="application/json",
        timestamp=datetime(2026, 4, 1, tzinfo=UTC),
    )


async def test_what_was_set_aside_is_recorded_after_a_mend(broker: Broker, database: Database) -> None:
    event, letter, returned = uuid4(), uuid4(), uuid4()
    async with producing(broker, database) as producer, operating(broker, QUEUE, "leveret.other") as operator:
        await ready(producer)
        for queue in (QUEUE, "leveret.other"):
            await known(producer, queue)
        # Rows of another queue stand in the way, as if somebody had used the ids twice.
        for one in (event, letter, returned):
            await tell(operator, "job.leveret.other", [JobEvent(one, "t", State.RUNNING, datetime.now(UTC), "pod")])
        await recorded(producer, returned, "running")
        await tell(operator, f"job.{QUEUE}", [JobEvent(event, "t", State.SUCCEEDED, datetime.now(UTC), "pod")])
        await operator.publish(topology.DEAD, QUEUE, dead_letter(letter))
        await operator.publish(topology.UNROUTABLE, QUEUE, job(returned), mandatory=False)
        await set_aside(producer, 3)

        listed = await asyncio.to_thread(command, broker, "list", "--limit", "5")
        assert (listed.returncode, listed.stderr) == (0, "")
        assert listed.stdout.count("belongs to another queue") == 3
        assert await left(broker) == 3, "to look takes nothing away"

        await run_sql(database, "DELETE FROM jobs")
        back = await asyncio.to_thread(command, broker, "put-back")
        assert (back.returncode, back.stderr) == (0, ""), back.stdout
        assert back.stdout == "3 of 3 messages were put back, 0 could not be and stay\n"
        await recorded(producer, event, "succeeded")
        died = await recorded(producer, letter, "dead")
        assert died["payload"] == {"n": 1}, "it can be redriven"
        assert (died["error"]["reason"], died["correlation_id"]) == ("DeadlineExceeded", "c")  # type: ignore[index]
        assert datetime.fromisoformat(str(died["finished_at"])) == DIED["time"]
        assert datetime.fromisoformat(str(died["created_at"])) == datetime(2026, 4, 1, tzinfo=UTC)
        await recorded(producer, returned, "queued")
        assert await left(broker) == 0
        assert await left(broker, topology.dead_queue(QUEUE)) == 1, "its queue of dead letters had it already"


def job(id: UUID) -> aio_pika.Message:
    return aio_pika.Message(b"1", message_id=str(id), type="t", delivery_mode=2)


async def recorded(producer: Producer, id: UUID, state: str) -> dict[str, object]:
    async def it_is() -> bool:
        answer = await producer.http.get(f"/v1/jobs/{id}")
        return answer.status_code == 200 and answer.json()["state"] == state

    await eventually_true(it_is, f"{id} is {state}", 30)
    return await producer.job(str(id))


async def test_what_is_set_aside_again_does_not_go_round_and_what_nobody_takes_stays(
    broker: Broker, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    headers = ({"leveret-routing-key": "odd"}, {}, {"leveret-routing-key": "k", "leveret-exchange": "gone"})
    async with producing(broker, database) as producer, operating(broker, QUEUE) as operator:
        await ready(producer)
        for some in (*headers, *headers[:1] * 20):
            await operator.publish("", topology.EVENTS_DEAD, aio_pika.Message(b"no event", headers={**some}))
        async with await open_connection(broker, "test") as connection:
            assert await put_back(connection, limit=1) == DONE
            await set_aside(producer, 1)
            assert await put_back(connection) == SOME_STAY
            await set_aside(producer, 21 + 1)
        first, second = [line for line in capsys.readouterr().out.splitlines() if "were put back" in line]
        assert first == "1 of 23 messages were put back, 0 could not be and stay"
        assert second.startswith(
            "21 of 23 messages were put back, 2 could not be and stay, the first because it doesn't say"
        )
        assert await left(broker) == 23, "nothing is lost"


async def test_what_had_no_queue_of_events_is_put_back_without_a_hand_and_nothing_else(
    broker: Broker, database: Database
) -> None:
    """It was there again while no producer ran. Who has registered since then has the last word."""
    stays, job = JobEvent(uuid4(), "t", State.RUNNING, datetime.now(UTC), "pod"), uuid4()
    async with operating(broker, QUEUE) as operator:

        async def aside(key: str, event: Event, reason: str) -> None:
            headers = {wire.ROUTING_KEY: key, wire.REASON: reason}
            await operator.publish("", topology.EVENTS_DEAD, persistent_json(encode(event), headers))

        await aside(f"job.{QUEUE}", [stays], "a defect of Leveret, to be reported")
        await aside(f"handlers.{QUEUE}", HandlersRegistered("v", {"former": HandlerInfo(None)}), NOT_MADE)
        await aside(f"job.{QUEUE}", [JobEvent(job, "t", State.SUCCEEDED, datetime.now(UTC), "pod")], NOT_MADE)
        await tell(operator, f"handlers.{QUEUE}", HandlersRegistered("v", {"present": HandlerInfo(None)}))
        async with producing(broker, database) as producer:
            await ready(producer)
            await recorded(producer, job, "succeeded")
            store = Postgres(lambda: database, connections=1, name="test")
            async with store.transaction() as connection:
                types = (
                    (await connection.execute(text("SELECT jsonb_object_keys(CAST(types AS jsonb)) FROM handlers")))
                    .scalars()
                    .all()
                )
            await store.close()
            assert types == ["present"]
        assert await left(broker) == 1


def test_a_broker_that_is_away_is_said_in_one_sentence() -> None:
    done = command(Broker("127.0.0.1", 1, "leveret", "leveret", "/"), "put-back")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("the broker can't be reached: [Errno 111]")
    assert "Traceback" not in done.stderr


def test_a_command_that_there_is_not_is_refused() -> None:
    assert command(Broker("127.0.0.1", 1, "leveret", "leveret", "/"), "purge").returncode == 2
