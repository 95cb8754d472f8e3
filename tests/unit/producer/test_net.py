"""A fault that nobody thought of costs what shows it: its neighbours are recorded, and nothing is begun anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import aio_pika
import pytest
from structlog.testing import capture_logs

from leveret import events, topology
from leveret.events import JobEvent, QueueRemoved
from leveret.jobs import State
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed
from leveret_producer.health import Health
from leveret_producer.metrics import Metrics
from leveret_producer.recorder.committing import commit
from leveret_producer.recorder.net import handle_all
from leveret_producer.recorder.recorder import Recorder
from leveret_producer.recorder.writer import Writer
from leveret_producer.store.recording import Recorded

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
POISON = UUID(int=7)


@dataclass
class Message:
    """As much of one as is read."""

    routing_key: str
    body: bytes
    exchange: str = topology.EVENTS
    headers: dict[str, object] = field(default_factory=dict)


def reported(*numbers: int) -> Message:
    some = [JobEvent(UUID(int=number), "t", State.RUNNING, NOON, "pod") for number in numbers]
    return Message("job.q", events.encode(some))


def removed(queue: str) -> Message:
    return Message(f"queue.{queue}", events.encode(QueueRemoved(NOON)))


@dataclass
class Recording:
    """Has a defect that one job or one queue shows, in whatever company it comes."""

    fault: Callable[[], Exception] = lambda: KeyError("what nobody thought of")
    jobs: set[int] = field(default_factory=set)
    queues: list[str] = field(default_factory=list)

    async def record(self, reports: Sequence[object], told: Sequence[tuple[str, object]] = ()) -> Recorded:
        ids = {report.event.id for report in reports}  # type: ignore[attr-defined]
        if POISON in ids or any(name == "poison" for name, _ in told):
            raise self.fault()
        self.jobs |= {one.int for one in ids}
        self.queues += [name for name, _ in told]
        return Recorded()


@dataclass
class Publisher:
    """Confirms all."""

    published: list[aio_pika.Message] = field(default_factory=list)

    async def publish(self, exchange: str, key: str, message: aio_pika.Message) -> None:
        assert (exchange, key) == ("", topology.EVENTS_DEAD)
        self.published.append(message)


class Nobody:
    """Waits for an answer."""

    async def answer(self, reports: object) -> None:
        assert reports == []


class Scene:
    def __init__(self, recording: Recording | None = None) -> None:
        self.recording, self.publisher, self.metrics = recording or Recording(), Publisher(), Metrics()
        self.writer = Writer(self.recording, self.recording, self.metrics)  # type: ignore[arg-type]
        self.recorder = Recorder(self.writer, self.metrics)

    async def handle(self, *messages: Message) -> None:
        await self.recorder._handle(messages, self.publisher, Nobody())  # type: ignore[arg-type]

    @property
    def aside(self) -> list[tuple[object, bytes]]:
        return [(message.headers["leveret-routing-key"], message.body) for message in self.publisher.published]


async def test_an_event_that_we_fail_on_is_set_aside_alone_with_the_place_where() -> None:
    scene = Scene()
    with capture_logs() as logs:
        await scene.handle(
            reported(1, 2), reported(6, 7, 8), reported(9), removed("a"), removed("poison"), removed("b")
        )
    assert scene.recording.jobs == {1, 2, 6, 8, 9}
    assert sorted(scene.recording.queues) == ["a", "b"]
    assert scene.aside == [("job.q", reported(7).body), ("queue.poison", removed("poison").body)]
    reason = str(scene.publisher.published[0].headers["leveret-reason"])
    assert reason.startswith("a defect of Leveret, to be reported: KeyError in test_net.py:")
    assert [(entry["event"], entry["number"]) for entry in logs] == [("events are set aside", 2)]
    assert "exc_info" not in logs[0], "no traceback"


async def test_a_message_that_we_fail_on_before_its_events_are_known_is_set_aside_as_it_came() -> None:
    scene = Scene()
    await scene.handle(reported(1), Message(Unreadable("job.q"), reported(5).body), reported(2))
    assert scene.recording.jobs == {1, 2}
    assert scene.aside == [("job.q", reported(5).body)]


class Unreadable(str):
    """Raises where it is looked into, and can be passed on."""

    __slots__ = ()

    def partition(self, _: str) -> tuple[str, str, str]:
        raise ArithmeticError("what nobody thought of")


@pytest.mark.parametrize(
    "fault",
    [BrokerGone("cut"), NotConfirmed("late"), OSError("cut"), TimeoutError("late")],
    ids=lambda one: type(one).__name__,
)
async def test_what_the_broker_does_is_nobodys_fault(fault: Exception) -> None:
    scene = Scene()

    async def handle(messages: object, publisher: object) -> None:
        raise fault

    with pytest.raises(type(fault)):
        await handle_all([reported(1), reported(2)], handle, scene.writer, scene.publisher)  # type: ignore[arg-type,list-item]
    assert scene.aside == []


async def test_what_fails_once_is_tried_again_before_it_is_given_up() -> None:
    troubles = [RuntimeError("once")]

    async def write(items: Sequence[int]) -> list[tuple[int, str]]:
        if troubles:
            raise troubles.pop()
        return []

    assert await commit([1], write) == []


async def test_a_flood_is_one_line_in_the_log_and_counted_each() -> None:
    scene = Scene()
    with capture_logs() as logs:
        await scene.handle(*(Message("odd", b"%d" % number) for number in range(1_000)))
    assert len(scene.aside) == 1_000
    assert scene.metrics.registry.get_sample_value("leveret_events_set_aside_total") == 1_000
    assert [len(entry["first_reasons"]) for entry in logs] == [1], "the same reason once"


def begun(health: Health, *messages: Message, ends: bool = False) -> str:
    try:
        with health.events.batch(messages):  # type: ignore[arg-type]
            if not ends:
                raise BrokerGone("cut")
    except BrokerGone:
        pass
    return health.report(None).says


def test_a_batch_that_is_begun_anew_three_times_shows_until_one_is_finished() -> None:
    health = Health(migrated=True)
    first, other = reported(1), reported(2)
    assert [begun(health, first, other) for _ in range(3)] == ["serving"] * 3
    said = begun(health, first)
    assert "leveret.events" in said
    assert "'job.q'" in said
    assert health.report(None).ok, "requests are served all the same"
    assert "4 times" in begun(health, first, other)
    assert begun(health, other) == "serving", "another batch"
    assert begun(health, other, ends=True) == "serving"
    assert [begun(health, other) for _ in range(3)] == ["serving"] * 3, "it was finished in between"


async def test_a_culprit_that_can_not_even_be_set_aside_as_it_came_is_set_aside_by_its_body() -> None:
    class Unwritable(Message):
        @property
        def reply_to(self) -> str:
            raise TypeError("this can't be written")

    async def handle(messages: Sequence[object], publisher: object) -> None:
        raise KeyError("what nobody thought of")

    scene = Scene()
    culprit = Unwritable("q", b"{}", exchange=topology.UNROUTABLE)
    await handle_all([culprit], handle, scene.writer, scene.publisher)  # type: ignore[list-item, arg-type]
    assert scene.aside == [("q", b"{}")]
