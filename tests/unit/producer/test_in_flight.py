"""Bodies in hand are bounded, by what has come of them: neither many large lists nor slow clients shut out one job."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pretended_server import Server

from leveret_producer import in_flight
from leveret_producer.in_flight import InFlight
from leveret_producer.store.postgres import DatabaseUnavailable

ONE = b'{"type":"t","payload":1}'
ROOM = in_flight.KEPT_FOR_SMALL + (1 << 20)  # a MiB for large ones


class Slow:
    """A body that comes as it's told."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self.coming.get()) is not None:
            yield piece


@pytest.fixture
def server() -> Server:
    made = Server()
    made.front_door.in_flight._most = ROOM
    return made


async def _until_held(server: Server, size: int) -> None:
    async with asyncio.timeout(30):
        while server.front_door.in_flight.held != size:  # noqa: ASYNC110 - until the request has come so far
            await asyncio.sleep(0)


async def test_what_is_beyond_the_bound_is_refused_and_nothing_of_it_stored(server: Server) -> None:
    slow = Slow()
    first = asyncio.create_task(server.call(pieces=slow.pieces()))
    slow.coming.put_nowait(b"[" + b" " * (900 << 10))
    await _until_held(server, (900 << 10) + 1)
    large = b"[" + ONE + b" " * (200 << 10) + b"]"
    status, document, headers = await server.call(large)
    assert (status, document["type"].rpartition("/")[2], document["stored"]) == (503, "overloaded", "no")
    assert int(headers["retry-after"]) > 0
    assert "Nothing was stored" in document["detail"]
    assert server.database.asked == []
    assert (await server.call(ONE))[0] == 202, "small ones have room of their own"
    slow.coming.put_nowait(ONE + b"]")
    slow.coming.put_nowait(None)
    assert (await first)[0] == 202
    assert server.front_door.in_flight.held == 0
    assert (await server.call(large))[0] == 202


async def test_who_only_asks_is_not_told_of_storing(server: Server) -> None:
    server.front_door.in_flight._most = 0
    status, document, headers = await server.call(b'{"ids": []}', "/v1/jobs/get")
    assert (status, document["type"].rpartition("/")[2], "stored" in document) == (503, "overloaded", False)
    assert int(headers["retry-after"]) > 0


async def test_who_announces_much_and_sends_nothing_takes_nothing(server: Server) -> None:
    silent = [Slow() for _ in range(200)]
    waiting = [asyncio.create_task(server.call(pieces=one.pieces())) for one in silent]
    for one in silent:
        one.coming.put_nowait(b"[")
    await _until_held(server, len(silent))
    assert (await server.call(b"[" + ONE + b" " * (900 << 10) + b"]"))[0] == 202
    for one in silent:
        one.coming.put_nowait(None)
    assert {status for status, *_ in await asyncio.gather(*waiting)} == {400}
    assert server.front_door.in_flight.held == 0


async def test_a_body_that_is_too_large_is_not_held_while_its_rest_is_read(server: Server) -> None:
    server.front_door.in_flight._most = in_flight.MOST
    slow = Slow()
    asked = asyncio.create_task(server.call(pieces=slow.pieces()))
    for _ in range(9):
        slow.coming.put_nowait(b" " * (1 << 20))
    await asyncio.sleep(0)
    await _until_held(server, 8 << 20)
    await _until_held(server, 0)
    assert not asked.done()
    slow.coming.put_nowait(None)
    assert (await asked)[0] == 413


@pytest.mark.parametrize(("unsure", "stored"), [(False, "no"), (True, "unknown")])
async def test_whoever_is_not_answered_by_the_database_holds_nothing(server: Server, unsure: bool, stored: str) -> None:
    def away() -> None:
        raise DatabaseUnavailable("away", maybe_stored=unsure)

    server.database.trouble = away  # type: ignore[method-assign]
    status, document, _ = await server.call(b"[" + b",".join([ONE] * 5_000) + b"]")
    assert (status, document["stored"]) == (503, stored)
    assert server.front_door.in_flight.held == 0


async def test_a_full_outbox_says_that_nothing_was_stored(server: Server) -> None:
    server.front_door.bound._limit = 0
    status, document, _ = await server.call(ONE)
    assert (status, document["stored"]) == (503, "no")


def test_a_share_is_given_back_however_its_request_ends() -> None:
    flight = InFlight(most=in_flight.KEPT_FOR_SMALL + 100_000)

    def fails() -> None:
        with flight.share() as share:
            assert share.add(90_000)
            assert not share.add(20_000)
            assert flight.held == 90_000
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fails()
    assert flight.held == 0
