"""Follow-ups as values: their ids are the same in each run of their parent, and what can't be one is refused at once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import Context, TransactionRefused
from leveret.client import NewJob, Unsendable
from leveret.jobs import made_at
from leveret.sdk.commit import Commit
from leveret.sdk.submitting import MOST, MOST_BYTES, follow_up
from leveret.sdk.transactions.steps import Steps

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
V7 = UUID("019ab000-1234-7abc-8abc-0123456789ab")
V4 = UUID("5ba8cd31-6f3c-4a1c-9d4b-2b4f60a5a1d7")
PARENT = Context(job_id=V7, queue="leveret.shop")


def submitted(**fields: Any) -> list[UUID]:
    """Submit all kinds in one run; return their ids."""
    ctx = Context(**{"job_id": V7, "queue": "leveret.shop"} | fields)
    return [
        ctx.submit("mail", {"to": 1}),
        ctx.submit("mail", {"to": 2}),
        ctx.submit("post", {"to": 1}),
        ctx.submit("mail", {"to": 1}, queue="leveret.mailer"),
        ctx.submit("mail", {"to": 1}),
        ctx.submit("mail", {"to": 1}, delay="10s"),
    ]


def test_ids_are_the_same_in_each_run_and_others_for_what_is_another_one() -> None:
    ids = submitted()
    assert submitted(attempt=2, delivery=3) == ids
    assert len({*ids, *submitted(generation=2), *submitted(job_id=UUID(int=V7.int + 1))}) == 3 * len(ids)
    assert ids[0] == UUID("019ab000-1234-7d4a-9b78-625408fdd811"), "also after an update: a mark's follow-ups stay"


@given(st.uuids(version=4), st.integers(0, 2**48 - 1), st.text(max_size=3))
def test_an_id_has_its_parents_millisecond(seed: UUID, millisecond: int, text: str) -> None:
    parent = UUID(int=(seed.int & ((1 << 80) - 1) & ~(0xF << 76)) | millisecond << 80 | 7 << 76)
    ctx = Context(job_id=parent)
    for one in (ctx.submit("t", text), ctx.submit("t", text)):
        assert (one.version, one.variant, made_at(one)) == (7, parent.variant, made_at(parent))


@pytest.mark.parametrize(
    ("submitted_at", "version", "at"),
    [
        pytest.param(NOON, 7, NOON, id="when its message was submitted"),
        pytest.param(None, 8, None, id="nobody knows when"),
    ],
)
def test_the_ids_of_a_parent_that_has_no_uuidv7(submitted_at: datetime | None, version: int, at: object) -> None:
    ids = submitted(job_id=V4, submitted_at=submitted_at)
    assert ids == submitted(job_id=V4, submitted_at=submitted_at)
    assert ({one.version for one in ids}, {made_at(one) for one in ids}, len(set(ids))) == ({version}, {at}, len(ids))


def test_what_is_noted() -> None:
    ctx, soon = Context(job_id=V7, queue="leveret.shop"), datetime.now(UTC) + timedelta(hours=1)
    first, second = ctx.submit("mail", {"to": 1}), ctx.submit("mail", None, queue="leveret.mailer", run_at=soon)
    assert [(one.id, one.queue, one.type, one.payload, one.run_at) for one in ctx.commit.submitted] == [
        (first, "leveret.shop", "mail", b'{"to":1}', None),
        (second, "leveret.mailer", "mail", b"null", soon),
    ]


HOUR = timedelta(hours=1)
DUE = [
    pytest.param({}, None, id="at once"),
    pytest.param({"run_at": NOON + HOUR}, NOON + HOUR, id="at a time"),
    pytest.param({"run_at": NOON}, None, id="at a time that is over"),
    pytest.param({"delay": HOUR}, NOON + HOUR, id="after a while"),
    pytest.param({"delay": "250ms"}, NOON + timedelta(milliseconds=250), id="as a text"),
    pytest.param({"delay": timedelta()}, None, id="after no while"),
    pytest.param({"delay": timedelta(days=366)}, NOON + timedelta(days=366), id="after the longest while"),
]


@pytest.mark.parametrize(("asked", "run_at"), DUE)
def test_when_it_runs(asked: dict[str, Any], run_at: datetime | None) -> None:
    one = follow_up(PARENT, NewJob("t", 1, **asked), None, NOON)
    assert one.run_at == run_at


BAD = [
    pytest.param(NewJob("t", object()), None, "no JSON for a value of type object", id="a payload that is no JSON"),
    pytest.param(NewJob("t", float("nan")), None, "NaN or infinite", id="NaN"),
    pytest.param(NewJob("t", "x" * (256 << 10)), None, "256 KiB is the most", id="too large"),
    pytest.param(NewJob("", 1), None, "the type of the follow-up is a text of 1 to 255 bytes", id="no type"),
    pytest.param(NewJob("ü" * 128, 1), None, "the type of the follow-up is a text of 1 to", id="a long type"),
    pytest.param(NewJob(7, 1), None, "is no text, but 7", id="a type that is a number"),  # type: ignore[arg-type]
    pytest.param(NewJob("t", 1), "q" * 256, "the queue of the follow-up is a text of 1 to", id="a long queue"),
    pytest.param(NewJob("t", 1), "\ud800", "the queue of the follow-up", id="half of a surrogate pair"),
    pytest.param(NewJob("t", 1), "", "the queue of the follow-up", id="no queue"),
    pytest.param(NewJob("t", 1, run_at=NOON, delay="1s"), None, "both a run_at and a delay", id="both"),
    pytest.param(NewJob("t", 1, delay="soon"), None, "is not a duration", id="a delay that is none"),
    pytest.param(NewJob("t", 1, delay=-HOUR), None, "from 0 on", id="a negative delay"),
    pytest.param(NewJob("t", 1, delay="999999999999h"), None, "more than 366 days", id="beyond any time"),
    pytest.param(NewJob("t", 1, run_at=NOON + 367 * 24 * HOUR), None, "more than 366 days", id="too far"),
    pytest.param(NewJob("t", 1, run_at=datetime(2030, 1, 1)), None, "no datetime with an offset", id="no offset"),  # noqa: DTZ001
]


@pytest.mark.parametrize(("job", "queue", "says"), BAD)
def test_what_can_not_be_one_is_refused_where_it_is_submitted(job: NewJob, queue: str | None, says: str) -> None:
    with pytest.raises(Unsendable, match=says):
        follow_up(PARENT, job, queue, NOON)


def test_how_many_there_may_be() -> None:
    ctx = Context()
    for n in range(MOST):
        ctx.submit("t", n)
    with pytest.raises(Unsendable, match="at most 1,000 follow-ups"):
        ctx.submit("t", MOST)
    assert len(ctx.commit.submitted) == MOST


def test_how_much_there_may_be() -> None:
    ctx, payload = Context(), "x" * ((256 << 10) - 2)
    for _ in range(MOST_BYTES >> 18):
        ctx.submit("t", payload)
    with pytest.raises(Unsendable, match="8 MiB"):
        ctx.submit("t", 1)
    assert sum(len(one.payload) for one in ctx.commit.submitted) == MOST_BYTES


def test_threads_that_submit_the_same_at_once_have_ids_of_their_own() -> None:
    ctx = Context(job_id=V7)
    with ThreadPoolExecutor(8) as threads:
        ids = [one.result() for one in [threads.submit(ctx.submit, "t", 1) for _ in range(400)]]
    again = Context(job_id=V7)
    assert {*ids} == {again.submit("t", 1) for _ in range(400)}
    assert len(ctx.commit.submitted) == len({*ids}) == 400


@pytest.mark.parametrize("over", [lambda commit: asyncio.run(commit.settled()), Commit.close], ids=["here", "process"])
def test_a_thread_that_outlives_its_attempt_is_told_that_it_submits_nothing(over: Any) -> None:
    ctx = Context()
    kept = ctx.submit("t", 1)
    over(ctx.commit)
    with pytest.raises(RuntimeError, match="the attempt is over"):
        ctx.submit("t", 2)
    assert [one.id for one in ctx.commit.submitted] == [kept]


def test_a_handler_that_is_cancelled_and_ends_well_all_the_same_may_submit() -> None:
    ctx = Context()
    ctx.commit.cancel()
    one = ctx.submit("t", 1)
    assert [kept.id for kept in ctx.commit.submitted] == [one]


def test_those_of_a_transaction_belong_into_its_block() -> None:
    engine: Any = SimpleNamespace()
    with pytest.raises(TransactionRefused, match="belongs inside the block"):
        Steps(engine, Context()).submit(NewJob("t", 1), None)
