"""When a job may run: `run_at` or `delay` of a submission, as a time, which must be before its deadline. The clock is an argument."""

from collections.abc import Sequence
from datetime import UTC, datetime

from leveret.delays import LATEST
from leveret.durations import parse_duration
from leveret.wire import deadline_of
from leveret_producer.problems import Flaw
from leveret_producer.submission import Submission, invalid

LONGEST_DELAY = 100  # characters


def run_times(asked: Sequence[Submission], now: datetime, *, in_list: bool, first: int = 0) -> list[datetime | None]:
    """Return for each job when it was asked to run; None: at once. Raise Refused for what can't be meant.

    `first` is the index of the first of them, where these are a part of a list.
    """
    times: list[datetime | None] = []
    flaws: list[Flaw] = []
    for index, job in enumerate(asked, first):
        pointer = f"/{index}" if in_list else ""
        found = _run_time(job, now, pointer)
        if not isinstance(found, Flaw) and job.deadline is not None:
            found = _in_time(job.deadline, found, now, pointer)
        if isinstance(found, Flaw):
            flaws.append(found)
        else:
            times.append(found)
    if flaws:
        raise invalid(flaws)
    return times


def _run_time(job: Submission, now: datetime, pointer: str) -> datetime | Flaw | None:
    if job.run_at is None and job.delay is None:
        return None
    if job.run_at is not None and job.delay is not None:
        return Flaw(f"{pointer}/delay", "is given beside run_at; send one of the two")
    field = "run_at" if job.delay is None else "delay"
    if len(job.delay or "") > LONGEST_DELAY:
        return Flaw(f"{pointer}/{field}", "is not a duration: write a number and one of ms, s, m, h, such as 30s")
    try:
        wait = job.run_at - now if job.run_at is not None else parse_duration(job.delay or "")
        if wait > LATEST:
            return Flaw(f"{pointer}/{field}", f"is more than {LATEST.days} days ahead, the longest that a job can wait")
        return job.run_at.astimezone(UTC) if job.run_at is not None else now + wait
    except OverflowError:
        return Flaw(f"{pointer}/{field}", f"is not within {LATEST.days} days from now")
    except ValueError as problem:
        return Flaw(f"{pointer}/{field}", str(problem))


def _in_time(deadline: datetime, run_at: datetime | None, now: datetime, pointer: str) -> datetime | Flaw | None:
    """Return `run_at` if the job can run before its deadline."""
    field = f"{pointer}/deadline"
    try:
        deadline = deadline_of(deadline)
    except OverflowError:
        return Flaw(field, "is no time in UTC")
    if deadline <= now:
        return Flaw(field, f"has passed: it is {now.isoformat(timespec='milliseconds')} here")
    if run_at is not None and deadline <= run_at:
        return Flaw(field, f"is not after the time that the job waits for, {run_at.isoformat(timespec='milliseconds')}")
    return run_at
