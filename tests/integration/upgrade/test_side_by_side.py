"""A rolling update: producers and consumers of an older version and of today's, on one broker and one database.

In three acts: the older producer alone, both, today's alone; with a consumer of each version all the time. Each of `FLOWS`
runs in every act. So each recorder has had to record all that consumers of both versions tell, and each front door has had to
show it. What is new on the wire, in events or in tables gets a flow here.
"""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from producers import eventually_true, operating, tell
from two_versions import Door, Process, Stage, older, today

from leveret import topology, wire
from leveret.events import Error, HandlersRegistered, JobEvent, Progress, QueueDecided, QueueDefined, QueueObserved
from leveret.jobs import Envelope, State
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database
from leveret.signals import Heartbeat, decode
from leveret.version import NOT_TOLD, VERSION, oldest

QUEUE = "leveret.two-versions"
HANDLERS = Path(__file__).with_name("upgrade_jobs.py")
Shown = dict[str, Any]


@dataclass(frozen=True)
class Act:
    name: str
    doors: list[Door]
    publisher: Publisher  # the operator's, and foreign clients'
    broker: Broker
    folder: Path

    async def publish(self, type: str, payload: object, queue: str = QUEUE, **fields: Any) -> str:
        job = Envelope(uuid4(), queue, type, json.dumps(payload).encode(), **fields)
        await self.publisher.publish(topology.JOBS, queue, wire.to_message(job))
        return str(job.id)

    async def submit(self, type: str, *payloads: object, **asked: object) -> list[str]:
        """Submit one job for each payload through every door."""
        jobs = [{"type": type, "payload": payload, **asked} for payload in payloads]
        return [job for door in self.doors for job in await door.submit(QUEUE, *jobs)]

    async def shown(
        self, jobs: Collection[str], type: str, is_so: Callable[[Shown], bool], queue: str = QUEUE
    ) -> list[Shown]:
        """Wait until every door shows all these jobs so; return what the last one shows."""
        found: list[Shown] = []
        for door in self.doors:
            found = await _shown(door, jobs, {"queue": queue, "type": type, "limit": 500}, is_so)
        return found


async def _shown(
    door: Door, jobs: Collection[str], query: dict[str, Any], is_so: Callable[[Shown], bool]
) -> list[Shown]:
    end = time.monotonic() + 60
    while True:
        found = [job for job in (await door.get("/v1/jobs", **query))["jobs"] if job["id"] in jobs]
        odd = [job for job in found if not is_so(job)]
        if len(found) == len(jobs) and not odd:
            return found
        assert time.monotonic() < end, (
            f"{door.version} shows {len(found)} of {len(jobs)}, and not as it should: {odd[:3]}"
        )
        await asyncio.sleep(0.2)  # a list costs the producer more than a job does


def ended(state: str, *outcomes: str) -> Callable[[Shown], bool]:
    """Have come to their end, with all attempts: those may have been recorded by another version."""

    def is_so(job: Shown) -> bool:
        told = [one["outcome"] for one in job["attempts"]]
        return job["state"] == state and bool(job["finished_at"]) and told == list(outcomes or [state])

    return is_so


async def jobs_of_both_ways(act: Act) -> None:
    jobs = await act.submit("echo", *range(50))
    jobs += await asyncio.gather(*(act.publish("echo", number) for number in range(50)))
    shown = await act.shown(jobs, "echo", ended("succeeded"))
    assert {one["consumer"] for job in shown for one in job["attempts"]} == {"older", "today"}
    for door in act.doors:
        whole = await door.get(f"/v1/jobs/{jobs[7]}")
        assert (whole["payload"], whole["result"]) == (7, 7)


async def retries(act: Act) -> None:
    jobs = await act.submit("third-time", *range(20))
    shown = await act.shown(jobs, "third-time", ended("succeeded", "retrying", "retrying", "succeeded"))
    consumers = [{one["consumer"] for one in job["attempts"]} for job in shown]
    assert {"older", "today"} in consumers, "no attempt went from one version to the other"


async def jobs_for_later(act: Act) -> None:
    jobs = await act.submit("echo", *range(5), delay="500ms")
    assert all(job["run_at"] for job in await act.shown(jobs, "echo", ended("succeeded")))


async def requests_with_a_key(act: Act) -> None:
    """The older producer takes no notice of a key and stores what it is sent; today's stores it once."""
    for door in act.doors:
        headers = {"Idempotency-Key": f"{act.name} {door.version}".replace(" ", "-")}
        job = {"type": "echo", "payload": "keyed"}
        answers = [await door.http.post(f"/v1/queues/{QUEUE}/jobs", json=job, headers=headers) for _ in range(2)]
        assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
        jobs = {answer.json()["id"] for answer in answers}
        assert len(jobs) == (1 if door.version == "today" else 2)
        await act.shown(jobs, "echo", ended("succeeded"))


async def dead_letters_and_redrives(act: Act) -> None:
    """What one door accepted, another one redrives."""
    made = [await door.submit(QUEUE, *[{"type": "redriven", "payload": str(act.folder)}] * 10) for door in act.doors]
    jobs = [job for some in made for job in some]
    await act.shown(jobs, "redriven", ended("dead"))
    for door, some in zip(act.doors, reversed(made), strict=True):
        listed = await door.get(f"/v1/queues/{QUEUE}/dead-letters", type="redriven", limit=500)
        assert [one["reason"] for one in listed["dead_letters"] if one["id"] in some] == ["Rejected"] * len(some)
        await _operate(act, door, "redrive", some)
    again = await act.shown(jobs, "redriven", ended("succeeded", "dead", "succeeded"))
    assert {job["generation"] for job in again} == {2}


async def purges(act: Act) -> None:
    jobs = await act.submit("rejected", *range(5))
    await act.shown(jobs, "rejected", ended("dead"))
    await _operate(act, act.doors[-1], "purge", jobs)
    for door in act.doors:
        listed = await door.get(f"/v1/queues/{QUEUE}/dead-letters", type="rejected", limit=500)
        assert not {one["id"] for one in listed["dead_letters"]} & set(jobs)


async def _operate(act: Act, door: Door, what: str, jobs: list[str]) -> None:
    """Ask one door for it, and wait until all say that it was done with all of them."""
    asked = await door.http.post(f"/v1/queues/{QUEUE}/dead-letters/{what}", json={"ids": jobs})
    assert asked.status_code == 202, asked.text
    for each in act.doors:

        async def is_done(each: Door = each) -> bool:
            said = await each.get(asked.headers["location"])
            return bool(said["state"] == "done" and said["done"] == len(jobs))

        await eventually_true(is_done, f"{what} is done with all")


async def schemas(act: Act) -> None:
    """Each door checks by what the consumer told that registered last: of either version."""
    jobs = await act.submit("counted", {"count": 3}, {"count": 4, "names": ["a", "b"]})
    await act.shown(jobs, "counted", ended("succeeded"))
    for door in act.doors:

        async def refuses(door: Door = door) -> bool:
            answer = await door.http.post(f"/v1/queues/{QUEUE}/jobs", json={"type": "counted", "payload": []})
            return answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/payload"

        await eventually_true(refuses, f"{door.version} refuses what no consumer takes")


async def replies(act: Act) -> None:
    outcomes = {"echo": "succeeded", "rejected": "dead"}
    async with await open_connection(act.broker, "test client") as connection:
        mine = await (await connection.channel()).declare_queue(exclusive=True)
        asked = {str(number): ("echo", "echo", "rejected")[number % 3] for number in range(18)}
        for number, kind in asked.items():
            await act.publish(kind, number, correlation_id=number, reply_to=mine.name)
        told: dict[str, object] = {}
        async with asyncio.timeout(60), mine.iterator(no_ack=True) as answers:
            async for answer in answers:
                told[answer.correlation_id or ""] = answer.headers["leveret-outcome"]
                if len(told) == len(asked):
                    break
    assert told == {number: outcomes[kind] for number, kind in asked.items()}


async def deadlines(act: Act) -> None:
    """The older consumer knows none. Which of the two had a job shows what became of it, through every door."""
    hour, now = timedelta(hours=1), datetime.now(UTC)
    ahead = await asyncio.gather(*(act.publish("echo", number, deadline=now + hour) for number in range(50)))
    passed = await asyncio.gather(*(act.publish("echo", number, deadline=now - hour) for number in range(50)))
    await act.shown(ahead, "echo", ended("succeeded"))
    shown = await act.shown(passed, "echo", lambda job: ended("succeeded")(job) or ended("dead")(job))
    ends = {(one["consumer"], one["outcome"]) for job in shown for one in job["attempts"]}
    assert ends <= {("older", "succeeded"), ("today", "dead")}, "either may have had them all"
    assert {job["error"]["reason"] for job in shown if job["state"] == "dead"} <= {"DeadlineExceeded"}


async def messages_for_later(act: Act) -> None:
    """The older consumer runs them at once. What today's leaves to the store, either version's recorder has published."""
    early = ran = 0
    while early == ran < 200:  # until today's had some
        began = datetime.now(UTC)
        jobs = await asyncio.gather(*(act.publish("echo", number, headers={wire.DELAY: "3s"}) for number in range(20)))
        shown = await act.shown(
            jobs, "echo", lambda job: job["state"] == "succeeded" and job["attempts"][-1]["outcome"] == "succeeded"
        )
        last = [job["attempts"][-1] for job in shown]
        first = [one for one in last if datetime.fromisoformat(one["started_at"]) < began + timedelta(seconds=3)]
        assert {one["consumer"] for one in first} <= {"older"}
        early, ran = early + len(first), ran + len(last)
    assert early < ran, "today's consumer had none"


async def heartbeats(act: Act) -> None:
    """The oldest of the two consumers is the one that does not tell its version."""
    told: dict[str, str | None] = {}
    async with await open_connection(act.broker, "test operator") as connection:
        inbox = await (await connection.channel()).declare_queue(exclusive=True)
        await inbox.bind(topology.SIGNALS, "heartbeat.#")
        async with asyncio.timeout(60), inbox.iterator(no_ack=True) as heard:
            async for message in heard:
                beat = decode(message.body)
                assert isinstance(beat, Heartbeat)
                told[beat.consumer] = beat.leveret
                if len(told) == 2:
                    break
    assert told["today"] == VERSION
    assert oldest(told.values()) == (told["older"] or NOT_TOLD)


async def what_no_queue_takes(act: Act) -> None:
    nobody = "leveret.nobody"
    jobs = await asyncio.gather(*(act.publish("t", number, nobody) for number in range(10)))
    shown = await act.shown(jobs, "t", lambda job: job["state"] == "dead", nobody)
    assert {job["error"]["reason"] for job in shown} == {"QueueGone"}


async def what_consumers_may_tell(act: Act) -> None:
    """Reports with every field there is, of as many jobs as make sure that each recorder has some."""
    now = datetime.now(UTC)
    hour, change = now + timedelta(hours=1), msgspec.structs.replace
    ids = [uuid4() for _ in range(20)]
    for one in ids:
        first = _with_all_fields(
            JobEvent, id=one, type="told", state=State.RUNNING, at=now, consumer="c", attempt=2, generation=2, delivery=1,
            max_attempts=9, submitted_at=now, started_at=now, run_seconds=1.5, wait_seconds=0.5, retry_at=hour,
            publish_at=hour, payload=msgspec.Raw(b'{"a": 1}'), reply_to="r", priority=3, traceparent="t",
            result=msgspec.Raw(b"7"), error=Error("Failed", "boom", "ValueError", "…"), progress=Progress(1, 2),
            correlation_id="c", given_back=True, deadline=hour, headers={"a": "b"},
        )  # fmt: skip
        back = change(first, state=State.RETRYING, at=now + timedelta(seconds=1))
        end = change(first, state=State.SUCCEEDED, at=now + timedelta(seconds=2), attempt=3)
        await tell(act.publisher, f"job.{QUEUE}", [first, back, end])
    shown = await act.shown([str(one) for one in ids], "told", lambda job: job["state"] == "succeeded")
    assert {(job["attempt"], job["max_attempts"]) for job in shown} == {(3, 9)}


async def what_the_operator_tells(act: Act) -> None:
    """A front door refuses by the last observation, which another version may have recorded."""
    for n in range(4):
        queue, now = f"leveret.told-{act.name}-{n}", datetime.now(UTC)
        told = {
            "handlers": [HandlersRegistered("v1", {})],
            "queue": [
                _with_all_fields(
                    QueueDefined, namespace="leveret", jobqueue=f"told-{act.name}-{n}", at=now, version="v1",
                    max_attempts=5, timeout_seconds=30.0, max_length=1, dead_letters_of=QUEUE,
                ),
                _with_all_fields(
                    QueueObserved, at=now, ready=7, unacked=0, backlog=7, dead_letters=0, arrival_rate=1.5,
                    completion_rate=0.5, oldest_age_seconds=2.5, replicas=1, desired_replicas=2, leveret_version="0.1.0",
                    ready_replicas=1,
                ),
                QueueDecided(now, 1, 2, "Backlog", "two are wanted"),
            ],
        }  # fmt: skip
        for kind, events in told.items():
            for event in events:
                await tell(act.publisher, f"{kind}.{queue}", event)
        for door in act.doors:

            async def shows_all(door: Door = door, queue: str = queue) -> bool:
                answer = await door.http.get(f"/v1/queues/{queue}")
                return answer.status_code == 200 and answer.json()["backlog"] == 7 and bool(answer.json()["decisions"])

            async def is_full(door: Door = door, queue: str = queue) -> bool:
                answer = await door.http.post(f"/v1/queues/{queue}/jobs", json={"type": "t", "payload": 0})
                return answer.status_code == 429

            await eventually_true(shows_all, f"{door.version} shows {queue}")
            await eventually_true(is_full, f"{door.version} knows that {queue} is full")


def _with_all_fields(what: type[Any], **given: Any) -> Any:
    """Make an event in which no field is left out: one that is new gets a value in the flow."""
    assert set(given) == set(what.__struct_fields__)
    return what(**given)


FLOWS = [
    jobs_of_both_ways,
    retries,
    jobs_for_later,
    requests_with_a_key,
    dead_letters_and_redrives,
    purges,
    schemas,
    replies,
    deadlines,
    messages_for_later,
    heartbeats,
    what_no_queue_takes,
    what_consumers_may_tell,
    what_the_operator_tells,
]


async def _play(act: Act) -> None:
    """Run all flows at once, and look whether a process had trouble with it."""
    results = await asyncio.gather(*(flow(act) for flow in FLOWS), return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    for flow, result in zip(FLOWS, results, strict=True):
        if isinstance(result, BaseException):
            result.add_note(f"act {act.name}, flow {flow.__name__}")
    if failed:
        raise BaseExceptionGroup(f"act {act.name}", failed)
    for door in act.doors:
        assert await door.failures() == {}, door.program.log.read_text()


async def _trickle(door: Door, ids: list[str]) -> None:
    """Submit until cancelled."""
    while True:
        ids += await door.submit(QUEUE, {"type": "echo", "payload": 0}, {"type": "echo", "payload": 1})
        await asyncio.sleep(0.1)


def _well(consumers: list[Process]) -> None:
    for one in consumers:
        assert one.runs(), one.log.read_text()
        assert "Traceback" not in one.log.read_text(), one.log.read_text()


async def test_an_older_version_and_todays_work_side_by_side(
    broker: Broker, database: Database, tmp_path: Path
) -> None:
    before, now = older(tmp_path / "older"), today()
    assert before.found() == set(before.paths)
    stage = Stage(broker, database, tmp_path)
    async with stage.open, operating(broker, QUEUE) as publisher:
        consumers = [stage.consumer(version, QUEUE, HANDLERS) for version in (before, now)]
        old = await stage.producer(before)  # the first one: the tables are the older version's
        await old.ready(QUEUE)
        await _play(Act("older", [old], publisher, broker, tmp_path))

        meanwhile: list[str] = []
        trickle = asyncio.create_task(_trickle(old, meanwhile))  # today's migrations run now
        new = await stage.producer(now)
        await new.ready(QUEUE)
        trickle.cancel()
        act = Act("both", [old, new], publisher, broker, tmp_path)
        await act.shown(meanwhile, "echo", ended("succeeded"))
        await _play(act)

        old.program.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(old.program.process.wait, 60) == 0
        await _play(Act("today", [new], publisher, broker, tmp_path))

        _well(consumers)
        for door in (old, new):
            assert "Traceback" not in door.program.log.read_text(), door.program.log.read_text()
        assert await _set_aside(broker) == 0


async def _set_aside(broker: Broker) -> int | None:
    async with await open_connection(broker, "test look") as connection, connection.channel() as channel:
        queue = await channel.declare_queue(topology.EVENTS_DEAD, passive=True)
        return queue.declaration_result.message_count
