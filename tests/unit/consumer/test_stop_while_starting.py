"""A consumer that is asked to stop before it has begun, by a broker that does not answer at one stage or another."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiormq import spec
from spoken_broker import spoken_broker

WITHIN = 8.0  # s, with what a connection takes to be closed; jobs would have 50

STAGES = [
    pytest.param(spec.Connection.StartOk, id="connecting: the handshake is not answered"),
    pytest.param(spec.Channel.Open, id="setting up: no channel is opened"),
    pytest.param(spec.Exchange.Declare, id="setting up: nothing is declared"),
    pytest.param(spec.Basic.Publish, id="registering: the handlers are not confirmed"),
]


@pytest.mark.parametrize("stage", STAGES)
async def test_a_stop_while_it_starts_ends_the_process_at_once(stage: Any, tmp_path: Path) -> None:
    async with spoken_broker() as broker:
        broker.stands_at = stage
        own = {
            "LEVERET_BROKER_URL": broker.broker.url(),
            "LEVERET_QUEUE": "leveret.q",
            "LEVERET_HANDLERS": "attempt_jobs:handlers",
            "LEVERET_PROBE_PORT": "0",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        }
        with (tmp_path / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "leveret_consumer", env=os.environ | own, stderr=log
            )
        try:
            async with asyncio.timeout(30):
                while not any(isinstance(frame, stage) for _, frame in broker.asked):  # noqa: ASYNC110 - of a process
                    await asyncio.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(WITHIN):
                assert await process.wait() == 0, (tmp_path / "log").read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
