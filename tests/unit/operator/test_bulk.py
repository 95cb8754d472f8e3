"""What is kept of the broker's statistics between two readings."""

import asyncio
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leveret.scaling.backlog import Depth
from leveret.settings import Broker
from leveret_operator.broker_statistics import NoStatistics, Statistics
from leveret_operator.bulk import Bulk

START = datetime(2026, 1, 1, tzinfo=UTC)


Says = Mapping[str, tuple[int | None, int | None]] | None
BROKER = Broker("h", 5672, "u", "p", "/")


@dataclass
class Story:
    """A source that says what it is told to, and a clock."""

    now: datetime = START
    says: Says = None
    broker: Broker = BROKER
    wanted: list[set[str]] = field(default_factory=list)

    async def read(self, broker: Broker, wanted: Set[str]) -> Statistics:
        self.wanted.append(set(wanted))
        if self.says is None:
            raise NoStatistics("nobody answers")
        return Statistics(self.now, {queue: Depth(self.now, *counts) for queue, counts in self.says.items()})

    def reads(self, bulk: Bulk, second: float, says: Says) -> None:
        self.now, self.says = START + timedelta(seconds=second), says
        asyncio.run(bulk.read_once())


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def bulk(story: Story) -> Bulk:
    source: Any = story
    return Bulk(source, lambda: story.broker, lambda: story.now)


@pytest.mark.parametrize("gap", [{}, None], ids=["the-queue-is-missing", "nobody-answers"])
def test_what_was_told_is_believed_for_ten_seconds(
    story: Story, bulk: Bulk, gap: dict[str, tuple[int, int]] | None
) -> None:
    story.reads(bulk, 0, {"q": (3, 4)})
    story.reads(bulk, 10, gap)
    assert bulk.depth("q") == Depth(START, 3, 4), "it is as old as it is"
    story.reads(bulk, 10.1, gap)
    assert bulk.depth("q") is None
    story.reads(bulk, 15, {"q": (0, 0)})
    assert bulk.depth("q") == Depth(story.now, 0, 0)


def test_what_was_asked_for_in_the_last_thirty_seconds_must_not_be_missing(story: Story, bulk: Bulk) -> None:
    bulk.depth("q")
    story.reads(bulk, 30, {})
    bulk.depth("other")
    story.reads(bulk, 31, {})
    assert story.wanted == [{"q"}, {"other"}]


@pytest.mark.parametrize("change", [{"host": "other"}, {"vhost": "other"}], ids=["host", "vhost"])
def test_of_another_broker_nothing_is_known(story: Story, bulk: Bulk, change: dict[str, str]) -> None:
    story.reads(bulk, 0, {"q": (3, 4)})
    story.broker = replace(BROKER, password="new")
    story.reads(bulk, 1, None)
    assert bulk.depth("q") == Depth(START, 3, 4)
    story.broker = replace(BROKER, **change)  # type: ignore[arg-type]
    story.reads(bulk, 2, None)
    assert bulk.depth("q") is None


def test_the_condition_names_the_queue_that_lacks(story: Story, bulk: Bulk) -> None:
    assert bulk.state(["q"], known=False).message.startswith(
        "the queue's numbers are missing or too old (not asked yet)"
    )
    story.reads(bulk, 0, {"q": (0, 0)})
    assert bulk.state(["q", "source.dead"], known=True).good
    state = bulk.state(["q", "source.dead"], known=False)
    assert (state.good, state.reason) == (False, "SignalsStale")
    assert "no numbers of source.dead yet" in state.message
    story.reads(bulk, 4, {"q": (0, 0), "source.dead": (None, None)})
    assert "no numbers of source.dead" in bulk.state(["q", "source.dead"], known=False).message
    story.reads(bulk, 5, None)
    assert "nobody answers" in bulk.state(["q"], known=False).message
