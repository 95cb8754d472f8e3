"""A connection is lost that more ended attempts than slots wait on for their confirm: none of them runs again."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from containers import Server
from lossy_link import lossy_link
from runs import runs, until

from leveret.rabbitmq.connection import open_connection

SLOTS, HELD = 10, 310
ALARM = ["rabbitmqctl", "-q", "set_vm_memory_high_watermark"]
ANSWERS = "answers"


async def asks_for_more(one: Any, rig: Any) -> None:
    """Have it run short jobs until it holds as many as it may: on a busy machine the first few aren't short."""
    async with asyncio.timeout(60):
        while f'"after": {HELD}' not in one.log.read_text():
            await rig.final(*[await rig.submit("noop", {}) for _ in range(20)])


async def full(one: Any, rig: Any, waits: dict[str, object]) -> tuple[list[UUID], list[tuple[str, int]]]:
    """Have a consumer hold as much as it ever does; return the jobs, and the runs that they should have in all."""
    await one.ready()
    await asks_for_more(one, rig)
    jobs: list[UUID] = []
    expected: list[tuple[str, int]] = []
    for number in range(HELD):
        match number % 3:
            case 0:
                job, attempts = await rig.submit("sleep", waits, reply_to=ANSWERS), [1]
            case 1:
                job, attempts = await rig.submit("fail-slowly", waits | {"times": 1}), [1, 2]
            case _:
                job, attempts = await rig.submit("fail", waits | {"times": 9}, attempt=3, reply_to=ANSWERS), [3]
        jobs.append(job)
        expected += [(str(job), attempt) for attempt in attempts]
    return jobs, sorted(expected)


async def answered(rig: Any) -> list[str | None]:
    """Take what was answered."""
    async with rig.connection.channel() as channel:
        queue = await channel.get_queue(ANSWERS)
        answers = []
        while answer := await queue.get(no_ack=True, fail=False):
            answers.append(answer.correlation_id)
    return answers


@pytest.fixture
async def _answers(rig: Any) -> None:
    async with rig.connection.channel() as channel:
        await channel.declare_queue(ANSWERS, durable=True)


@pytest.mark.usefixtures("_answers")
@pytest.mark.parametrize("loss", ["the broker is killed", "the broker closes the connection"])
async def test_of_310_that_ended_on_10_slots_none_runs_again(
    rig: Any, consumer: Callable[..., Any], witness: Path, tmp_path: Path, rabbitmq: Server, loss: str
) -> None:
    """As many were remembered as there are slots, and the other 300 ran again in the same process."""
    gate = tmp_path / "gate"
    one = consumer("eager_consumer", concurrency=SLOTS)
    jobs, expected = await full(one, rig, {"witness": witness, "gate": gate})
    await rig.settle()
    await until("all slots are busy", lambda: len(runs(witness)) == SLOTS)
    assert await rig.ready_messages() == 0, "it holds them all"
    rig.told.clear()
    await asyncio.to_thread(rabbitmq.run, *ALARM, "absolute", "1")
    try:
        gate.touch()
        await until("each has run", lambda: len(runs(witness)) == HELD)
        await asyncio.sleep(1)  # and has been published, for what it's worth
        assert {str(event.state) for event in rig.told} <= {"running"}, "nothing is confirmed"
        if loss == "the broker is killed":
            await asyncio.to_thread(rabbitmq.kill)
            await asyncio.to_thread(rabbitmq.start)
        else:
            close = ["close_all_connections", "--vhost", rig.broker.vhost, "x"]
            await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", *close)
    finally:
        await asyncio.to_thread(rabbitmq.run, *ALARM, "0.6")
    async with await open_connection(rig.broker, "test again") as connection:
        rig.connection = connection
        await rig.listen()
        ends = await rig.final(*jobs, seconds=120)
        # Whose run is remembered is told of once the broker has it: the first end that is heard is the only one.
        assert Counter(str(end.state) for end in ends) == {"succeeded": 207, "dead": 103}
        assert sorted(runs(witness)) == expected, "no attempt ran twice"
        one.signal(signal.SIGTERM)
        assert await one.ended() == 0
        assert await rig.ready_messages() == 0
        assert len(rig.dead_letters) == 103
        replied = [str(job) for number, job in enumerate(jobs) if number % 3 != 1]
        assert sorted(await answered(rig)) == sorted(replied)  # type: ignore[type-var]


@pytest.mark.usefixtures("_answers")
async def test_what_was_confirmed_does_not_run_again_though_its_ack_was_lost(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    """An ack is never confirmed: of those that were on their way as the connection went, each job ran again."""
    async with lossy_link(rig.broker) as link:
        one = consumer("eager_consumer", concurrency=SLOTS, broker_url=link.broker.url())
        await one.ready()
        await asks_for_more(one, rig)
        link.loses_acks = True
        sleeps = [await rig.submit("sleep", {"witness": witness}, reply_to=ANSWERS) for _ in range(40)]
        fails = [await rig.submit("fail-slowly", {"witness": witness, "times": 1}) for _ in range(40)]
        await rig.final(*sleeps)
        for job in fails:
            await rig.retrying(job)
        assert link.lost
        link.loses_acks = False
        link.cut()
        await until("it noticed", lambda: "broker is not connected" in one.log.read_text())
        await one.ready()
        await rig.final(*fails, await rig.submit("sleep", {"witness": witness}))
        one.signal(signal.SIGTERM)
        assert await one.ended() == 0
        assert await rig.ready_messages() == 0, "all were acknowledged in the end"
        attempts = Counter(runs(witness)).values()
        assert (len(attempts), set(attempts)) == (121, {1}), "no attempt ran twice"
        assert len(await answered(rig)) == 40
