"""The event loop that the environment asks for, with all kinds of handlers and a stop."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("variables", "module"),
    [
        pytest.param({}, "uvloop", id="by itself"),
        pytest.param({"loop": "asyncio"}, "asyncio.unix_events", id="asyncio"),
    ],
)
async def test_handlers_run_on_the_loop_that_was_asked_for(
    rig: Any, consumer: Callable[..., Any], variables: dict[str, str], module: str
) -> None:
    one = consumer(handlers="loop_jobs:handlers", **variables)
    await one.ready()
    jobs = [await rig.submit(kind, None) for kind in ("loop", "thread", "process")]
    results = [json.loads(bytes(event.result or b"null")) for event in await rig.final(*jobs)]
    assert results == [module, "a thread", "a process"]
    one.signal(signal.SIGTERM)
    assert await one.ended() == 0
