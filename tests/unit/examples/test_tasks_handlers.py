"""What service B's handlers tell of an attempt, before and after its work, and that nothing is done untold."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from examples.tasks.handlers import told, told_from_a_process
from examples.tasks.progress import Job, Report, Step
from examples.tasks.reports import died, last_word
from leveret import Context, DeadLetterInfo, Reject

JOB = Job(task=UUID(int=7), run=2, seconds=0)
CTX = Context(attempt=3, generation=2)


class Told(list[tuple[Step, str | None]]):
    """What was told; telling a `deaf` step fails."""

    def __init__(self, deaf: Step | None = None) -> None:
        self.deaf = deaf

    def hear(self, report: Report) -> None:
        if report.step is self.deaf:
            raise ConnectionError("nobody hears")
        assert (report.task, report.run, report.generation, report.attempt) == (JOB.task, 2, 2, 3)
        assert report.started_at is not None
        assert (report.finished_at is not None) is (report.step is Step.DONE)
        self.append((report.step, report.error))

    async def hear_in_loop(self, report: Report) -> None:
        self.hear(report)


async def in_the_loop(heard: Told, work: Callable[[], object]) -> None:
    async with told(CTX, JOB, heard.hear_in_loop):
        work()


async def in_a_process(heard: Told, work: Callable[[], object]) -> None:
    with told_from_a_process(CTX, JOB, heard.hear):
        work()


def fails() -> None:
    raise ValueError("no")


STORY = [
    pytest.param(None, list, None, [(Step.STARTED, None), (Step.DONE, None)], id="it works"),
    pytest.param(None, fails, ValueError, [(Step.STARTED, None), (Step.RAISED, "ValueError: no")], id="it fails"),
    pytest.param(Step.STARTED, pytest.fail, ConnectionError, [], id="the start can't be told: no work is done"),
    pytest.param(Step.DONE, list, ConnectionError, [(Step.STARTED, None)], id="the end can't be told: it has failed"),
    pytest.param(Step.RAISED, fails, ConnectionError, [(Step.STARTED, None)], id="nor can the error"),
]


@pytest.mark.parametrize("run", [in_the_loop, in_a_process])
@pytest.mark.parametrize(("deaf", "work", "raised", "wanted"), STORY)
async def test_what_is_told(
    run: Callable[..., object], deaf: Step | None, work: Callable[[], object],
    raised: type[Exception] | None, wanted: list[tuple[Step, str | None]],
) -> None:  # fmt: skip
    heard = Told(deaf)
    if raised:
        with pytest.raises(raised):
            await run(heard, work)  # type: ignore[misc]
    else:
        await run(heard, work)  # type: ignore[misc]
    assert heard == wanted


NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
DEAD = DeadLetterInfo(UUID(int=9), "leveret.tasks", "AttemptsExhausted", "killed", 5, NOON, NOON, generation=3)


def test_a_dead_letter_is_the_last_word_of_its_generation() -> None:
    report = last_word(DEAD, JOB, datetime.max.replace(tzinfo=UTC))
    assert (report.task, report.run, report.generation, report.attempt, report.step) == (JOB.task, 2, 3, 5, Step.DEAD)
    assert (report.started_at, report.finished_at) == (NOON, NOON)
    assert report.error == "AttemptsExhausted: killed"
    by_broker = last_word(DeadLetterInfo(UUID(int=9), "leveret.tasks", None, None, 0), JOB, NOON)
    assert (by_broker.started_at, by_broker.finished_at, by_broker.error) == (None, NOON, "unknown")


@pytest.mark.parametrize("payload", [None, [], {}, {"task": "7"}, {"task": str(JOB.task), "run": -1, "seconds": 0}])
async def test_a_dead_letter_of_no_task_is_left_to_leveret(payload: object, caplog: pytest.LogCaptureFixture) -> None:
    await died(Context(dead_letter=DEAD), payload)
    assert "of no task" in caplog.text


async def test_a_task_that_is_no_dead_letter_is_refused_by_service_a() -> None:
    with pytest.raises(Reject, match="no dead letter"):
        await died(Context(), {"task": str(JOB.task), "run": 1, "seconds": 0})
