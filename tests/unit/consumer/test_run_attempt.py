"""One attempt in a test: nothing that a handler leaves behind keeps the tests from ending, and a deadline is one."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from leveret import Context, Handlers, Retry
from leveret.wire import as_time, deadline_of, time_of
from leveret_consumer.testing import DeadLetter, Outcome, RetryAfter, Succeeded, run_attempt

TIMES_OUT = """
import asyncio
from leveret import Context, Handlers
from leveret_consumer.testing import RetryAfter, run_attempt

handlers = Handlers()

@handlers.job("endless", cpu=True)
def endless(ctx: Context, job: int) -> None:
    while True:
        pass

@handlers.job("fails", cpu=True)
def fails(ctx: Context, job: int) -> int:
    return 1 // job

outcome = asyncio.run(run_attempt(handlers, "endless", 1, timeout=0.1))
assert isinstance(outcome, RetryAfter) and outcome.error.reason == "TimedOut", outcome
outcome = asyncio.run(run_attempt(handlers, "fails", 0))
assert outcome.error.type == "ZeroDivisionError", outcome
outcome = asyncio.run(run_attempt(handlers, "fails", 1))
assert outcome.result == b"1", outcome
"""


def test_a_cpu_handler_that_never_ends_does_not_keep_python_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", TIMES_OUT], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


SECOND = timedelta(seconds=1)
seen = Handlers()


@seen.job("asleep")
async def asleep(ctx: Context, job: int) -> str:
    await asyncio.sleep(job)
    return as_time(ctx.deadline)


@seen.job("counted", cpu=True)
def counted(ctx: Context, job: int) -> str:
    return as_time(ctx.deadline)


@seen.job("fails", retry=Retry(initial=60, jitter="none"))
def fails(ctx: Context, job: int) -> None:
    raise OSError("away")


def run(type: str, payload: object, left: timedelta) -> tuple[Outcome, datetime]:
    deadline = datetime.now(UTC) + left
    return asyncio.run(run_attempt(seen, type, payload, timeout=30, deadline=deadline)), deadline


@pytest.mark.parametrize("type", ["asleep", "counted"])
@pytest.mark.parametrize(("left", "by_time_out"), [(10 * SECOND, False), (100 * SECOND, True)])
def test_an_attempt_is_told_when_it_is_stopped(type: str, left: timedelta, by_time_out: bool) -> None:
    outcome, deadline = run(type, 0, left)
    assert isinstance(outcome, Succeeded)
    told = time_of(json.loads(outcome.result))
    assert told is not None
    assert told < deadline - 60 * SECOND if by_time_out else told == deadline_of(deadline)


@pytest.mark.parametrize(
    ("type", "payload", "left", "says"),
    [
        pytest.param("asleep", 0, -SECOND, "passed before this attempt", id="passed"),
        pytest.param(
            "asleep", "zero", -SECOND, "passed before this attempt", id="passed, and nobody reads the payload"
        ),
        pytest.param("asleep", 20, SECOND / 10, "was not done by the job's deadline", id="too long"),
        pytest.param("fails", 0, 30 * SECOND, "the next would be after the job's deadline", id="no time for another"),
    ],
)
def test_a_deadline_ends_a_job_as_in_a_pod(type: str, payload: object, left: timedelta, says: str) -> None:
    outcome, deadline = run(type, payload, left)
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == outcome.error.reason == "DeadlineExceeded"
    assert says in outcome.error.message
    assert as_time(deadline_of(deadline)) in outcome.error.message


def test_a_deadline_in_nobodys_time_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an offset"):
        asyncio.run(run_attempt(seen, "asleep", 0, deadline=datetime(2030, 1, 1)))  # noqa: DTZ001


@pytest.mark.parametrize("given", [{}, {"generation": 3}, {"generation": 2, "attempt": 4}], ids=str)
async def test_a_handler_sees_generation_and_attempt(given: dict[str, int]) -> None:
    handlers = Handlers()

    @handlers.job("which")
    async def which(ctx: Context, job: None) -> list[int]:
        return [ctx.generation, ctx.attempt]

    outcome = await run_attempt(
        handlers, "which", None, attempt=given.get("attempt", 1), generation=given.get("generation", 1)
    )
    assert outcome == Succeeded(b"[%d,%d]" % (given.get("generation", 1), given.get("attempt", 1)))
    assert Context().generation == 1


@pytest.mark.parametrize("cpu", [False, True], ids=["thread", "process"])
async def test_what_a_handler_submits_is_seen(cpu: bool) -> None:
    handlers = Handlers()

    @handlers.job("parent", cpu=cpu)
    def parent(ctx: Context, fails: bool) -> None:
        ctx.submit("mail", {"to": "ada"}, queue="leveret.mails")
        if fails:
            raise ValueError("no")

    outcome = await run_attempt(handlers, "parent", False, job_id=UUID(int=7))
    assert isinstance(outcome, Succeeded)
    (mail,) = outcome.follow_ups
    assert (mail.queue, mail.type, mail.payload, mail.run_at) == ("leveret.mails", "mail", b'{"to":"ada"}', None)
    assert outcome == await run_attempt(handlers, "parent", False, job_id=UUID(int=7)), "also its id"
    assert isinstance(await run_attempt(handlers, "parent", True), RetryAfter)
