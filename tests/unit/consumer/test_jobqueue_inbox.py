"""What a consumer makes of what it's told of its JobQueue, with clocks that are moved."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from leveret.jobs import DeadReason, Envelope
from leveret.signals import Heartbeat, JobQueueTold, encode
from leveret_consumer.ends import DeadLetter, GivenBack
from leveret_consumer.jobqueue_inbox import SAID, JobQueueInbox
from leveret_consumer.outcome import unreadable
from leveret_consumer.present_version import Told

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
DEAD = unreadable(DeadReason.UNKNOWN_TYPE, "no handler here is for 'b'; there are: a")


class World:
    def __init__(self, version: str = "old") -> None:
        self.seconds = 1000.0
        self.inbox = JobQueueInbox("q", version, now=lambda: NOON, clock=lambda: self.seconds)

    def tell(self, version: str, queue: str = "q") -> None:
        self.inbox.hear(encode(JobQueueTold(queue, NOON, version)))

    def judge(self, type: str = "b") -> DeadLetter | GivenBack:
        return self.inbox.judge(Envelope(UUID(int=1), "q", type, b"1"), DEAD)


def test_what_was_told_last_counts_from_when_it_was_heard() -> None:
    world = World()
    assert world.inbox.told() == Told(None, timedelta(0))
    world.seconds += 7
    assert world.inbox.told() == Told(None, timedelta(seconds=7)), "since the start"
    world.tell("new")
    world.seconds += 2
    assert world.inbox.told() == Told("new", timedelta(seconds=2))


def test_the_run_time_is_handed_on_where_it_is_known() -> None:
    told = list[float]()
    inbox = JobQueueInbox("q", "v", now=lambda: NOON, told_run_seconds=told.append)
    for run_seconds in (None, 0.0, 0.25):
        inbox.hear(encode(JobQueueTold("q", NOON, "v", run_seconds)))
    inbox.hear(encode(JobQueueTold("other", NOON, "v", 9.0)))
    inbox.hear(encode(JobQueueTold("q", NOON, "v", -1.0)))
    assert told == [0.0, 0.25]


FOREIGN = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\xff\xfe", id="no text"),
    pytest.param(b"{}", id="no kind of signal"),
    pytest.param(b'{"type":"jobqueue","queue":"q","at":"2026-09-01T12:00:00Z"}', id="no version"),
    pytest.param(b'{"type":"jobqueue","queue":"q","at":"2026-09-01T12:00:00Z","version":7}', id="a number"),
    pytest.param(encode(JobQueueTold("other", NOON, "new")), id="another queue's"),
    pytest.param(encode(Heartbeat("pod", "q", NOON, 1, 0, 0, 0)), id="another signal"),
    pytest.param(b"[" * 100_000, id="no object"),
    pytest.param(b'{"type":"jobqueue","x":' + b"[" * 100_000, id="too deep"),
]


@pytest.mark.parametrize("body", FOREIGN)
def test_what_is_none_of_the_operators_is_left_out(body: bytes) -> None:
    world = World()
    world.tell("new")
    world.seconds += 5
    world.inbox.hear(body)
    assert world.inbox.told() == Told("new", timedelta(seconds=5))


def test_jobs_are_given_back_until_the_own_version_is_the_present_one() -> None:
    world = World()
    assert world.judge() == GivenBack(0, NOON, DEAD.error)
    world.tell("new")
    assert isinstance(world.judge(), GivenBack)
    world.tell("old")
    assert world.judge() == DEAD
    world.tell("new")
    world.seconds += 60
    assert world.judge() == DEAD, "nobody has told anything for a minute"


def test_what_was_told_over_another_connection_counts_no_more() -> None:
    world = World()
    world.tell("old")
    world.seconds += 61
    world.inbox.connected()
    assert isinstance(world.judge(), GivenBack), "the JobQueue may have changed meanwhile"
    world.tell("old")
    assert world.judge() == DEAD


def test_the_log_has_one_line_a_minute_for_a_type_and_a_version() -> None:
    world = World()
    lines = []
    for second, version, of in [
        (0, "1", "b"),
        (9, "1", "b"),
        (9, "1", "c"),
        (10, "2", "b"),
        (61, "2", "b"),
        (70, "2", "b"),
    ]:
        world.seconds = 1000.0 + second
        world.tell(version)
        with capture_logs() as logged:
            world.judge(of)
        lines.append([(line["type"], line["present_version"]) for line in logged if line["log_level"] == "info"])
    assert lines == [[("b", "1")], [], [("c", "1")], [("b", "2")], [], [("b", "2")]]


def test_types_that_a_client_makes_up_do_not_fill_the_log() -> None:
    world = World()
    with capture_logs() as logged:
        for number in range(10 * SAID):
            world.judge(f"type-{number}")
    assert len(logged) == SAID
