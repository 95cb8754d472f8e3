"""Deadlines on a real broker: what runs is stopped then, and what has passed one does not start, here or in a next attempt."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from leveret import wire

# Each has a time-out of 30 s, and would take 4.
TYPES = ["count", "count-in-thread", "count-in-process"]
RUNS = {"n": 80, "wait": 0.05}


def after(seconds: float) -> datetime:
    return wire.deadline_of(datetime.now(UTC) + timedelta(seconds=seconds))


async def test_a_handler_that_runs_is_stopped_at_its_jobs_deadline_whatever_it_runs_on(
    rig: Any, consumer: Callable[..., Any]
) -> None:
    one = consumer()
    await one.ready()
    await rig.final(await rig.submit("count-in-process", {"n": 1, "wait": 0}))  # its process has booted
    deadline = after(2)
    jobs = [await rig.submit(one_of, RUNS, deadline=deadline) for one_of in TYPES]
    letters = [await rig.dead() for _ in TYPES]
    ends = await rig.final(*jobs)
    for end in ends:
        assert (end.state, end.attempt, end.error.reason, end.deadline) == ("dead", 1, "DeadlineExceeded", deadline)
        assert end.started_at is not None
        assert end.started_at < deadline < end.at + timedelta(milliseconds=50)
        assert "was stopped" in end.error.message
        assert set(rig.states(end.id)) == {"running", "dead"}
    headers = {letter.message_id: letter.headers for letter in letters}
    assert headers.keys() == {str(job) for job in jobs}
    assert {one["leveret-reason"] for one in headers.values()} == {"DeadlineExceeded"}
    assert {one["leveret-deadline"] for one in headers.values()} == {wire.as_time(deadline)}
    loop, _, process = ends
    assert all(end.at - deadline < timedelta(seconds=2) for end in (loop, process)), "they end at once"
    assert one.readiness()[0], "the thread came back within its 5 s"


async def test_what_has_passed_its_deadline_does_not_start_and_a_reply_stands_for_its_dead_letter(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    channel = await rig.connection.channel()
    mine = await channel.declare_queue(exclusive=True)
    answers: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    await mine.consume(answers.put, no_ack=True)
    payload, passed, soon = {"witness": witness, "times": 9}, after(-1), after(600)
    kept = [await rig.submit(one_of, payload, deadline=passed) for one_of in ("sleep", "nobody's type")]
    told = await rig.submit("sleep", payload, deadline=passed, reply_to=mine.name, correlation_id="passed")
    runs = await rig.submit("sleep", payload, deadline=soon, reply_to=mine.name, correlation_id="ahead")
    one = consumer()
    await one.ready()
    first = await rig.submit("answer-loop", "tomorrow", deadline=soon, reply_to=mine.name, correlation_id="again")
    dead = await rig.final(*kept, told, first)
    assert {(end.state, end.attempt, end.error.reason) for end in dead} == {("dead", 1, "DeadlineExceeded")}
    assert [end.error.type for end in dead] == [None, None, None, "RetryLater"]
    await rig.final(runs)
    got = {one.correlation_id: one for one in [await asyncio.wait_for(answers.get(), 60) for _ in range(3)]}
    assert got["ahead"].headers["leveret-outcome"] == "succeeded"
    for name, job in {"passed": told, "again": first}.items():
        problem = json.loads(got[name].body)
        assert (got[name].headers["leveret-outcome"], problem["job"]) == ("dead", str(job))
        assert (problem["reason"], "No dead letter is kept" in problem["detail"]) == ("DeadlineExceeded", True)
    letters = [await rig.dead() for _ in kept]
    assert {letter.message_id for letter in letters} == {str(job) for job in kept}
    await asyncio.sleep(0.5)
    assert (rig.dead_letters, answers.empty()) == ([], True)
    assert {line.split()[1] for line in witness.read_text().splitlines()} == {str(runs)}


UNREADABLE = ["soon", "", "2026-11-29T12:00:00", 5, datetime(2020, 1, 1, tzinfo=UTC), bytearray(b"\xff"), [1]]


async def test_a_deadline_that_can_not_be_read_is_none(rig: Any, consumer: Callable[..., Any]) -> None:
    consumer()
    jobs = [uuid4() for _ in UNREADABLE]
    for job, value in zip(jobs, UNREADABLE, strict=True):
        headers = {wire.DEADLINE: value}
        await rig.send(aio_pika.Message(b"{}", message_id=str(job), type="noop", headers=headers))
    ends = await rig.final(*jobs)
    assert {(end.state, end.deadline) for end in ends} == {("succeeded", None)}
