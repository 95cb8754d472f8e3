"""Effects are counted in the example's table: which rows are one too many, missing, or nobody's; and what a run of them has."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import jobs, plan, report
from chaos.effects import Effect, account, read
from chaos.evidence import Asked, Row
from chaos.jobs import Way
from chaos.ledger import settle
from chaos.plan import Fault, Kind, Part
from chaos.stretches import Size, Stretch, beside, planned
from chaos.witness import WitnessQueue
from examples.bench.effects import Effect as Payload

DONE, DEAD, CANCELLED = (Row(state, 1, 1) for state in ("succeeded", "dead", "cancelled"))
PARENT, CHILD = Effect("p", None, 0, 1), Effect("c", "p", 0, 0)
STORED = {"p": DONE, "c": DONE, "d": DEAD, "x": CANCELLED}
NO_WRONG = "doubled effects 0, lost effects 0, stray effects 0, follow-ups lost 0, follow-ups doubled 0"


def test_one_row_of_each_job_that_succeeded_and_one_job_of_each_follow_up_is_right() -> None:
    found = account([PARENT, CHILD], STORED)

    assert found.good
    assert found.line == f"effects 2, follow-ups 1, {NO_WRONG}"


@pytest.mark.parametrize(
    ("rows", "stored", "wrong"),
    [
        pytest.param([PARENT, PARENT, CHILD], STORED, "doubled effects", id="two rows of a job"),
        pytest.param([PARENT, CHILD, CHILD], STORED, "doubled effects", id="two rows of a follow-up"),
        pytest.param([PARENT, CHILD], STORED | {"q": DONE}, "lost effects", id="no row of a job that succeeded"),
        pytest.param([PARENT, CHILD, Effect("d", None, 0, 0)], STORED, "stray effects", id="a row of a dead job"),
        pytest.param([PARENT, CHILD, Effect("x", None, 0, 0)], STORED, "stray effects", id="of a cancelled one"),
        pytest.param([PARENT, CHILD, Effect("u", None, 0, 0)], STORED, "stray effects", id="of one nobody knows"),
        pytest.param([replace(PARENT, follow_ups=0), CHILD], STORED, "stray effects", id="a follow-up of nobody"),
        pytest.param([replace(PARENT, follow_ups=2), CHILD], STORED, "follow-ups lost", id="one follow-up of two"),
        pytest.param(
            [PARENT, CHILD, replace(CHILD, job="c2")], STORED | {"c2": DONE}, "follow-ups doubled", id="two jobs of one"
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_name(rows: Sequence[Effect], stored: Mapping[str, Row], wrong: str) -> None:
    found = account(rows, stored)

    assert {name: len(said) for name, said in found.wrong.items() if said} == {wrong: 1}
    assert not found.good
    assert f"{wrong} 1" in found.line


def test_a_wrong_effect_fails_the_run_and_is_in_its_account_and_closing_line() -> None:
    found = account([PARENT, PARENT, CHILD], STORED)
    nobody = WitnessQueue("", "", (), Path("events.jsonl"))

    ledger = settle((), {}, STORED, nobody, Asked({}), (), 7, [found], ["c"])

    assert not ledger.good
    assert ledger.maybe == 3, "a follow-up is no job whose submit broke off"
    assert ledger.line.endswith(f"faults 0, seed 7, effects 3, follow-ups 1, {NO_WRONG.replace('0', '1', 1)}")
    assert "doubled effects: 1\n  p has 2 rows" in report.account(ledger)


def test_what_psql_says_is_read() -> None:
    assert read("a|||2\nb|a|1|0\n") == [Effect("a", None, 0, 2), Effect("b", "a", 1, 0)]


EFFECTS = Size(20_000, 30, Stretch.EFFECTS)


@given(seed=st.integers())
def test_30_faults_hit_all_that_effects_stand_on_and_end_processes_on_both_sides_of_a_commit(seed: int) -> None:
    faults = plan.faults(seed, 30, 500, deck=plan.EFFECTS)

    hit = {fault.part for fault in faults if fault.kind in plan.HARD}
    assert hit == {Part.EFFECTS, Part.OWN_DATABASE, Part.DATABASE, Part.BROKER, Part.PRODUCER}
    assert Kind.CRASH in {fault.kind for fault in faults}
    assert {fault.part for fault in faults if fault.kind is Kind.CRASH} == {Part.EFFECTS}


def test_a_crash_is_before_the_commit_or_after_it() -> None:
    crashes = [fault for fault in plan.faults(1, 30, 500, deck=plan.EFFECTS) if fault.kind is Kind.CRASH]
    endings = {jobs.crash(fault).jobs[0].payload["ending"] for fault in (*crashes, *_crashes())}

    assert endings == {"crash", "crash after"}
    assert [fault.title.rpartition(" right ")[2] for fault in _crashes()] == ["before its COMMIT", "after its COMMIT"]
    assert jobs.crash(Fault(1, 0, Kind.CRASH, Part.ODD)).jobs[0].type == "crash"


def _crashes() -> list[Fault]:
    return [Fault(1, 0, Kind.CRASH, Part.EFFECTS, size=size) for size in (0, 1)]


def test_effects_end_in_every_way_and_their_handler_takes_them() -> None:
    made = [(batch.way, job) for batch in planned(1, "r", EFFECTS).batches for job in batch.jobs]

    payloads = [Payload.model_validate(job.payload) for _, job in made]
    assert (len(made), {job.part for _, job in made}) == (20_000, {Part.EFFECTS})
    assert {payload.ending for payload in payloads} == {"return", "reject", "raise after"}
    assert {payload.follow_ups for payload in payloads} == {0, 1, 2}
    assert {job.dead for _, job in made} == {True, False}
    cancelled = [way for way, job in made if job.cancel is not None]
    assert len(cancelled) > 1_500
    assert Way.AMQP not in cancelled, "the store may not know it yet"


@pytest.mark.parametrize(
    ("only", "needed"),
    [
        (Stretch.MIX, ()),
        (Stretch.EFFECTS, (Part.OWN_DATABASE,)),
        (Stretch.INSERTS, (Part.OWN_DATABASE, Part.FRONT, Part.INSERTS)),
        (None, (Part.OWN_DATABASE, Part.FRONT, Part.INSERTS)),
    ],
)
def test_what_a_stretch_needs_of_the_example(only: Stretch | None, needed: tuple[Part, ...]) -> None:
    assert beside(Size(20_000, 36, only)) == needed
