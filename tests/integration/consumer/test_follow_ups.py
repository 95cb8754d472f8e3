"""Follow-ups on a real broker: each is there once its parent has succeeded, whoever is killed in between."""

import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import uuid_utils.compat as uuid_utils
from commit_proxy import Loss, commit_proxy
from containers import Server, management
from follow_up_jobs import ROWS
from producers import eventually_true, known, message_ids, operating, producing, ready
from runs import until
from transacting import Rows, url_of

from leveret import Context, topology, wire
from leveret.jobs import Envelope, State
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Nacked, Publisher, persistent_json
from leveret.settings import Broker, Database
from leveret.topology import Binding, Queue, Topology

SUPPORT = Path(__file__).parents[2] / "support"
QUEUE = "leveret.under-test"
OTHER = "leveret.other"


@pytest.fixture
def start(consumer: Callable[..., Any], database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Start a consumer whose handlers write to the database, through another port if one is given."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT), prepend=":")

    def starts(port: int | None = None, **variables: object) -> Any:
        url = url_of("asyncpg", replace(database, port=port or database.port)).render_as_string(hide_password=False)
        monkeypatch.setenv("LEVERET_TEST_DATABASE", url)
        return consumer(handlers="submitting_consumer:handlers", **variables)

    return starts


async def endless(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await work()


def children_of(end: Any) -> list[UUID]:
    return msgspec.json.decode(end.result, type=list[UUID])


async def test_children_of_each_pool_run_and_are_told_of_before_their_parents_have_succeeded(
    rig: Any, start: Callable[..., Any], rows: Rows
) -> None:
    await start(concurrency=4).ready()
    parents = [await rig.submit(f"beside{pool}", {}) for pool in ("", " thread", " process")]
    parents.append(await rig.submit("kept", {}))
    ends = await rig.final(*parents)
    children = [child for end in ends for child in children_of(end)]
    assert {end.state for end in await rig.final(*children)} == {State.SUCCEEDED}
    assert [await rows.of(child) for child in children] == [ROWS] * 8
    told = [(event.id, event.state) for event in rig.told]
    for parent, end in zip(parents, ends, strict=True):
        queued = [told.index((child, State.QUEUED)) for child in children_of(end)]
        assert max(queued) < told.index((parent, State.SUCCEEDED))


async def test_of_a_parent_that_is_killed_after_its_commit_they_are_published_by_the_next_run(
    rig: Any, start: Callable[..., Any], database: Database, rows: Rows
) -> None:
    async with commit_proxy(database.host, database.port) as proxy:
        first = start(proxy.port)
        await first.ready()
        proxy.loses = Loss.SILENCE
        parent = await rig.submit("kept", {})
        await until("COMMIT is on its way", lambda: proxy.lost == 1)
        first.signal(signal.SIGKILL)
        await first.ended()
        await until("the database has seen it", lambda: all(task.done() for task in proxy.tasks))
    assert (await rows.of(parent), [event for event in rig.told if event.id != parent]) == (ROWS, [])
    await start().ready()
    (end,) = await rig.final(parent)
    assert (end.state, bytes(end.result), await rows.of(parent)) == (State.SUCCEEDED, b"null", ROWS)
    ctx = Context(job_id=parent, queue=QUEUE)
    children = [ctx.submit("child", {"n": n}) for n in range(2)]
    await rig.final(*children)
    assert [await rows.of(child) for child in children] == [ROWS, ROWS]


@pytest.mark.parametrize("parent", ["kept", "beside"])
async def test_a_child_of_a_parent_that_is_killed_before_its_ack_comes_twice_and_its_rows_are_there_once(
    rig: Any, start: Callable[..., Any], rows: Rows, tmp_path: Path, witness: Path, parent: str
) -> None:
    """The child kills the consumer as soon as it's there: its parent waits for the next batch of reports."""
    first = start(concurrency=2)
    await first.ready()
    payload = {"witness": str(witness), "children": 1, "child": {"kills_once": str(tmp_path / "killed")}}
    job = await rig.submit(parent, payload)
    assert await first.ended() == -signal.SIGKILL
    child = Context(job_id=job, queue=QUEUE).submit("child", {"n": 0, **payload["child"]})
    await start(concurrency=2).ready()
    ends = await rig.final(job, child)
    assert [end.state for end in ends] == [State.SUCCEEDED, State.SUCCEEDED]
    assert witness.read_text() == "parent\n" * 2, "or the kill came too late to tell anything"
    await until("both of its messages are gone", lambda: len(rig.of(child)) >= 2)
    assert await rows.of(child) == ROWS


async def test_what_does_not_go_to_a_queue_now_is_left_to_the_store_or_to_who_sees_to_such(
    rig: Any, start: Callable[..., Any], rows: Rows
) -> None:
    """A queue that is full, a time that is ahead, and a queue that nobody has: the parents end."""
    full = Queue(OTHER, {"x-queue-type": "quorum", "x-max-length": 2, "x-overflow": "reject-publish"})
    async with rig.connection.channel() as channel:
        await declare(channel, Topology((), (full,), (Binding(topology.JOBS, OTHER, OTHER),)))
    publisher = await Publisher.open(rig.connection)
    with pytest.raises(Nacked):
        await endless(partial(publisher.publish, topology.JOBS, OTHER, persistent_json(b"{}")))
    await start().ready()
    many = await rig.submit("beside", {"queue": OTHER, "children": 20})
    later = await rig.submit("kept", {"queue": OTHER, "children": 1, "delay": "1h"})
    nowhere = await rig.submit("beside", {"queue": "leveret.nowhere", "children": 1})
    ends = await rig.final(many, later, nowhere)
    told = {event.id: event for event in rig.told if event.state in (State.QUEUED, State.RETRYING)}
    for n, child in enumerate(children_of(ends[0])):
        event = told[child]
        assert (event.state, bytes(event.payload)) == (State.RETRYING, b'{"n":%d}' % n)
        assert event.publish_at == event.at
    (child,) = children_of(ends[1])
    assert told[child].state is State.RETRYING
    assert 3590 < (told[child].publish_at - told[child].at).total_seconds() <= 3600
    (lost,) = children_of(ends[2])
    assert (told[lost].state, await rig.messages(topology.UNROUTABLE)) == (State.QUEUED, [1])
    assert {rig.queue_of[one] for one in children_of(ends[0])} == {OTHER}
    assert (rig.queue_of[child], rig.queue_of[lost], rig.queue_of[many]) == (OTHER, "leveret.nowhere", QUEUE)


async def test_a_child_that_waits_is_cancelled_as_any_job(rig: Any, start: Callable[..., Any], rows: Rows) -> None:
    parent = Envelope(uuid_utils.uuid7(), QUEUE, "beside", b"{}")
    ctx = Context(job_id=parent.id, queue=QUEUE)
    runs, waits = (ctx.submit("child", {"n": n}) for n in range(2))
    await rig.cancel(waits)
    await rig.send(wire.to_message(parent))
    await start().ready()
    assert [end.state for end in await rig.final(parent.id, runs, waits)] == ["succeeded", "succeeded", "cancelled"]
    assert (await rows.of(runs), await rows.of(waits)) == (ROWS, 0)


async def test_with_a_producer_they_are_published_once_there_is_room_and_what_no_queue_takes_is_a_dead_letter(
    broker: Broker, rabbitmq: Server, database: Database, start: Callable[..., Any], rows: Rows
) -> None:
    limit = {"pattern": f"^{OTHER}$", "definition": {"max-length": 1}, "apply-to": "queues"}
    async with producing(broker, database) as producer, operating(broker, QUEUE, OTHER) as operator:
        await ready(producer)
        await known(producer, QUEUE)
        management(rabbitmq, f"policies/{broker.vhost}/full", "PUT", limit)
        filling = partial(operator.publish, topology.JOBS, OTHER, persistent_json(b"{}"))
        with pytest.raises(Nacked):
            await endless(filling)
        parents = [
            {"type": "beside", "payload": {"queue": queue, "children": 3}} for queue in (OTHER, "leveret.nowhere")
        ]
        ids = [one["id"] for one in (await producer.submit(*parents, queue=QUEUE)).json()["jobs"]]
        await start().ready()

        async def shown(state: str, *jobs: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []

            async def all_there() -> bool:
                answers = [await producer.http.get(f"/v1/jobs/{job}") for job in jobs]
                found[:] = [answer.json() for answer in answers]
                return all(one.get("state") == state for one in found)

            await eventually_true(all_there, f"they are {state}")
            return found

        full, nowhere = [one["result"] for one in await shown("succeeded", *ids)]
        assert {one["queue"] for one in await shown("retrying", *full)} == {OTHER}
        assert {one["error"]["reason"] for one in await shown("dead", *nowhere)} == {"QueueGone"}
        management(rabbitmq, f"policies/{broker.vhost}/full", "DELETE")
        assert await came(broker, full) == sorted(full)


async def came(broker: Broker, jobs: list[str]) -> list[str]:
    """Take from the other queue until all of them have come; return them as often as they came."""
    found: list[str] = []

    async def all_there() -> bool:
        found.extend(one for one in await message_ids(broker, OTHER) if one in jobs)
        return {*found} == {*jobs}

    await eventually_true(all_there, "they are published")
    return sorted(found)
