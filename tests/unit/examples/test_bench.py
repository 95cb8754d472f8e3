"""The bench handlers do as they are told."""

import logging
import subprocess
import sys
import time
from uuid import UUID

import pytest

from examples.bench.handlers import ToldToFail, handlers
from leveret import Context
from leveret.sdk.handlers import BadPayload, Pool

NO_JOB = UUID(int=0)


async def run(type: str, body: bytes, attempt: int = 1, job_id: UUID = NO_JOB) -> bytes:
    handler = handlers[type]
    result = handler.function(Context(job_id, type=type, attempt=attempt), handler.read(body))
    return handler.write(await result if handler.pool is Pool.LOOP else result)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("type", "body", "result"),
    [
        ("noop", b"{}", b"null"),
        ("sleep", b'{"seconds": 0}', b"null"),
        ("cpu", b'{"seconds": 0}', b"null"),
        ("fail", b'{"times": 0}', b"1"),
        ("crash", b'{"times": 0}', b"0"),
        ("bulk", b'{"seconds": 0, "characters": 3}', b'"xxx"'),
        ("stay", b'{"seconds": 0, "again": 60}', b"null"),
        ("stay-thread", b'{"seconds": 0, "again": 60}', b"null"),
        ("stay-process", b'{"seconds": 0, "again": 60}', b"null"),
        ("echo", b'{"value": {"a": [1, null, "x"]}}', b'{"a":[1,null,"x"]}'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_type_returns_its_result(type: str, body: bytes, result: bytes) -> None:
    assert await run(type, body) == result


async def test_cpu_burns_the_processor_time_it_is_told_to() -> None:
    began = time.process_time()
    await run("cpu", b'{"seconds": 0.02}')
    assert time.process_time() - began >= 0.02
    assert handlers["cpu"].pool is Pool.PROCESS


async def test_fail_fails_that_many_attempts_and_then_succeeds() -> None:
    for attempt in (1, 2):
        with pytest.raises(ToldToFail):
            await run("fail", b'{"times": 2}', attempt)
    assert await run("fail", b'{"times": 2}', attempt=3) == b"3"


CRASH = """
import asyncio
from examples.bench.handlers import Crash, crash_at_first
from leveret import Context
asyncio.run(crash_at_first(Context(type="crash", delivery={delivery}), Crash(times=2)))
"""


@pytest.mark.parametrize(("delivery", "code"), [(0, 137), (1, 137), (2, 0)])
def test_crash_ends_its_process_at_that_many_deliveries(delivery: int, code: int) -> None:
    ended = subprocess.run([sys.executable, "-c", CRASH.format(delivery=delivery)], timeout=60, check=False)
    assert ended.returncode == code


@pytest.mark.parametrize(
    ("type", "body"),
    [
        ("crash", b'{"times": -1}'),
        ("sleep", b"{}"),
        ("sleep", b'{"seconds": -1}'),
        ("sleep", b'{"seconds": "soon"}'),
        ("cpu", b'{"seconds": null}'),
        ("fail", b'{"times": 1.5}'),
        ("echo", b"{}"),
        ("noop", b"[]"),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else value,
)
def test_a_payload_that_makes_no_sense_is_refused(type: str, body: bytes) -> None:
    with pytest.raises(BadPayload):
        handlers[type].read(body)


async def test_each_run_is_one_log_line_with_attempt_and_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await run("noop", b"{}")
    await run("noop", b"{}", attempt=2)
    assert [record.getMessage() for record in caplog.records] == ["bench job runs"] * 2
    first, second = (vars(record) for record in caplog.records)
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert second["run"] == first["run"] + 1
