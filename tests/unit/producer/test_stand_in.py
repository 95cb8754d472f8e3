"""What was set aside for want of `leveret.events` is put back by itself; here, on connections that fail."""

import asyncio
from typing import Any

import pytest
from moved_clock import with_moved_clock

from leveret import events
from leveret.events import HandlerInfo, HandlersRegistered
from leveret.topology import EVENTS
from leveret_producer.recorder.stand_in import StandIn
from leveret_producer.set_aside import as_told_again


class Connection:
    def __init__(self) -> None:
        self.asked: list[float] = []

    def channel(self) -> Any:
        self.asked.append(asyncio.get_running_loop().time())
        raise ConnectionResetError("gone")


def test_what_fails_is_tried_again_after_pauses_that_grow_and_on_the_next_connection() -> None:
    async def story() -> None:
        connection: Any = Connection()
        stand_in = StandIn()
        session = asyncio.create_task(stand_in.session(connection))
        await asyncio.sleep(100)
        assert connection.asked == [10, 30, 70]
        session.cancel()
        await asyncio.wait({session})
        session = asyncio.create_task(stand_in.session(connection))
        await asyncio.sleep(20)
        assert connection.asked == [10, 30, 70, 110]
        session.cancel()

    with_moved_clock(story())


REGISTERED = events.encode(HandlersRegistered("v", {"t": HandlerInfo(None)}))


def test_a_registration_that_is_put_back_counts_as_told_before() -> None:
    _, event = events.decode("handlers.q", as_told_again("handlers.q", REGISTERED))
    assert event == HandlersRegistered("v", {"t": HandlerInfo(None)}, again=True)


@pytest.mark.parametrize(("key", "body"), [("job.q", b"[]"), ("handlers.q", b"no event"), (EVENTS, REGISTERED)])
def test_all_else_is_put_back_as_it_is(key: str, body: bytes) -> None:
    assert as_told_again(key, body) == body
