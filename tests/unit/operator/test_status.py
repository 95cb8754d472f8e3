"""Conditions and status: what is written, and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leveret.scaling.backlog import Backlog
from leveret.scaling.demand import Demand
from leveret_operator.conditions import State, States, changed, conditions
from leveret_operator.jobqueue import Decided
from leveret_operator.status import Status, add_decision, build_status, worth_writing

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
GOOD = State(True, "Good", "it is")
BAD = State(False, "Bad", "it isn't")
UPDATE = State(True, "ImagePullBackOff", "1 ready, 1 wanted; other pods can't run: no image", wrong=True)
STATES = States(broker=GOOD, topology=GOOD, deployment=GOOD, consumers=GOOD, scaling=GOOD, metrics=GOOD)


@pytest.mark.parametrize(
    ("states", "status", "reason"),
    [
        pytest.param(STATES, "True", "Reconciled", id="all-good"),
        pytest.param(replace(STATES, scaling=BAD, metrics=BAD), "True", "Reconciled", id="numbers-are-another-matter"),
        pytest.param(replace(STATES, broker=BAD), "False", "Bad", id="no-broker"),
        pytest.param(replace(STATES, consumers=BAD), "False", "Bad", id="no-consumer"),
        pytest.param(replace(STATES, consumers=State(None, "Starting", "…")), "Unknown", "Starting", id="starting"),
        pytest.param(replace(STATES, consumers=UPDATE), "True", "Reconciled", id="a-bad-update-beside-good-pods"),
        pytest.param(replace(STATES, topology=State(None, "Waits", "…")), "Unknown", "Waits", id="not-yet-declared"),
        pytest.param(
            replace(STATES, deployment=State(False, "TemplateInvalid", "…"), broker=BAD),
            "False",
            "TemplateInvalid",
            id="template",
        ),
    ],
)
def test_ready_says_the_first_thing_that_is_not(states: States, status: str, reason: str) -> None:
    ready = conditions(states, (), generation=1, now=NOW)[0]
    assert (ready.type, ready.status, ready.reason) == ("Ready", status, reason)


def test_ready_says_in_its_message_what_is_wrong_beside_consumers_that_run() -> None:
    made = {entry.type: entry for entry in conditions(replace(STATES, consumers=UPDATE), (), generation=1, now=NOW)}
    assert made["Ready"].message.endswith(f"; ImagePullBackOff: {UPDATE.message}")
    assert (made["Ready"].troubled, made["ConsumersAvailable"].troubled) == (False, True)


def test_a_transition_time_moves_with_the_status_only() -> None:
    first = conditions(STATES, (), generation=1, now=NOW)
    same = conditions(replace(STATES, broker=State(True, "Other", "…")), first, generation=2, now=LATER)
    assert {condition.since for condition in same} == {NOW}
    assert {condition.generation for condition in same} == {2}
    assert [condition.type for condition in changed(first, same)] == ["BrokerReachable"]
    worse = {
        entry.type: entry.since for entry in conditions(replace(STATES, broker=BAD), first, generation=2, now=LATER)
    }
    assert (worse["BrokerReachable"], worse["Ready"], worse["TopologyReady"]) == (LATER, LATER, NOW)


DEMAND = Demand(Backlog(5, 2, 1), 1.25, None, None, None, None)


def status(**changes: Any) -> dict[str, object]:
    whole = Status(
        generation=3,
        conditions=conditions(STATES, (), generation=3, now=NOW),
        demand=DEMAND,
        dead_letters=None,
        replicas=2,
        ready_replicas=1,
        desired=3,
        selector="a=b",
        decisions=(Decided(NOW, 2, 3, "Backlog", "m"),),
    )
    return build_status(replace(whole, **changes))


def test_a_number_that_is_not_known_is_null() -> None:
    assert status()["queue"] == {
        "ready": 5,
        "unacked": 2,
        "backlog": 8,
        "deadLetters": None,
        "arrivalRate": 1.2,
        "completionRate": None,
        "oldestAgeSeconds": None,
        "drainEtaSeconds": None,
    }
    nothing = status(demand=None)["queue"]
    assert isinstance(nothing, dict)
    assert set(nothing.values()) == {None}


@pytest.mark.parametrize(
    ("states", "decisions", "reason"),
    [
        pytest.param(STATES, (Decided(NOW, 2, 3, "Backlog", "m"),), "Backlog", id="all-good"),
        pytest.param(STATES, (), None, id="nothing-decided-yet"),
        pytest.param(
            replace(STATES, metrics=State(False, "Stale", "…")),
            (Decided(NOW, 2, 3, "Backlog", "m"),),
            "Stale",
            id="bad",
        ),
        pytest.param(
            replace(STATES, topology=State(False, "Differs", "…"), metrics=BAD), (), "Differs", id="ready-comes-first"
        ),
        pytest.param(
            replace(STATES, consumers=UPDATE),
            (Decided(NOW, 2, 3, "Backlog", "m"),),
            "ImagePullBackOff",
            id="true-and-in-need-of-a-person",
        ),
        pytest.param(States(), (Decided(NOW, 0, 1, "MinReplicas", "m"),), "MinReplicas", id="unknown-is-not-bad"),
    ],
)
def test_the_one_reason_is_of_what_is_wrong_first(
    states: States, decisions: tuple[Decided, ...], reason: str | None
) -> None:
    made = conditions(states, (), generation=3, now=NOW)
    assert status(conditions=made, decisions=decisions)["reason"] == reason


def test_the_oldest_version_is_told_and_is_null_where_none_is_heard() -> None:
    assert status(demand=replace(DEMAND, leveret_version="0.1.0"))["leveretVersion"] == "0.1.0"
    assert [status(demand=demand)["leveretVersion"] for demand in (DEMAND, None)] == [None, None]


def test_the_newest_decision_comes_first_and_ten_are_kept() -> None:
    decisions: tuple[Decided, ...] = ()
    for number in range(12):
        decisions = add_decision(decisions, Decided(NOW, number, number + 1, "Backlog", ""))
    assert [decided.before for decided in decisions] == list(range(11, 1, -1))


@pytest.mark.parametrize(
    ("changes", "seconds", "expected"),
    [
        pytest.param({}, 3_600, False, id="no-change"),
        pytest.param({"dead_letters": 4}, 9, False, id="a-number-too-soon"),
        pytest.param({"dead_letters": 4}, 10, True, id="a-number-in-time"),
        pytest.param({"desired": 4}, 0, True, id="the-wanted-size-at-once"),
        pytest.param({"generation": 4}, 0, True, id="a-new-spec-at-once"),
        pytest.param(
            {"conditions": conditions(replace(STATES, broker=BAD), (), generation=3, now=NOW)}, 0, True, id="condition"
        ),
    ],
)
def test_when_it_is_worth_a_write(changes: dict[str, object], seconds: int, expected: bool) -> None:
    assert worth_writing(status(**changes), status(), timedelta(seconds=seconds)) is expected


def test_the_first_status_is_written() -> None:
    assert worth_writing(status(), None, timedelta.max)
