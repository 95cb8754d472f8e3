"""`sys.exit()` in what a handler has started ends neither the consumer nor the jobs beside it."""

import signal
from collections.abc import Callable
from typing import Any

AWAITED, NOT_AWAITED = ["group", "gather", "executor"], ["task", "soon", "later"]


async def test_an_exit_in_a_task_or_a_callback_of_a_handler_is_its_own(rig: Any, consumer: Callable[..., Any]) -> None:
    """The loop ended with it, and every job of the pod ran again."""
    one = consumer(handlers="exiting_jobs:handlers", concurrency=30)
    await one.ready()
    neighbours = [await rig.submit("waits", 3) for _ in range(5)]
    failing = [await rig.submit("exits", how) for how in AWAITED * 3]
    others = [await rig.submit("exits", how) for how in NOT_AWAITED * 3]
    ends = await rig.final(*failing)
    assert [(str(end.state), end.error.type) for end in ends] == [("dead", "SystemExit")] * len(failing)
    ends = await rig.final(*others, *neighbours)
    assert [(str(end.state), end.attempt, end.delivery) for end in ends] == [("succeeded", 1, 0)] * len(ends)
    assert one.process.poll() is None
    said = one.log.read_text()
    # Of callbacks that exit within one turn of the loop only the last is told of.
    assert 1 <= said.count("a callback of a handler tried to end the process; it goes on") <= 6
    assert "a task of a handler ended by an exit" in said
    one.signal(signal.SIGTERM)
    assert await one.ended() == 0
