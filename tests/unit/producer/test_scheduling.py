"""When a job is asked to run, from what was posted."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from leveret.jobs import Envelope, State
from leveret_producer.problems import Refused
from leveret_producer.scheduling import run_times
from leveret_producer.store.jobs import NewJob
from leveret_producer.submission import Submission, read

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def _times(*jobs: dict[str, object]) -> list[datetime | None]:
    found = read(json.dumps([{"type": "t", "payload": 1, **job} for job in jobs]).encode())
    assert isinstance(found, list)
    return run_times(found, NOW, in_list=True)


GOOD = {
    "nothing": ({}, None),
    "null": ({"run_at": None, "delay": None}, None),
    "a time in UTC": ({"run_at": "2026-05-01T13:00:00Z"}, NOW + timedelta(hours=1)),
    "a time with an offset": ({"run_at": "2026-05-01T15:00:00.250+02:00"}, NOW + timedelta(hours=1, milliseconds=250)),
    "the past": ({"run_at": "1999-01-01T00:00:00Z"}, datetime(1999, 1, 1, tzinfo=UTC)),
    "a delay": ({"delay": "10m"}, NOW + timedelta(minutes=10)),
    "no delay": ({"delay": "0s"}, NOW),
    "the longest": ({"delay": "8784h"}, NOW + timedelta(days=366)),
    "a deadline": ({"deadline": "2026-05-01T12:00:00.001Z"}, None),
    "the last deadline": ({"deadline": "9999-12-31T23:59:59.999999Z"}, None),
    "a deadline after it": ({"delay": "10m", "deadline": "2026-05-01T14:10:00.001+02:00"}, NOW + timedelta(minutes=10)),
    "in the past, and a deadline": (
        {"run_at": "1999-01-01T00:00:00Z", "deadline": "2026-05-01T13:00:00Z"},
        datetime(1999, 1, 1, tzinfo=UTC),
    ),
}


@pytest.mark.parametrize(("asked", "time"), GOOD.values(), ids=GOOD.keys())
def test_a_time_is_read(asked: dict[str, object], time: datetime | None) -> None:
    assert _times(asked) == [time]


BAD = {
    "both": ({"run_at": "2026-05-01T13:00:00Z", "delay": "1h"}, "/1/delay"),
    "no offset": ({"run_at": "2026-05-01T13:00:00"}, "/1/run_at"),
    "no time": ({"run_at": "tomorrow"}, "/1/run_at"),
    "a number": ({"run_at": 1_777_000_000}, "/1/run_at"),
    "too far": ({"run_at": "2027-05-03T00:00:00Z"}, "/1/run_at"),
    "the end of time": ({"run_at": "9999-12-31T23:59:59-14:00"}, "/1/run_at"),
    "before time": ({"run_at": "0001-01-01T00:00:00+14:00"}, "/1/run_at"),
    "no duration": ({"delay": "soon"}, "/1/delay"),
    "a negative delay": ({"delay": "-5s"}, "/1/delay"),
    "a delay that is a number": ({"delay": 5}, "/1/delay"),
    "too long": ({"delay": "8785h"}, "/1/delay"),
    "a deadline that is now": ({"deadline": "2026-05-01T12:00:00Z"}, "/1/deadline"),
    "within the millisecond": ({"deadline": "2026-05-01T12:00:00.000999Z"}, "/1/deadline"),
    "a deadline long ago": ({"deadline": "0001-01-01T00:00:00Z"}, "/1/deadline"),
    "a deadline at run_at": (
        {"run_at": "2026-05-01T13:00:00Z", "deadline": "2026-05-01T13:00:00Z"},
        "/1/deadline",
    ),
    "a deadline before the delay": ({"delay": "1h", "deadline": "2026-05-01T12:30:00Z"}, "/1/deadline"),
    "a deadline, and a delay that is none": ({"delay": "x", "deadline": "2026-05-01T11:00:00Z"}, "/1/delay"),
    "a deadline without an offset": ({"deadline": "2026-05-01T13:00:00"}, "/1/deadline"),
    "a deadline that is a number": ({"deadline": 1_877_000_000}, "/1/deadline"),
    "a deadline that is a duration": ({"deadline": "30s"}, "/1/deadline"),
    "a deadline after the end of time": ({"deadline": "9999-12-31T23:59:59-14:00"}, "/1/deadline"),
    "a deadline before time": ({"deadline": "0001-01-01T00:00:00+14:00"}, "/1/deadline"),
    "a delay without end": ({"delay": "9" * 400 + "h"}, "/1/delay"),
}


@pytest.mark.parametrize(("asked", "pointer"), BAD.values(), ids=BAD.keys())
def test_a_time_that_can_not_be_meant_is_refused_with_its_place(asked: dict[str, object], pointer: str) -> None:
    with pytest.raises(Refused) as refused:
        _times({}, asked)
    problem = refused.value.problem
    assert (problem.status, [flaw.pointer for flaw in problem.errors or []]) == (422, [pointer])
    assert "Nothing was stored" in problem.detail


def test_all_jobs_of_a_list_are_looked_at_and_a_single_one_has_no_index() -> None:
    with pytest.raises(Refused) as refused:
        _times({"delay": "x"}, {}, {"delay": "9999h"})
    assert [flaw.pointer for flaw in refused.value.problem.errors or []] == ["/0/delay", "/2/delay"]
    with pytest.raises(Refused) as refused:
        run_times([Submission("t", msgspec.Raw(b"1"), delay="x")], NOW, in_list=False)
    assert [flaw.pointer for flaw in refused.value.problem.errors or []] == ["/delay"]


def test_only_a_job_that_waits_is_scheduled() -> None:
    one = Envelope(UUID(int=1), "q", "t", b"1")
    assert NewJob(one, 5, run_at=NOW).state is State.ACCEPTED
    assert NewJob(one, 5, run_at=NOW, due_at=NOW).state is State.SCHEDULED
