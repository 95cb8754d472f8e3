"""Which jobs are cancelled, by what the control stream has told so far."""

import random
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import control
from leveret.control import Cancel, CancelRule, Control, Snapshot
from leveret.jobs import DeadLetterInfo, Envelope
from leveret_consumer.commands import Commands

NOON = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
FIRST, SECOND = UUID(int=101), UUID(int=102)  # snapshots


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def message(*jobs: int, snapshot: Snapshot | None = None, queue: str = "q", generation: int = 1) -> Control:
    named = [Cancel(queue, control.pack((UUID(int=job), generation) for job in jobs), NOON + DAY)] if jobs else []
    return Control(NOON, [*named], snapshot)


def job(number: int, generation: int = 1) -> Envelope:
    return Envelope(UUID(int=number), "q", "t", b"{}", generation=generation)


def told(messages: Iterable[Control], commands: Commands | None = None) -> Commands:
    commands = commands or Commands("q")
    for one in messages:
        commands.hear(one, NOON)
    return commands


def cancelled(commands: Commands, upto: int = 10, now: datetime = NOON) -> set[int]:
    return {number for number in range(1, upto) if commands.cancels(job(number), now)}


def test_a_job_is_cancelled_in_the_generation_and_the_queue_that_were_named() -> None:
    commands = told([message(1), message(2, queue="other"), message(3, generation=2)])
    assert cancelled(commands) == {1}
    assert commands.cancels(job(3, generation=2), NOON)
    assert not commands.cancels(job(1, generation=2), NOON), "a redrive"


@pytest.mark.parametrize("hours", [-20, -1, 1, 20])
def test_a_consumer_whose_clock_is_hours_off_hears_what_a_producer_wants_cancelled(hours: int) -> None:
    wanted = Cancel("q", control.pack([(UUID(int=1), 1)]), control.until(NOON))
    there = NOON + timedelta(hours=hours)
    commands = Commands("q")
    commands.hear(Control(NOON, [wanted], Snapshot(FIRST, 0, 1)), there)
    assert commands.stops(job(1), there)


def test_a_command_holds_until_its_time() -> None:
    commands = told([message(1)])
    assert commands.stops(job(1), NOON + DAY - timedelta(microseconds=1))
    assert not commands.stops(job(1), NOON + DAY)
    late = Commands("q")
    late.hear(message(1), NOON + DAY)
    assert not late.live, "read from an old segment of the stream"


def test_what_a_whole_snapshot_lacks_is_dropped_but_what_came_since_its_first_message() -> None:
    commands = told([message(1, 2), message(snapshot=Snapshot(FIRST, 0)), message(3)])
    assert cancelled(commands) == {1, 2, 3}
    told([message(2, snapshot=Snapshot(FIRST, 1)), message(4)], commands)
    assert (cancelled(commands), commands.snapshots) == ({1, 2, 3, 4}, 0), "it is not whole yet"
    told([message(5, snapshot=Snapshot(FIRST, 2, 3))], commands)
    assert (cancelled(commands), commands.snapshots) == ({2, 3, 4, 5}, 1)


def test_a_snapshot_of_nothing_makes_an_end_of_it() -> None:
    commands = told([message(1)])
    assert commands.live
    told([message(snapshot=Snapshot(FIRST, 0)), message(snapshot=Snapshot(FIRST, 1, 2))], commands)
    assert (commands.live, cancelled(commands)) == (False, set())


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([Snapshot(FIRST, 1), Snapshot(FIRST, 2, 3)], id="without its first"),
        pytest.param([Snapshot(FIRST, 0), Snapshot(FIRST, 2, 3)], id="without one between"),
        pytest.param([Snapshot(FIRST, 0), Snapshot(FIRST, 1)], id="without its last"),
        pytest.param([Snapshot(FIRST, 0), Snapshot(SECOND, 1, 2)], id="another one's last"),
        pytest.param([Snapshot(FIRST, 0), Snapshot(SECOND, 0), Snapshot(FIRST, 1, 2)], id="a later one has begun"),
    ],
)
def test_a_snapshot_that_is_not_whole_drops_nothing(parts: list[Snapshot]) -> None:
    commands = told([message(1), *(message(snapshot=part) for part in parts)])
    assert (cancelled(commands), commands.snapshots) == ({1}, 0)


def test_a_part_that_comes_twice_counts_once() -> None:
    parts = [Snapshot(FIRST, 0), Snapshot(FIRST, 0), Snapshot(FIRST, 1), Snapshot(FIRST, 1), Snapshot(FIRST, 2, 3)]
    commands = told([message(1), *(message(snapshot=part) for part in parts[:-1])])
    assert commands.snapshots == 0
    told([message(snapshot=parts[-1])], commands)
    assert (commands.snapshots, commands.live) == (1, False)


def test_what_is_read_a_second_time_takes_nothing_away_without_a_whole_snapshot() -> None:
    """The stream may have been deleted in between: it is empty then, and forgets nothing for us."""
    commands = told([message(1), message(2)])
    assert cancelled(told([message(2), message(3)], commands)) == {1, 2, 3}


def test_a_snapshot_is_not_made_whole_over_a_gap() -> None:
    commands = told([message(1), message(snapshot=Snapshot(FIRST, 0)), message(snapshot=Snapshot(FIRST, 1))])
    commands.begins()
    told([message(snapshot=Snapshot(FIRST, 2, 3))], commands)
    assert (cancelled(commands), commands.snapshots) == ({1}, 0)


@given(st.lists(st.sampled_from(range(1, 9)), max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_whoever_reads_from_anywhere_before_a_whole_snapshot_knows_the_same(
    jobs: list[int], begins: int, joins: int
) -> None:
    begins = min(begins, len(jobs))
    stream = [message(one) for one in jobs]
    wanted = jobs[begins // 2 : begins]  # of those before it, what the store still wants
    snapshot = [
        message(snapshot=Snapshot(FIRST, 0)),
        *(message(one, snapshot=Snapshot(FIRST, n + 1)) for n, one in enumerate(wanted)),
        message(snapshot=Snapshot(FIRST, len(wanted) + 1, len(wanted) + 2)),
    ]
    stream = [*stream[:begins], *snapshot, *stream[begins:]]
    assert cancelled(told(stream[min(joins, begins) :])) == {*wanted, *jobs[begins:]}


V7 = UUID(int=int(at(5.25).timestamp() * 1000) << 80 | 7 << 76 | 2 << 62)
V4 = uuid4()
DEAD = DeadLetterInfo(V7, "other", None, None, 1)


@pytest.mark.parametrize(
    ("since", "before", "fields", "is_meant"),
    [
        pytest.param(None, at(6), {"id": V7}, True, id="by its id"),
        pytest.param(None, at(5.251), {"id": V7}, True, id="in the millisecond before the end"),
        pytest.param(None, at(5.25), {"id": V7}, False, id="in that of the end"),
        pytest.param(at(5.25), at(6), {"id": V7}, True, id="in the first millisecond"),
        pytest.param(at(5.251), at(6), {"id": V7}, False, id="before the first"),
        pytest.param(None, at(6), {"id": V7, "generation": 2}, False, id="redriven"),
        pytest.param(None, at(6), {"id": V7, "type": "other"}, False, id="another type"),
        pytest.param(None, at(6), {"id": V4}, False, id="nothing tells its time"),
        pytest.param(None, at(6), {"id": V4, "submitted_at": at(5)}, True, id="by its timestamp"),
        pytest.param(
            None, at(5.9), {"id": V4, "submitted_at": at(5)}, False, id="perhaps after the end: cut to the second"
        ),
        pytest.param(at(5.5), at(9), {"id": V4, "submitted_at": at(5)}, False, id="perhaps before the first"),
        pytest.param(None, at(6), {"id": V7, "submitted_at": at(90)}, False, id="its timestamp before its id"),
        pytest.param(None, at(6), {"id": UUID(int=V7.int | ((2**48 - 1) << 80))}, False, id="beyond any date"),
        pytest.param(None, at(6), {"id": V4, "dead_letter": DEAD}, False, id="made of a dead letter"),
        pytest.param(None, at(6), {"id": V7, "attempt": 3}, True, id="waits for its third attempt"),
    ],
)
def test_a_rule_means_what_was_submitted_in_its_time(
    since: datetime | None, before: datetime, fields: dict[str, object], is_meant: bool
) -> None:
    commands = Commands("q")
    commands.hear(Control(NOON, [CancelRule("q", before, NOON + DAY, since=since, type="t")]), NOON)
    one = Envelope(**({"queue": "q", "type": "t", "body": b"{}"} | fields))  # type: ignore[arg-type]
    assert commands.cancels(one, NOON) is is_meant
    assert not commands.stops(one, NOON), "what runs is not meant"
    assert not commands.cancels(one, NOON + DAY)


def test_a_rule_for_all_types_and_another_queues() -> None:
    commands = Commands("q")
    commands.hear(Control(NOON, [CancelRule("other", at(6), NOON + DAY)]), NOON)
    assert not commands.live
    commands.hear(Control(NOON, [CancelRule("q", at(6), NOON + DAY)]), NOON)
    assert commands.cancels(Envelope(V7, "q", "whatever", b"{}"), NOON)


def test_jobs_that_are_cut_off_are_told_and_nothing_of_them_is_taken() -> None:
    commands = Commands("q")
    with pytest.raises(ValueError, match="17 bytes"):
        commands.hear(Control(NOON, [Cancel("q", bytes(17), NOON + DAY)], Snapshot(FIRST, 0)), NOON)
    assert not commands.live
    told([message(1), message(snapshot=Snapshot(FIRST, 1, 2))], commands)
    assert commands.snapshots == 0, "one of its parts is not known"


def test_a_hundred_thousand_live_cancels_cost_little_memory() -> None:
    draw = random.Random(1)
    ids = [UUID(int=draw.getrandbits(128)) for _ in range(100_000)]
    parts = [
        control.encode(
            Control(
                NOON,
                [Cancel("q", control.pack((one, 1) for one in ids[n : n + 1000]), NOON + DAY)],
                Snapshot(FIRST, n // 1000 + 1, 101 if n == 99_000 else None),
            )
        )
        for n in range(0, len(ids), 1000)
    ]
    commands = told([message(snapshot=Snapshot(FIRST, 0))])
    tracemalloc.start()
    told(map(control.decode, parts), commands)
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert commands.snapshots == 1
    assert memory < 25_000_000, "in bytes, once the snapshot is whole"
    assert all(commands.stops(Envelope(one, "q", "t", b""), NOON) for one in ids[:1000])
