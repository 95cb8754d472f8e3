"""Which acks a channel gets: for each delivery one, and none for what was given back or still runs."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret_consumer.acks import Acknowledger, Acks


def test_a_finished_prefix_is_one_ack_and_the_others_are_single_ones() -> None:
    tags = Acknowledger()
    for tag in (1, 2, 3, 5, 7):
        tags.finished(tag)
    assert tags.flush() == Acks(3, (5, 7))
    tags.finished(4)
    assert tags.flush() == Acks(4), "5 is gone, so 4 closes the gap; 6 still runs"
    tags.finished(6)
    tags.finished(8)
    assert tags.flush() == Acks(8)
    assert tags.flush() == Acks()


def test_what_was_given_back_is_no_gap_and_is_not_the_end_of_a_multiple_ack() -> None:
    tags = Acknowledger()
    tags.given_back(1)
    tags.finished(2)
    tags.given_back(3)
    assert tags.flush() == Acks(2)
    tags.given_back(4)
    assert tags.flush() == Acks(), "nothing is out: a multiple ack would be an error to the broker"
    tags.finished(5)
    assert tags.flush() == Acks(5)


@pytest.mark.parametrize("tag", [1, 3, 4, 5])
def test_a_delivery_ends_once(tag: int) -> None:
    tags = Acknowledger()
    tags.finished(1)
    tags.finished(3)
    tags.flush()
    tags.finished(4)
    tags.given_back(5)
    with pytest.raises(ValueError, match=f"delivery {tag} is acknowledged or given back already"):
        tags.finished(tag)
    with pytest.raises(ValueError, match="already"):
        tags.given_back(tag)


class Channel:
    """What a broker's channel does with acks: each number that is out ends once, in one way."""

    def __init__(self, delivered: int) -> None:
        self.out = set(range(1, delivered + 1))
        self.acked: set[int] = set()

    def take(self, acks: Acks) -> None:
        if acks.through is not None:
            below = {tag for tag in self.out if tag <= acks.through}
            assert below, "a multiple ack for nothing closes the channel"
            self._ack(below)
        for tag in acks.singles:
            assert tag in self.out, "an ack for what is not out closes the channel"
            self._ack({tag})

    def nack(self, tag: int) -> None:
        assert tag in self.out
        self.out.remove(tag)

    def _ack(self, some: set[int]) -> None:
        self.acked |= some
        self.out -= some


Steps = list[tuple[str, int]]


@st.composite
def stories(draw: st.DrawFn) -> tuple[int, Steps]:
    """So many deliveries; some end in any order and in either way, and flushes come in between."""
    delivered = draw(st.integers(0, 40))
    order = draw(st.permutations(range(1, delivered + 1)))
    some = order[: draw(st.integers(0, delivered))]
    steps = [(draw(st.sampled_from(["finished", "finished", "given back"])), tag) for tag in some]
    for place in sorted(draw(st.lists(st.integers(0, len(steps)), max_size=8)), reverse=True):
        steps.insert(place, ("flush", 0))
    return delivered, steps


@given(stories())
def test_each_flush_acknowledges_all_that_finished_and_nothing_else(story: tuple[int, Steps]) -> None:
    delivered, steps = story
    tags, channel, finished = Acknowledger(), Channel(delivered), set[int]()
    for what, tag in [*steps, ("flush", 0)]:
        match what:
            case "finished":
                tags.finished(tag)
                finished.add(tag)
            case "given back":
                channel.nack(tag)
                tags.given_back(tag)
            case _:
                channel.take(tags.flush())
                assert channel.acked == finished


@given(st.integers(0, 200), st.data())
def test_a_flush_is_one_multiple_ack_for_the_prefix_and_one_ack_for_each_other(count: int, data: st.DataObject) -> None:
    finished = data.draw(st.sets(st.integers(1, 200), max_size=count))
    tags = Acknowledger()
    for tag in finished:
        tags.finished(tag)
    prefix = next(tag for tag in range(1, 202) if tag not in finished) - 1
    assert tags.flush() == Acks(prefix or None, tuple(sorted(tag for tag in finished if tag > prefix)))


def test_a_job_that_runs_long_costs_neither_memory_nor_time_for_those_that_end_beside_it() -> None:
    tags = Acknowledger()
    kept: list[int] = []
    tracemalloc.start()
    try:
        for tag in range(2, 50_002):  # 1 runs on
            tags.finished(tag)
            assert tags.flush() == Acks(None, (tag,))
            if tag % 10_000 == 0:
                kept.append(tracemalloc.get_traced_memory()[0])
        assert kept[-1] - kept[0] < 10_000, "bytes; one number alone takes 32"
    finally:
        tracemalloc.stop()
    tags.finished(1)
    assert tags.flush() == Acks(1)
