"""What the producers write to the stream of cancels, and which of them are wanted still."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from leveret import control
from leveret.control import Cancel, CancelRule, Snapshot
from leveret_producer.cancels.messages import SnapshotParts, cancels_of, chunked, new_commands, rules_of, sorted_out
from leveret_producer.store.cancels import Rule, Standing, Wanted
from leveret_producer.store.commands import CANCEL, RULE, Command

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ONE, TWO, THREE = UUID(int=1), UUID(int=2), UUID(int=3)
ITS_RULE = Rule("q", "t", None, NOW)


def test_new_commands_are_grouped_by_queue_and_hold_for_a_day() -> None:
    taken = [
        Command(1, CANCEL, "q", ONE, 1),
        Command(2, CANCEL, "r", TWO, 2),
        Command(3, CANCEL, "q", THREE, 1),
        Command(4, RULE, "q", TWO, None, rule=ITS_RULE),
        Command(5, RULE, "q", ONE, None),  # it stands no more
    ]
    message = control.decode(control.encode(new_commands(taken, NOW)))
    [first, second, rule] = message.commands
    assert isinstance(first, Cancel)
    assert (first.queue, list(control.unpack(first.jobs))) == ("q", [(ONE, 1), (THREE, 1)])
    assert isinstance(second, Cancel)
    assert (second.queue, list(control.unpack(second.jobs))) == ("r", [(TWO, 2)])
    assert rule == CancelRule("q", NOW, NOW + timedelta(days=1), None, "t")
    assert {one.until for one in message.commands} == {NOW + timedelta(days=1)}
    assert (message.at, message.snapshot) == (NOW, None)


@pytest.mark.parametrize(("generation", "told"), [(1, 1), (32_767, 32_767), (2**31 - 1, 32_767)], ids=str)
def test_a_generation_is_told_as_messages_carry_it(generation: int, told: int) -> None:
    [command] = cancels_of([Wanted(ONE, generation, "q")], NOW)
    assert isinstance(command, Cancel)
    assert list(control.unpack(command.jobs)) == [(ONE, told)]


def test_a_snapshot_of_nothing_has_two_messages_and_the_last_says_so() -> None:
    parts = SnapshotParts(ONE)
    told = [parts.part([], NOW), *(parts.last(last, NOW) for last in chunked(rules_of([], NOW), 1_000))]
    assert [one.snapshot for one in told] == [Snapshot(ONE, 0), Snapshot(ONE, 1, 2)]
    assert [one.commands for one in told] == [[], []]


def test_rules_too_many_for_a_message_are_told_in_several() -> None:
    rules = rules_of([ITS_RULE] * 5, NOW)
    assert [len(one) for one in chunked(rules, 2)] == [2, 2, 1]


def _standing(
    state: str | None,
    reached: int = 1,
    *,
    generation: int = 1,
    named: bool = True,
    alone: bool = False,
    days: float = 0,
) -> Standing:
    return Standing(Wanted(ONE, generation, "q"), named, NOW - timedelta(days=days), state, reached, alone)


@pytest.mark.parametrize(
    ("one", "lands"),
    [
        pytest.param(_standing("queued"), "named", id="it waits"),
        pytest.param(_standing("running", days=9), "named", id="it runs, however long"),
        pytest.param(_standing("queued", named=False), "", id="it waits, and a rule stands for it"),
        pytest.param(_standing("running", named=False), "again", id="it runs, which a rule does not stop"),
        pytest.param(_standing("retrying", alone=True), "again", id="the database can end it"),
        pytest.param(_standing("succeeded"), "over", id="it has ended"),
        pytest.param(_standing("cancelled", named=False), "over", id="it is cancelled, by a rule"),
        pytest.param(_standing("queued", 2), "over", id="it was redriven"),
        pytest.param(_standing("dead", 1, generation=2), "named", id="its generation is not known yet"),
        pytest.param(_standing("dead", 1, generation=2, days=1.1), "over", id="its generation came to nothing"),
        pytest.param(_standing(None, 0, days=0.9), "named", id="its row is gone"),
        pytest.param(_standing(None, 0, days=1.1), "over", id="its row is gone for a day"),
    ],
)
def test_what_becomes_of_a_cancel(one: Standing, lands: str) -> None:
    found = sorted_out([one], NOW)
    assert {"over": found.over, "again": found.again, "named": found.named} == {
        place: [one.wanted] if place == lands else [] for place in ("over", "again", "named")
    }
