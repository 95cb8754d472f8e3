"""The front door keeps room in a limited queue only for what is stored, and holds nobody up while it checks."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from leveret.events import RELAXED, HandlerInfo
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import Bound, Known
from leveret_producer.problems import Refused
from leveret_producer.queue_bound import Length
from leveret_producer.schemas import Schemas
from leveret_producer.store.jobs import Inserted
from leveret_producer.store.postgres import DatabaseUnavailable
from leveret_producer.store.queues import KnownQueue
from leveret_producer.submission import Submission
from leveret_producer.submit import FrontDoor

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Played:
    """Catalog, schemas, store, relay and hinting in one; the store fails while it is told to."""

    length: Length | None
    fails: BaseException | None = None
    stored: int = 0
    hinted: list[int] = field(default_factory=list)
    handlers: dict[str, HandlerInfo] = field(default_factory=dict)
    lease: float = 0.0
    offered: Callable[[int, Known], None] = lambda jobs, known: None

    async def find(self, name: str) -> KnownQueue:
        return KnownQueue(name, 5, self.handlers, "v1", self.length)

    def each(self, queue: KnownQueue, jobs: list[object], *, in_list: bool) -> Iterator[None]:
        return (None for _ in jobs)

    async def insert(self, new: list[object], *_: object, own_ids: bool) -> Inserted:
        if self.fails:
            raise self.fails
        self.stored += len(new)
        return Inserted(NOW, {})

    def clock(self) -> float:
        return 0.0

    def lease_for(self, jobs: int) -> float:
        return self.lease

    def offer(self, jobs: list[object], until: object, asked_at: float, known: Known) -> None:
        self.offered(len(jobs), known)

    def committed(self, queue: str, jobs: int) -> None:
        self.hinted.append(jobs)


def front_door(played: Played, outbox_limit: int = 1_000) -> FrontDoor:
    part = cast(Any, played)
    return FrontDoor(part, part, part, Bound(outbox_limit), part, part, Metrics(), lambda: NOW, part)


def jobs(number: int, **more: Any) -> list[Submission]:
    return [Submission("t", msgspec.Raw(b"1"), **more)] * number


async def refusal(door: FrontDoor, asked: list[Submission]) -> str | None:
    try:
        await door.submit("leveret.a", asked, in_list=True)
    except Refused as refused:
        return refused.problem.type.rpartition("/")[2]
    return None


async def test_what_the_database_did_not_take_needs_no_room() -> None:
    played = Played(Length(10, "a", 0, NOW), fails=DatabaseUnavailable("away"))
    door = front_door(played)
    for _ in range(5):
        with pytest.raises(DatabaseUnavailable):
            await door.submit("leveret.a", jobs(4), in_list=True)
    played.fails = None
    assert await refusal(door, jobs(10)) is None
    assert await refusal(door, jobs(1)) == "queue-full"
    assert (played.stored, played.hinted) == (10, [10])


async def test_what_a_full_outbox_refused_needs_no_room() -> None:
    played = Played(Length(10, "a", 0, NOW))
    door = front_door(played, outbox_limit=8)
    assert await refusal(door, jobs(8)) is None
    assert await refusal(door, jobs(2)) == "outbox-full"
    door.bound.confirmed([(UUID(int=1), door.bound.known(own=True))] * 8, ())
    assert await refusal(door, jobs(2)) is None


async def test_what_the_database_did_not_take_does_not_fill_the_outbox() -> None:
    played = Played(None, fails=DatabaseUnavailable("away"))
    door = front_door(played, outbox_limit=8)
    for _ in range(5):
        with pytest.raises(DatabaseUnavailable):
            await door.submit("leveret.a", jobs(4), in_list=True)
    played.fails = None
    assert await refusal(door, jobs(8)) is None
    assert await refusal(door, jobs(1)) == "outbox-full"


@pytest.mark.parametrize(
    "problem",
    [DatabaseUnavailable("cut", maybe_stored=True), asyncio.CancelledError()],
    ids=["COMMIT lost", "client gone"],
)
async def test_what_may_have_been_stored_needs_room_until_it_is_counted(problem: BaseException) -> None:
    played = Played(None, fails=problem)
    door = front_door(played, outbox_limit=8)
    with pytest.raises(type(problem)):
        await door.submit("leveret.a", jobs(8), in_list=True)
    played.fails = None
    assert await refusal(door, jobs(1)) == "outbox-full"
    door.bound.begin_count()
    door.bound.counted(0)
    assert await refusal(door, jobs(1)) is None


async def test_a_list_of_which_only_a_part_is_handed_over_while_the_outbox_is_counted_is_known_since_it_was_stored() -> (
    None
):
    seen: list[tuple[int, Known]] = []

    def offered(jobs: int, known: Known) -> None:
        seen.append((jobs, known))
        door.bound.begin_count()

    door = front_door(Played(None, lease=1.0, offered=offered))
    await door.submit("leveret.a", jobs(500), in_list=True)
    assert seen == [(jobs, Known(0, own=True)) for jobs in (200, 200, 100)]


async def test_a_full_outbox_says_what_was_kept_and_when_to_come_again() -> None:
    door = front_door(Played(None), outbox_limit=1_000)
    door.bound.begin_count()
    door.bound.counted(1_200)
    with pytest.raises(Refused) as refused:
        await door.submit("leveret.a", jobs(1), in_list=True)
    problem = refused.value.problem
    assert (problem.status, problem.type.rpartition("/")[2]) == (503, "outbox-full")
    assert int(refused.value.headers["Retry-After"]) > 0
    for said in ("1,200", "1,000", "They are kept", "nothing was stored", "producer.outboxLimit"):
        assert said in problem.detail


async def test_jobs_for_later_need_no_room_and_a_queue_without_a_limit_has_it() -> None:
    full = front_door(Played(Length(10, "a", 10, NOW)))
    assert await refusal(full, jobs(3, delay="1h")) is None
    assert await refusal(full, [*jobs(3, delay="1h"), *jobs(1)]) == "queue-full"
    assert await refusal(front_door(Played(None)), jobs(500)) is None


async def test_others_have_the_loop_between_payloads_that_take_long() -> None:
    """All of a list was checked at once, on the loop or in a thread that holds Python's lock as well."""
    played = Played(None, handlers={"t": HandlerInfo({RELAXED: 1, "type": "array", "items": {"type": "string"}})})
    door = dataclasses.replace(front_door(played), schemas=Schemas())
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await door.submit("leveret.a", [Submission("t", msgspec.Raw(b"[" + b'"",' * 80_000 + b'""]'))] * 20, in_list=True)
    task.cancel()
    assert turns >= 5
    assert played.stored == 20
