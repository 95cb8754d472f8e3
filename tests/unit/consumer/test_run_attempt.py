"""One attempt in a test: nothing that a handler leaves behind keeps the tests from ending."""

import subprocess
import sys

import pytest

from leveret import Context, Handlers
from leveret_consumer.testing import Succeeded, run_attempt

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
