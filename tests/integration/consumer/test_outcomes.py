"""What becomes of jobs on a real broker: success, retry, dead letter, and messages that are none."""

import asyncio
import json
import re
import signal
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from containers import Server

from leveret import signals, topology, wire
from leveret.signals import Heartbeat


async def test_a_job_succeeds_and_its_events_tell_the_story(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    one = consumer(version="v7")
    await one.ready()
    job = await rig.submit("sleep", {"witness": witness, "seconds": 0.1})
    (end,) = await rig.final(job)
    assert rig.states(job) == ["running", "succeeded"]
    start = rig.of(job)[0]
    assert bytes(end.result or b"") == b"0.1"
    assert end.run_seconds is not None
    assert 0.09 < end.run_seconds < 60
    assert (start.wait_seconds, start.max_attempts, start.consumer) == (None, 3, "pod-0"), "no timestamp, no wait"
    assert end.started_at == start.started_at
    (registered,) = rig.registered
    assert registered.version == "v7"
    assert registered.types["sleep"].schema["properties"]["seconds"]["type"] == ["number", "boolean", "string"]
    assert await rig.ready_messages() == 0


async def test_a_failed_attempt_runs_again_with_the_next_number(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    await consumer().ready()
    job = await rig.submit("fail", {"witness": witness, "times": 2})
    (end,) = await rig.final(job)
    ends = rig.ends(job)
    assert [(str(event.state), event.attempt) for event in ends] == [("retrying", 1), ("retrying", 2), ("succeeded", 3)]
    error = ends[0].error
    assert (error.reason, error.type) == ("Failed", "ValueError")
    assert "attempt 1 of 3 fails as asked" in error.message
    assert "consumer_jobs.py" in error.traceback
    assert "leveret_consumer" not in error.traceback
    assert bytes(end.result or b"") == b'"done"'


async def test_a_retry_waits_in_its_delay_level(rig: Any, consumer: Callable[..., Any], witness: Path) -> None:
    await consumer().ready()
    job = await rig.submit("fail-slowly", {"witness": witness, "times": 1})
    await rig.final(job)
    failed, again = rig.ends(job)
    assert (failed.retry_at - failed.at).total_seconds() == 1
    # From start to start: the report of the failure is made only after the copy is in its level.
    assert 0.9 < (again.started_at - failed.started_at).total_seconds() < 60
    assert again.attempt == 2


async def test_the_last_attempt_is_followed_by_a_dead_letter_with_reason_and_error(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    await consumer().ready()
    job = await rig.submit("fail", {"witness": witness, "times": 9})
    (end,) = await rig.final(job)
    dead = await rig.dead()
    assert (str(end.state), end.error.reason) == ("dead", "AttemptsExhausted")
    assert dead.message_id == str(job)
    assert dead.headers[wire.REASON] == "AttemptsExhausted"
    assert dead.headers[wire.ATTEMPT] == 3
    assert json.loads(dead.headers[wire.ERROR])["type"] == "ValueError"
    started, died = wire.time_of(dead.headers[wire.STARTED_AT]), wire.time_of(dead.headers[wire.DIED_AT])
    assert started is not None
    assert died is not None
    assert abs(started - end.started_at) < timedelta(milliseconds=1)
    assert timedelta(0) <= died - started
    assert abs(end.at - died) < timedelta(seconds=30)


@pytest.mark.parametrize("type", ["tell", "tell-in-process"])
async def test_progress_that_is_no_number_is_one_failed_job_and_its_neighbours_are_told_of(
    rig: Any, consumer: Callable[..., Any], type: str
) -> None:
    await consumer().ready()
    jobs = [await rig.submit(type, what) for what in ("fraction", "nan", "decimal", "text")]
    neighbour = await rig.submit("noop", {})
    ends = await rig.final(*jobs, neighbour)
    assert [str(end.state) for end in ends] == ["succeeded", "dead", "succeeded", "dead", "succeeded"]
    assert [end.error.type for end in ends if end.error] == ["ValueError", "ValueError"]
    told = [event.progress.done for job in jobs for event in rig.of(job) if event.progress]
    assert told == [1 / 3, 2.0]


async def test_a_validator_that_raises_anything_makes_a_dead_letter(rig: Any, consumer: Callable[..., Any]) -> None:
    await consumer().ready()
    job = await rig.submit("careless", {"of": {}})
    (end,) = await rig.final(job)
    assert (str(end.state), end.error.reason, end.error.message) == ("dead", "InvalidPayload", "KeyError: 'x'")
    assert rig.states(job) == ["dead"]


async def test_sys_exit_in_a_handler_is_a_failed_attempt_and_not_the_end_of_the_process(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    await consumer().ready()
    (end,) = await rig.final(await rig.submit("exit", {"witness": witness}))
    assert (end.error.reason, end.error.type) == ("AttemptsExhausted", "SystemExit")


async def test_a_result_above_256_kib_is_a_failure_that_says_so(rig: Any, consumer: Callable[..., Any]) -> None:
    await consumer(retry='{"maxAttempts":1}').ready()
    small, big = await rig.submit("large", {"bytes": 250_000}), await rig.submit("large", {"bytes": 262_143})
    kept, refused = await rig.final(small, big)
    assert len(kept.result) == 250_002
    assert refused.error.type == "ResultTooLarge"
    assert "262,145 bytes" in refused.error.message


BAD = {
    "unknown type": (aio_pika.Message(b"{}", type="nobody", message_id=str(uuid.uuid4())), "UnknownType"),
    "no type": (aio_pika.Message(b"{}", message_id=str(uuid.uuid4())), "UnknownType"),
    "not JSON": (aio_pika.Message(b"\xff{", type="sleep", message_id=str(uuid.uuid4())), "NotJson"),
    "empty": (aio_pika.Message(b"", type="sleep", message_id=str(uuid.uuid4())), "NotJson"),
    "invalid payload": (
        aio_pika.Message(b'{"seconds":"x"}', type="sleep", message_id=str(uuid.uuid4())),
        "InvalidPayload",
    ),
    "too large": (
        aio_pika.Message(b'"' + b"x" * 300_000 + b'"', type="large", message_id=str(uuid.uuid4())),
        "TooLarge",
    ),
    "an id that is none": (aio_pika.Message(b"{}", type="sleep", message_id="x", headers={"mine": "kept"}), "NoId"),
}


async def test_what_can_not_be_run_is_a_dead_letter_and_the_consumer_goes_on(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    one = consumer()
    await one.ready()
    for name, (message, reason) in BAD.items():
        await rig.send(message)
        dead = await rig.dead()
        assert (name, dead.headers[wire.REASON]) == (name, reason)
        assert (dead.body, dead.type) == (message.body, message.type)
        assert reason == "NoId" or dead.message_id == message.message_id
        (end,) = await rig.final(uuid.UUID(dead.message_id))
        assert (end.error.reason, end.type) == (reason, message.type or "")
    assert dead.headers["mine"] == "kept"
    await rig.final(await rig.submit("sleep", {"witness": witness}))
    assert one.readiness() == (True, "consuming leveret.under-test with 10 slots")
    slots = re.findall(r'leveret_consumer_slots\{queue="leveret.under-test",state="(\w+)"\} (\S+)', one.metrics())
    assert slots == [("busy", "0.0"), ("idle", "10.0")]


async def test_a_message_without_an_id_is_kept_as_a_dead_letter_under_a_new_one(
    rig: Any, consumer: Callable[..., Any], rabbitmq: Server, witness: Path
) -> None:
    await consumer().ready()
    publish_without_id(rabbitmq, rig.broker.vhost)
    dead = await rig.dead()
    assert dead.headers[wire.REASON] == "NoId"
    assert (dead.body, dead.type) == (b'{"mine": 1}', "sleep")
    given = uuid.UUID(dead.message_id)
    (end,) = await rig.final(given)
    assert (given.version, end.error.reason, end.type) == (7, "NoId", "sleep")
    await rig.final(await rig.submit("sleep", {"witness": witness}))


def publish_without_id(rabbitmq: Server, vhost: str) -> None:
    """Through the management API: our client library adds an id to what has none."""
    body = {"routing_key": "leveret.under-test", "payload": '{"mine": 1}', "payload_encoding": "string"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{rabbitmq.ports[15672]}/api/exchanges/{vhost}/leveret.jobs/publish",
        json.dumps(body | {"properties": {"type": "sleep"}}).encode(),
        {"Authorization": "Basic " + b64encode(b"leveret:leveret").decode(), "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert json.load(answer) == {"routed": True}


@pytest.mark.parametrize("where", ["loop", "thread", "process"])
async def test_a_handler_rejects_gives_up_and_asks_for_later_in_every_pool(
    rig: Any, consumer: Callable[..., Any], where: str
) -> None:
    await consumer(concurrency=2).ready()
    for does, reason, message in (
        ("reject", "Rejected", "no such customer"),
        ("give up", "GaveUp", "the shop is closed for ever"),
        ("later", "AttemptsExhausted", "the shop is closed"),
    ):
        job = await rig.submit(f"answer-{where}", does)
        (end,) = await rig.final(job)
        dead = await rig.dead()
        assert (dead.headers[wire.REASON], end.error.reason, end.error.message) == (reason, reason, message)
    later, dead_end = rig.ends(job)
    assert [str(event.state) for event in (later, dead_end)] == ["retrying", "dead"]
    assert (later.error.type, later.retry_at - later.at) == ("RetryLater", timedelta(seconds=1))
    assert 0.9 < (dead_end.started_at - later.started_at).total_seconds() < 60


async def test_a_wait_above_the_last_level_is_left_to_the_store_without_a_copy(
    rig: Any, consumer: Callable[..., Any]
) -> None:
    await consumer().ready()
    job = await rig.submit("answer-loop", "tomorrow")
    event = await rig.retrying(job)
    assert event.publish_at == event.retry_at == event.at + timedelta(days=1)
    assert bytes(event.payload) == b'"tomorrow"'
    await rig.final(await rig.submit("noop", {}))
    counted = await rig.messages(
        topology.delay_exchange(12), topology.dead_queue("leveret.under-test"), "leveret.under-test"
    )
    assert counted == [0, 0, 0]


@pytest.mark.parametrize("type", ["count", "count-in-thread", "count-in-process"])
async def test_progress_is_told_about_twice_a_second_and_its_last_value_always(
    rig: Any, consumer: Callable[..., Any], type: str
) -> None:
    await consumer().ready()
    job = await rig.submit(type, {"n": 150, "wait": 0.01})
    (end,) = await rig.final(job)
    told = [event.progress for event in rig.of(job) if event.progress]
    assert told[-1].done == told[-1].total == 150
    assert 2 <= len(told) <= 2 * end.run_seconds + 3


async def test_heartbeats_tell_busy_idle_and_stopping_at_once(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    beats: list[Heartbeat] = []
    channel = await rig.connection.channel()
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(topology.SIGNALS, "heartbeat.#")

    async def heard(message: Any) -> None:
        beats.append(signals.decode(message.body))  # type: ignore[arg-type]

    await queue.consume(heard, no_ack=True)
    one = consumer()
    await one.ready()
    await rig.final(await rig.submit("sleep", {"witness": witness, "seconds": 1.5}))
    one.signal(signal.SIGTERM)
    assert await one.ended() == 0
    async with asyncio.timeout(60):
        while not beats or not beats[-1].stopping or beats[-1].in_flight:  # noqa: ASYNC110 - the last is on its way
            await asyncio.sleep(0.05)
    told = [(beat.in_flight, beat.finished, beat.stopping) for beat in beats]
    assert told[0] == (0, 0, False)
    assert (1, 0, False) in told, "busy, well before the next 5 s are over"
    assert told[-1] == (0, 1, True)
    assert 1.4 < beats[-1].busy_seconds < 60
    assert {(beat.consumer, beat.queue, beat.slots) for beat in beats} == {("pod-0", "leveret.under-test", 10)}
