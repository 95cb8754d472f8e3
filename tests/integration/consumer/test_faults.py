"""Consumers that are killed or stopped, brokers that go and come back, queues that vanish: every job ends."""

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from containers import Server
from runs import until

from leveret.rabbitmq.connection import open_connection


def lines(witness: Path, word: str) -> list[list[str]]:
    return [line.split() for line in witness.read_text().splitlines() if line.startswith(word)]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that a job waits for: it runs for as long as the test needs, however slow the machine is."""
    return tmp_path / "gate"


async def in_the_queue(rig: Any, number: int) -> None:
    """Wait until so many messages are ready: the broker takes back what a connection held after it has ended."""
    async with asyncio.timeout(30):
        while await rig.ready_messages() != number:  # noqa: ASYNC110 - it happens in the broker
            await asyncio.sleep(0.05)


async def test_a_killed_consumers_job_runs_on_another(
    rig: Any, consumer: Callable[..., Any], witness: Path, gate: Path
) -> None:
    first = consumer(timeout="5m")
    await first.ready()
    job = await rig.submit("sleep", {"witness": witness, "gate": gate})
    await until("the job runs", lambda: bool(lines(witness, "start")))
    second = consumer(timeout="5m")
    await second.ready()
    first.signal(signal.SIGKILL)
    await first.ended()
    gate.touch()
    (end,) = await rig.final(job)
    assert (end.consumer, end.attempt, end.delivery) == ("pod-1", 1, 1), "a death is no attempt of the job's policy"
    assert [int(words[3]) for words in lines(witness, "start")] == [first.process.pid, second.process.pid]


async def test_a_stop_lets_the_running_job_finish_and_leaves_the_others(
    rig: Any, consumer: Callable[..., Any], witness: Path, gate: Path
) -> None:
    one = consumer(concurrency=1, timeout="5m")
    await one.ready()
    jobs = [await rig.submit("sleep", {"witness": witness, "gate": gate}) for _ in range(3)]
    await until("the first runs", lambda: len(lines(witness, "start")) == 1)
    one.signal(signal.SIGTERM)
    await one.says(lambda ready, says: not ready and says == "draining: signal SIGTERM")
    gate.touch()
    assert await one.ended() == 0
    (end,) = await rig.final(jobs[0])
    assert (str(end.state), end.delivery) == ("succeeded", 0)
    assert await rig.ready_messages() == 2
    assert len(lines(witness, "start")) == len(lines(witness, "end")) == 1
    await consumer().ready()
    await rig.final(*jobs)
    assert len(lines(witness, "start")) == 3


async def test_what_does_not_finish_within_the_grace_period_goes_back(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    one = consumer(grace="500ms", timeout="5m")
    await one.ready()
    await rig.submit("sleep", {"witness": witness, "seconds": 120})
    await until("it runs", lambda: bool(lines(witness, "start")))
    one.signal(signal.SIGTERM)
    assert await one.ended(60) == 0
    await in_the_queue(rig, 1)


async def test_a_second_signal_ends_at_once(rig: Any, consumer: Callable[..., Any], witness: Path) -> None:
    one = consumer(timeout="5m")
    await one.ready()
    await rig.submit("sleep", {"witness": witness, "seconds": 120})
    await until("it runs", lambda: bool(lines(witness, "start")))
    one.signal(signal.SIGTERM)
    await one.says(lambda ready, _: not ready)
    one.signal(signal.SIGINT)
    assert await one.ended(60) == 1
    await in_the_queue(rig, 1)


async def test_the_broker_is_killed_and_comes_back_and_every_job_ends(
    rig: Any, consumer: Callable[..., Any], witness: Path, gate: Path, rabbitmq: Server
) -> None:
    one = consumer(concurrency=3, timeout="5m")
    await one.ready()
    await rig.settle()
    jobs = [await rig.submit("sleep", {"witness": witness, "gate": gate}) for _ in range(6)]
    await until("three run", lambda: len(lines(witness, "start")) == 3)
    await asyncio.to_thread(rabbitmq.kill)
    await one.says(lambda ready, says: not ready and "not connected to the broker" in says)
    gate.touch()
    await asyncio.to_thread(rabbitmq.start)
    await one.ready()
    async with await open_connection(rig.broker, "test again") as connection:
        rig.connection = connection
        await rig.listen()
        await rig.final(*jobs)
        assert await rig.ready_messages() == 0
    assert lines(witness, "end")
    assert len(lines(witness, "end")) == 6, "what was cut off by the broker's death was not carried to its end"


async def test_a_thread_that_lost_its_broker_is_taken_over_and_not_run_twice(
    rig: Any, consumer: Callable[..., Any], witness: Path, rabbitmq: Server
) -> None:
    one = consumer()
    await one.ready()
    job = await rig.submit("thread", {"witness": witness, "seconds": 25})
    await until("it runs", lambda: bool(lines(witness, "start")))
    await asyncio.to_thread(
        rabbitmq.run, "rabbitmqctl", "-q", "close_all_connections", "--vhost", rig.broker.vhost, "x"
    )
    # In the log, since it may be ready again before it is asked.
    await until("it noticed", lambda: "broker is not connected" in one.log.read_text())
    await one.ready()
    async with await open_connection(rig.broker, "test again") as connection:
        rig.connection = connection
        await rig.listen()
        (end,) = await rig.final(job)
    assert (str(end.state), end.delivery) == ("succeeded", 1)
    assert len(lines(witness, "start")) == 1


async def test_a_queue_that_is_deleted_and_made_again_is_consumed_again(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    one = consumer()
    await one.ready()
    running = await rig.submit("sleep", {"witness": witness, "seconds": 2})
    await until("it runs", lambda: bool(lines(witness, "start")))
    await rig.delete_queue()
    await one.says(lambda ready, says: not ready and "there is no queue leveret.under-test yet" in says)
    await rig.declare_queue()
    await one.ready()
    await rig.final(await rig.submit("sleep", {"witness": witness}), running)


async def test_a_consumer_may_start_before_its_queue(rig: Any, consumer: Callable[..., Any], witness: Path) -> None:
    await rig.delete_queue()
    one = consumer()
    await one.says(lambda ready, says: not ready and "the operator makes it" in says)
    await rig.declare_queue()
    await one.ready()
    await rig.final(await rig.submit("sleep", {"witness": witness}))


async def test_cpu_work_is_killed_at_its_time_out_and_the_next_job_runs(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    await consumer(concurrency=1).ready()
    job = await rig.submit("spin", {"witness": witness, "seconds": 60})
    (end,) = await rig.final(job)
    assert (end.error.reason, end.error.type) == ("AttemptsExhausted", "TimeoutError")
    assert 1 <= end.run_seconds < 30  # the work itself would take 60
    after = await rig.submit("spin", {"witness": witness, "seconds": 0.1})
    (end,) = await rig.final(after)
    assert str(end.state) == "succeeded"
    assert len(lines(witness, "end")) == 1


async def test_a_process_that_dies_is_a_failed_attempt_with_its_exit_code(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    await consumer(concurrency=1).ready()
    job = await rig.submit("die", {"witness": witness, "times": 1})
    (end,) = await rig.final(job)
    failed, well = rig.ends(job)
    assert [str(event.state) for event in (failed, well)] == ["retrying", "succeeded"]
    assert "ended with exit code 7" in failed.error.message
    assert bytes(end.result or b"") == b'"done"'


@pytest.mark.parametrize("type", ["block-thread", "deaf"])
async def test_work_that_outlives_its_time_out_drains_the_consumer_and_ends_it(
    rig: Any, consumer: Callable[..., Any], witness: Path, type: str
) -> None:
    one = consumer()
    await one.ready()
    other = await rig.submit("sleep", {"witness": witness, "seconds": 8})
    stuck = await rig.submit(type, {"witness": witness, "seconds": 60})
    await one.says(lambda ready, says: not ready and "can't be stopped" in says)
    one.signal(signal.SIGTERM)  # as of a pod that is scaled in just then: the first signal, and no second one
    late, well = await rig.final(stuck, other)
    assert (late.error.reason, late.error.type) == ("AttemptsExhausted", "TimeoutError")
    assert (str(well.state), well.delivery) == ("succeeded", 0)
    assert await one.ended(60) == 1
    assert "can't be stopped" in one.log.read_text()


async def test_a_handler_that_blocks_the_loop_is_named_in_the_log_and_goes_on(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    one = consumer()
    await one.ready()
    job = await rig.submit("block-loop", {"witness": witness, "seconds": 8})
    (end,) = await rig.final(job)
    assert (str(end.state), end.delivery) == ("succeeded", 0)
    await until("it's over", lambda: "the event loop turns again" in one.log.read_text())
    (line,) = [line for line in one.log.read_text().splitlines() if "blocks the event loop" in line]
    told = json.loads(line)
    assert (told["level"], told["jobs"]) == ("warning", [str(job)])
    assert "in block_loop" in told["stack"]
    assert one.process.poll() is None
