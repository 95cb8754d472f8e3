"""A batch is written however long it takes, in parts where the whole is refused or takes too long."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from leveret_producer.recorder.committing import commit
from leveret_producer.store.postgres import DatabaseUnavailable, DataRefused, TookTooLong, TryAgain


@dataclass
class Database:
    """Takes a batch unless there is a reason not to; keeps what it was asked for, by size."""

    against: Callable[[Sequence[int]], Exception | None] = lambda items: None
    troubles: list[Exception] = field(default_factory=list)  # first of all
    asked: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)

    async def write(self, items: Sequence[int]) -> list[tuple[int, str]]:
        self.asked.append(len(items))
        problem = self.troubles.pop(0) if self.troubles else self.against(items)
        if problem:
            raise problem
        self.written += items
        return [(one, "nowhere to put it") for one in items if one < 0]


async def test_what_the_database_refuses_is_found_and_its_neighbours_are_written() -> None:
    database = Database(lambda items: DataRefused("seven") if 7 in items else None)
    assert await commit(range(16), database.write) == [(7, "seven")]
    assert database.written == [one for one in range(16) if one != 7]


async def test_what_could_not_be_placed_is_returned_too() -> None:
    database = Database(lambda items: DataRefused("seven") if 7 in items else None)
    assert await commit([-1, 7, -2], database.write) == [
        (-1, "nowhere to put it"),
        (7, "seven"),
        (-2, "nowhere to put it"),
    ]


async def test_a_batch_that_takes_too_long_twice_is_written_in_parts() -> None:
    database = Database(lambda items: TookTooLong("8 s") if len(items) > 4 else None)
    assert await commit(range(8), database.write) == []
    assert database.asked == [8, 8, 4, 4]
    assert database.written == list(range(8))


@pytest.mark.parametrize(
    "trouble",
    [DatabaseUnavailable("away"), TryAgain("deadlock"), TookTooLong("once")],
    ids=lambda problem: type(problem).__name__,
)
async def test_what_passes_does_not_split_a_batch(trouble: Exception) -> None:
    database = Database(troubles=[TookTooLong("once"), DatabaseUnavailable("away"), trouble])
    assert await commit(range(8), database.write) == []
    assert database.asked == [8, 8, 8, 8]


async def test_one_alone_that_takes_too_long_is_tried_on() -> None:
    database = Database(troubles=[TookTooLong("8 s")] * 3)
    assert await commit([1], database.write) == []
    assert database.written == [1]


async def test_nothing_asks_nobody() -> None:
    database = Database()
    assert await commit([], database.write) == []
    assert database.asked == []
