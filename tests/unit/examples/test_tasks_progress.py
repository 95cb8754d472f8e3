"""What reports make of a task's row: whatever their order, and however often each comes."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.tasks.progress import LONGEST_ERROR, Progress, Report, Status, Step, merge

TASK = UUID(int=7)
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


def report(step: Step, attempt: int = 1, generation: int = 1, run: int = 1, error: str | None = None) -> Report:
    ended = at(attempt * 10 + 5) if step >= Step.DONE else None
    return Report(
        task=TASK, run=run, generation=generation, attempt=attempt, step=step, started_at=at(attempt * 10),
        finished_at=ended, error=error,
    )  # fmt: skip


def after(*reports: Report, row: Progress | None = None) -> Progress:
    row = row or Progress()
    for one in reports:
        row = merge(row, one)
    return row


STARTED, RAISED, DONE, DEAD = Step


@pytest.mark.parametrize(
    ("reports", "status", "error", "finished"),
    [
        pytest.param([], Status.NEW, None, False, id="nothing yet"),
        pytest.param([report(STARTED)], Status.RUNNING, None, False, id="it has started"),
        pytest.param([report(RAISED, error="no")], Status.RUNNING, "no", False, id="an error, and another attempt"),
        pytest.param([report(RAISED, error="no"), report(STARTED, 2)], Status.RUNNING, None, False, id="the next one"),
        pytest.param([report(DONE), report(STARTED)], Status.DONE, None, True, id="the start comes last"),
        pytest.param([report(DEAD, 5, error="killed")], Status.FAILED, "killed", True, id="killed, and told nothing"),
        pytest.param([report(DEAD, 5), report(DONE, 4)], Status.FAILED, None, True, id="an end of an attempt before"),
        pytest.param([report(DEAD, 5), report(STARTED, 1, 2)], Status.RUNNING, None, False, id="a redrive"),
        pytest.param([report(DONE, 1, 2), report(DEAD, 5)], Status.DONE, None, True, id="the redrive was faster"),
        pytest.param([report(DONE, run=2)], Status.NEW, None, False, id="a run that the row has not begun"),
    ],
)
def test_a_row_after_reports(reports: list[Report], status: Status, error: str | None, finished: bool) -> None:
    row = after(*reports)
    assert (row.status, row.error, row.finished_at is not None) == (status, error, finished)


def test_a_run_before_says_nothing_of_this_one() -> None:
    again = Progress(run=2)
    assert after(report(DONE), report(DEAD, 9, 9), row=again) == again


def test_it_began_when_it_first_began_and_a_dead_letter_that_knows_no_start_takes_none_away() -> None:
    dead = report(DEAD, 3).model_copy(update={"started_at": None})
    assert after(report(STARTED, 2), report(STARTED), dead).started_at == at(10)


def test_of_an_error_is_kept_what_the_database_can_hold() -> None:
    error = after(report(RAISED, error="a\0\ud800" + "x" * 9_999)).error
    assert error is not None
    assert error[:4] == "a?xx"
    assert len(error) == LONGEST_ERROR


some_reports = st.lists(
    st.builds(
        Report, task=st.just(TASK), run=st.integers(1, 3), generation=st.integers(1, 2), attempt=st.integers(1, 3),
        step=st.sampled_from(Step), started_at=st.none() | st.integers(0, 9).map(at),
        finished_at=st.none() | st.integers(0, 9).map(at), error=st.none() | st.sampled_from(["a", "b"]),
    )
)  # fmt: skip


@given(some_reports, st.data())
def test_every_order_with_any_duplicates_leads_to_the_same_row(reports: list[Report], data: st.DataObject) -> None:
    duplicates = data.draw(st.lists(st.sampled_from(reports))) if reports else []
    shuffled = data.draw(st.permutations([*reports, *duplicates]))
    row = Progress(run=2)
    assert after(*shuffled, row=row) == after(*reports, row=row)


@given(some_reports)
def test_a_row_only_goes_forward_and_is_that_of_the_furthest_report(reports: list[Report]) -> None:
    rows = [Progress(run=2)]
    for one in reports:
        rows.append(merge(rows[-1], one))
    places = [(row.generation, row.attempt, row.step) for row in rows]
    assert all(one <= next_one for one, next_one in pairwise(places))
    mine = [one for one in reports if one.run == 2]
    assert places[-1] == max(((one.generation, one.attempt, int(one.step)) for one in mine), default=(0, 0, 0))


@given(some_reports)
def test_cancelled_is_final(reports: list[Report]) -> None:
    cancelled = Progress(Status.CANCELLED, run=2, finished_at=NOON)
    assert after(*reports, row=cancelled) == cancelled
