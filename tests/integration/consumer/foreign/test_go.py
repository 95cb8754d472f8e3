"""A client outside Python, Go's, that follows the wire contract: it submits jobs and hears what became of them."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from producers import known, operating, producing, ready

from leveret.settings import Broker, Database

QUEUE = "leveret.under-test"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def submitter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built; Go gets its AMQP client from the module proxy, once."""
    go = shutil.which("go")
    if go is None:
        pytest.fail("the foreign client is written in Go, and there is no `go` here: install Go 1.21 or later")
    for _ in range(3):  # a proxy that doesn't answer once may the next time; if it never does, the build says so
        fetched = subprocess.run([go, "mod", "download"], cwd=HERE / "submitter", capture_output=True, check=False)
        if fetched.returncode == 0:
            break
    program = tmp_path_factory.mktemp("go") / "submitter"
    built = subprocess.run(
        [go, "build", "-o", str(program), "."], cwd=HERE / "submitter", capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return program


@pytest.mark.timeout(600)
async def test_a_client_in_go_submits_jobs_and_hears_results_and_dead_letters(
    broker: Broker, database: Database, consumer: Callable[..., Any], submitter: Path
) -> None:
    jobs = [
        {"type": "echo", "payload": {"value": {"from": "Go"}}},
        {"type": "fail", "payload": {"times": 1}},
        {"type": "nobody", "payload": None},
        {"type": "echo", "payload": {"value": "later"}, "delay": "3s"},
        *({"type": "echo", "payload": {"value": number}} for number in range(200)),
    ]
    async with producing(broker, database) as producer, operating(broker, QUEUE):  # which publishes what is for later
        await ready(producer)
        await known(producer, QUEUE)
        await consumer(handlers="examples.bench.handlers:handlers", retry='{"maxAttempts":1}').ready()
        done = await asyncio.to_thread(
            subprocess.run,
            [str(submitter), broker.url(), QUEUE],
            input="".join(json.dumps(job) + "\n" for job in jobs),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    heard = {one["correlation_id"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert len(done.stdout.splitlines()) == len(heard) == len(jobs), "each once"
    after = {name: one.pop("milliseconds") for name, one in heard.items()}
    assert after["job 3"] >= 3000
    assert heard["job 0"] == {
        "correlation_id": "job 0",
        "outcome": "succeeded",
        "content_type": "application/json",
        "body": {"from": "Go"},
    }
    dead = [heard[name] for name in ("job 1", "job 2")]
    assert [(one["outcome"], one["content_type"]) for one in dead] == [("dead", "application/problem+json")] * 2
    assert [one["body"]["reason"] for one in dead] == ["AttemptsExhausted", "UnknownType"]
    assert [heard[f"job {number + 3}"]["body"] for number in range(201)] == ["later", *range(200)]
