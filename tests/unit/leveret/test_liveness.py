"""When a connection is given up: by what its kernel tells, in time, and never because of an alarm or a pause of ours."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from leveret.rabbitmq.connection import HEARTBEAT
from leveret.rabbitmq.liveness import LIMIT, LOOKS_STOOD, STOPS_WITHIN, Heard, Link, Octets, look, lost
from leveret_consumer import consumer

CONSUMERS = LIMIT * consumer.HEARTBEAT
BEAT = consumer.HEARTBEAT / 2  # s, of both sides
LATEST = 60.0  # s after the last octet; the broker gives the jobs away after 80
Looks = list[tuple[float, Octets]]


def played(looks: Looks, limit: float = CONSUMERS) -> float | None:
    """Return when the connection is given up, None if it isn't."""
    at, first = looks[0]
    heard = Heard(first.acknowledged, at)
    for now, octets in looks:
        heard = look(heard, octets, now)
        if lost(heard, octets, now, limit):
            return now
    return None


def cut_at(cut: float, seconds: int, *, hears: bool, is_heard: bool) -> Looks:
    """A look each second at a connection of which both sides send each BEAT seconds."""
    looks: Looks = []
    for now in range(seconds):
        came = BEAT * ((now if hears else min(now, cut)) // BEAT)
        heard = int((now if is_heard else min(now, cut)) // BEAT)
        looks.append((now, Octets(now - came, heard, heard < now // BEAT)))
    return looks


CUTS = [
    pytest.param(False, False, id="both ways, or its host is gone"),
    pytest.param(True, False, id="from us to the broker: its octets still come"),
    pytest.param(False, True, id="from the broker to us, or its process stands: it is acknowledged"),
]


@pytest.mark.parametrize(("hears", "is_heard"), CUTS)
@pytest.mark.parametrize("cut", [1.0, 10.0, 19.0, 39.0, 100.0])
def test_a_cut_of_each_kind_is_noticed_before_the_broker_gives_the_jobs_away(
    hears: bool, is_heard: bool, cut: float
) -> None:
    """Twins ran at the same time for up to a minute: a consumer believed in its connection for 123 to 143 s."""
    gives_up = played(cut_at(cut, 400, hears=hears, is_heard=is_heard))
    assert gives_up is not None
    assert gives_up + STOPS_WITHIN <= BEAT * (cut // BEAT) + LATEST


def test_what_lives_is_not_given_up() -> None:
    assert played(cut_at(math.inf, 3600, hears=True, is_heard=True)) is None


def test_an_alarm_of_hours_ends_nothing() -> None:
    """The broker takes nothing of ours: its window is closed, and it sends its heartbeats."""
    alarm = [(now, Octets(now % 20, 7, False)) for now in range(7200)]
    after = [(7200 + now, Octets(now % 20, 8 + now, now % 2 == 0)) for now in range(100)]
    assert played([*alarm, *after]) is None


def test_a_slow_line_is_not_given_up_while_octets_trickle_both_ways() -> None:
    """No whole frame in 200 s, as of a large message; the kernel counts octets."""
    assert played([(now, Octets(now % 50, now // 50, True)) for now in range(3600)]) is None


def test_whoever_was_paused_is_not_judged_by_its_own_silence() -> None:
    """It sends its first octets for five minutes in the moment of the look, and the broker's are there."""
    before = [(now, Octets(now % 20, now // 20, False)) for now in range(100)]
    back = [(400 + now, Octets(0.0, 4 + (now > 0), now == 0)) for now in range(10)]
    assert played([*before, *back]) is None


def test_whoever_was_paused_in_a_cut_gives_up_at_once() -> None:
    assert played([(0, Octets(0.0, 1, False)), (300, Octets(300.0, 1, True))]) == 300


STANDS = [
    pytest.param({"unread": True}, id="what comes is not read"),
    pytest.param({"unwritten": True}, id="what waits is not written"),
]


@pytest.mark.parametrize("ours", STANDS)
def test_whoever_does_not_read_or_write_is_given_up_though_the_broker_is_heard(ours: dict[str, bool]) -> None:
    """Its heartbeats came to the socket, and so nobody noticed: 185 jobs stood until the end of the run."""
    heard = Heard(7, 0)
    for now in range(60):
        octets = Octets(now % 20, 7, False, **ours)
        heard = look(heard, octets, now, took=False)
        if lost(heard, octets, now, CONSUMERS):
            break
    assert now == LOOKS_STOOD - 1


@pytest.mark.parametrize("ours", STANDS)
def test_one_that_is_busy_or_was_paused_is_not_said_to_stand(ours: dict[str, bool]) -> None:
    heard = Heard(0, 0)
    for now in (*range(0, 3600, 5), *range(10_000, 10_000 + LOOKS_STOOD - 1)):
        busy = now < 10_000
        octets = Octets(0.0, now // 5 if busy else 720, False, **ours)
        heard = look(heard, octets, now, took=busy)
        assert not lost(heard, octets, now, CONSUMERS)


def test_our_bounds_are_below_the_brokers() -> None:
    for heartbeat in (consumer.HEARTBEAT, HEARTBEAT):
        assert LIMIT * heartbeat + 1 + STOPS_WITHIN < 2 * heartbeat


@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.floats(0, CONSUMERS - 0.01), st.integers(0, 3), st.booleans()),
        min_size=1,
        max_size=200,
    )
)
def test_whoever_hears_and_is_heard_within_half_the_limit_stays(steps: list[tuple[float, float, int, bool]]) -> None:
    now, acknowledged, quiet, looks = 0.0, 0, 0.0, []
    for passed, came_ago, more, on_their_way in steps:
        now, quiet = now + passed, quiet + passed
        if more or quiet > CONSUMERS / 2 - 5:
            acknowledged, quiet = acknowledged + max(1, more), 0.0
        looks.append((now, Octets(came_ago, acknowledged, on_their_way)))
    assert played(looks) is None


class Wire:
    """A connection of ours to a peer that is a plain socket."""

    def __init__(self) -> None:
        self.link = Link()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.peer: socket.socket

    async def open(self) -> asyncio.StreamWriter:
        port = self._server.getsockname()[1]
        _, self.writer = await self.link.create(URL(f"amqp://127.0.0.1:{port}"), ssl_context_provider=None)
        self.peer = self._server.accept()[0]
        return self.writer

    def octets(self) -> Octets:
        octets = self.link.octets()
        assert octets is not None
        return octets

    def close(self) -> None:
        self.link.hang_up()
        self.peer.close()
        self._server.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    made = Wire()
    await made.open()
    yield made
    made.close()
    await asyncio.sleep(0)


async def _until(seen: Any) -> None:
    async with asyncio.timeout(20):
        while not seen():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)


async def test_the_kernel_tells_what_came_and_what_was_acknowledged(wire: Wire) -> None:
    before = wire.octets()
    wire.writer.write(b"x" * 100)
    await _until(lambda: wire.octets().acknowledged == before.acknowledged + 100)
    assert not wire.octets().on_their_way
    await _until(lambda: wire.octets().came_ago > 0.05)
    wire.peer.send(b"y")
    await _until(lambda: wire.octets().came_ago < 0.05)


async def test_what_waits_for_a_peer_that_does_not_read_is_not_on_its_way(wire: Wire) -> None:
    """As of a broker under an alarm: megabytes are unsent, and that says nothing."""
    wire.writer.write(b"x" * 50_000_000)
    await _until(lambda: (wire.octets().acknowledged > 100_000) and not wire.octets().on_their_way)
    stands = wire.octets().acknowledged
    await _until(lambda: wire.octets().came_ago > 0.3)
    assert (wire.octets().acknowledged, wire.octets().on_their_way) == (stands, False)


async def test_octets_that_wait_to_be_read_have_come(wire: Wire) -> None:
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    wire.peer.send(b"y")
    await _until(lambda: wire.octets().came_ago == 0.0)


async def test_of_a_closed_connection_nothing_is_known(wire: Wire) -> None:
    wire.link.hang_up()
    await _until(lambda: wire.link.octets() is None)
