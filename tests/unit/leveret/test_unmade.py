"""What is known of queues that a broker can't make, and what is published where without them."""

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import aio_pika
import pytest
from aiormq import spec
from aiormq.exceptions import ChannelNotFoundEntity, ConnectionInternalError
from moved_clock import with_moved_clock
from pretended_broker import Asked

from leveret import topology, wire
from leveret.rabbitmq.connection import make_again
from leveret.rabbitmq.declare import Declared, declare
from leveret.rabbitmq.publisher import Publisher
from leveret.rabbitmq.unmade import Unmade, instead, without
from leveret.topology import DEAD, EVENTS, EVENTS_DEAD, JOBS, delay_exchange

MESSAGE = aio_pika.Message(b"[]", headers={"own": 1})
ALL_LEVELS = {delay_exchange(level) for level in range(13)}


def refusal(queue: str) -> ConnectionInternalError:
    text = (
        f"INTERNAL_ERROR - Cannot declare quorum queue '{queue}' in vhost '/' on node 'rabbit@host': cluster_not_formed"
    )
    return ConnectionInternalError(text)


@pytest.fixture
def told() -> list[Mapping[str, str]]:
    return []


@pytest.fixture
def unmade(told: list[Mapping[str, str]]) -> Unmade:
    return Unmade(tell=lambda queues: told.append(dict(queues)))


def test_what_the_broker_names_is_noted_with_what_binds_it_until_it_is_made(
    unmade: Unmade, told: list[Mapping[str, str]]
) -> None:
    assert unmade.note(refusal(EVENTS), [topology.shared(), topology.for_dead_letters("q")])
    (part,) = unmade.parts().values()
    assert [one.name for one in part.queues] == [EVENTS]
    assert [(one.exchange, one.key) for one in part.bindings] == [(EVENTS, "#"), (DEAD, "q")], "each topology's"
    assert unmade.some.is_set()
    unmade.made(EVENTS)
    assert (unmade.parts(), unmade.some.is_set()) == ({}, False)
    first, last = told
    assert list(first) == [EVENTS]
    assert "a restart of the broker's node mends it" in first[EVENTS]
    assert last == {}


@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(ConnectionInternalError("INTERNAL_ERROR"), id="no-queue"),
        pytest.param(refusal("leveret.somebody-elses"), id="another-queue"),
        pytest.param(refusal(f"{EVENTS}.not-ours"), id="a-longer-name"),
        pytest.param(
            ConnectionInternalError(f"INTERNAL_ERROR - queue 'another' in vhost '{EVENTS}'"), id="a-vhost-of-that-name"
        ),
    ],
)
def test_another_trouble_of_the_broker_notes_nothing(
    unmade: Unmade, told: list[Mapping[str, str]], problem: ConnectionInternalError
) -> None:
    assert not unmade.note(problem, [topology.shared()])
    assert (unmade.parts(), told) == ({}, [])


def test_without_a_queue_goes_what_binds_it_and_nothing_else() -> None:
    rest = without(topology.for_queue("q"), {EVENTS})
    assert rest.queues == topology.for_queue("q").queues
    assert [(one.exchange, one.queue) for one in rest.bindings] == [(DEAD, "q.dead"), (JOBS, "q")]
    assert without(topology.shared(), ()) == topology.shared()


LEVELS = [
    pytest.param({0}, 0, 1, id="the-next"),
    pytest.param({3, 4}, 3, 5, id="the-next-that-is-there"),
    pytest.param({3}, 2, 2, id="one-that-is-there-stays"),
    pytest.param({12}, 12, 11, id="the-longest-but-one"),
    pytest.param({10, 11, 12}, 11, 9, id="the-longest-that-is-there"),
    pytest.param(set(range(13)), 4, 4, id="none-is-there"),
]


@pytest.mark.parametrize(("unmade_levels", "level", "taken"), LEVELS)
def test_a_retry_waits_longer_rather_than_shorter(unmade_levels: set[int], level: int, taken: int) -> None:
    names = {delay_exchange(one) for one in unmade_levels}
    assert instead(names, delay_exchange(level), "q", MESSAGE) == (delay_exchange(taken), "q", MESSAGE)


def test_what_is_told_is_set_aside_so_that_it_can_be_put_back() -> None:
    exchange, key, message = instead({EVENTS}, EVENTS, "job.q", MESSAGE)
    assert (exchange, key, message.body) == ("", EVENTS_DEAD, MESSAGE.body)
    assert message.headers == {"own": 1, wire.ROUTING_KEY: "job.q", wire.REASON: f"{EVENTS} could not be made"}
    assert MESSAGE.headers == {"own": 1}, "it may be published again, where it belongs"


@pytest.mark.parametrize("exchange", [JOBS, DEAD, ""])
def test_everything_else_goes_where_it_goes(exchange: str) -> None:
    assert instead({EVENTS, *ALL_LEVELS}, exchange, "q", MESSAGE) == (exchange, "q", MESSAGE)


class Broker(Asked):
    """A connection, and its channels, to one that can't make a queue that isn't there."""

    def __init__(self, unmade: Unmade, *cannot: str) -> None:
        super().__init__()
        self.unmade, self.cannot, self.there, self.opened = unmade, {*cannot}, set[str](), 0
        self._connection = self
        self.tried = list[tuple[str, float]]()
        self.published, self.close_callbacks = list[tuple[str, str]](), set[Any]()

    async def channel(self, **_: object) -> "Broker":
        self.lock, self.rpc_frames = asyncio.Lock(), asyncio.Queue[Any]()  # one of its own
        return self

    async def get_underlay_channel(self) -> "Broker":
        return self

    async def answer(self, asked: Any) -> None:
        name: str = getattr(asked, "queue", "")
        if not isinstance(asked, spec.Queue.Declare):
            return
        if asked.passive and name not in self.there:
            raise ChannelNotFoundEntity(name)
        if asked.passive:
            return
        self.tried.append((name, asyncio.get_running_loop().time()))
        if name in self.cannot and name not in self.there:
            raise refusal(name)
        self.there.add(name)

    async def get_exchange(self, name: str, *, ensure: bool) -> Any:
        async def publish(message: aio_pika.Message, routing_key: str, *, mandatory: bool) -> None:
            self.published.append((name, routing_key))

        return SimpleNamespace(publish=publish)

    async def another(self) -> "Broker":
        self.opened += 1
        return self

    async def __aenter__(self) -> "Broker":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def test_the_next_connection_declares_all_but_that(unmade: Unmade) -> None:
    broker: Any = Broker(unmade, EVENTS)
    with pytest.raises(ConnectionInternalError):
        await declare(broker, topology.shared())
    await declare(broker, topology.shared())
    assert broker.there == {one.name for one in topology.shared().queues} - {EVENTS}


async def test_what_must_not_be_set_aside_is_published_where_it_belongs_or_nowhere(unmade: Unmade) -> None:
    unmade.note(refusal(EVENTS), [topology.shared()])
    channel: Any = Broker(unmade)
    publisher = Publisher(channel, None, Declared(channel, topology.shared()))
    for only_there in (False, True):
        await publisher.publish(EVENTS, "job.q", MESSAGE, only_there=only_there)
    assert channel.published == [("", EVENTS_DEAD), (EVENTS, "job.q")]


async def test_what_is_missed_is_tried_apart_and_all_else_declared(unmade: Unmade) -> None:
    """Over the connection itself nothing is asked for that would end it."""
    broker: Any = Broker(unmade, EVENTS, delay_exchange(3))
    unmade.opens = broker.another
    await Declared(broker, topology.shared()).again("something is missing")
    assert broker.opened == 3, "twice for what can't be made, once for the rest"
    assert unmade.parts().keys() == {EVENTS, delay_exchange(3)}
    assert broker.there == {one.name for one in topology.shared().queues} - unmade.parts().keys()


def making(unmade: Unmade, draw: float) -> tuple[Any, asyncio.Task[None]]:
    broker: Any = Broker(unmade, EVENTS)
    unmade.opens = broker.another
    unmade.note(refusal(EVENTS), [topology.shared()])
    return broker, asyncio.create_task(make_again(broker, unmade, lambda: draw))


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.5), (1.0, 1.0)])
def test_it_is_tried_at_once_and_after_pauses_that_grow_half_of_each_by_chance(
    unmade: Unmade, draw: float, share: float
) -> None:
    async def story() -> None:
        broker, task = making(unmade, draw)
        await asyncio.sleep(300)
        task.cancel()
        times = [at for _, at in broker.tried]
        assert times[0] == 0
        pauses = [after - before for before, after in pairwise(times)]
        assert all(60 * share <= pause <= 60 * share + 2 for pause in pauses[-2:]), "as they are looked at"
        assert len(times) < 20

    with_moved_clock(story())


def test_one_that_somebody_else_has_made_is_there_within_two_seconds(unmade: Unmade) -> None:
    """However long the next try is off: until then jobs that are cancelled start, and events are set aside."""

    async def story() -> None:
        broker, task = making(unmade, 1.0)
        await asyncio.sleep(200)
        assert EVENTS in unmade.said
        broker.there.add(EVENTS)
        await asyncio.sleep(2.1)
        assert unmade.said == {}
        task.cancel()

    with_moved_clock(story())


def test_sessions_that_end_soon_do_not_begin_the_row_anew(unmade: Unmade) -> None:
    assert unmade.is_due(EVENTS, 10.0, draw=0)
    assert not unmade.is_due(EVENTS, 10.05, draw=0)
    # By half of 0.2, 0.4, 0.8, … and 60 s, as it is asked for each second.
    times = [at for at in range(10, 110) if unmade.is_due(EVENTS, at + 0.5, draw=0)]
    assert times == [10, 11, 12, 13, 15, 19, 26, 39, 65, 95]
    unmade.try_at_once()
    assert unmade.is_due(EVENTS, 110.0, draw=0)
