"""What a handler's exception, time-out or result means, in each pool, and on the way through a process's pipe."""

import asyncio
import importlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import Context, Handlers, Reject, Retry, RetryLater
from leveret.events import Error
from leveret.jobs import DeadReason, Envelope
from leveret.retry import RetryPolicy
from leveret.sdk.handlers import Handler, Pool
from leveret_consumer.ends import End, Failed, Failure, Postponed, Refused, Unfit
from leveret_consumer.outcome import LARGEST_RESULT, cancelled, checked, failure_of, timed_out
from leveret_consumer.pools import Call, LoopPool, ThreadPool, WorkPool, child
from leveret_consumer.pools.processes import ProcessPool

NETWORK = Retry(retry_on=(ConnectionError,))
NO_VALUES = Retry(give_up_on=(ValueError,))
NO_TIME_OUTS = Retry(give_up_on=(TimeoutError,))


def kind(end: object) -> str:
    return type(end).__name__ + (f" {end.reason}" if isinstance(end, Refused) else "")


RAISED = [
    pytest.param(ValueError(), None, "Failed", id="no policy of its own"),
    pytest.param(ValueError(), NETWORK, "Refused GaveUp", id="not among retry_on"),
    pytest.param(ConnectionResetError(), NETWORK, "Failed", id="below one of retry_on"),
    pytest.param(UnicodeError(), NO_VALUES, "Refused GaveUp", id="below one of give_up_on"),
    pytest.param(SystemExit(1), NETWORK, "Refused GaveUp", id="an exit is an exception too"),
    pytest.param(Reject("no"), NETWORK, "Refused Rejected", id="Reject is its own"),
    pytest.param(Reject("no"), None, "Refused Rejected", id="Reject, no policy"),
    pytest.param(RetryLater(5), NETWORK, "Postponed", id="RetryLater is its own"),
    pytest.param(RetryLater(5), Retry(give_up_on=(Exception,)), "Postponed", id="RetryLater, whatever is given up on"),
]


@pytest.mark.parametrize(("problem", "policy", "what"), RAISED)
def test_what_an_exception_means(problem: BaseException, policy: RetryPolicy | None, what: str) -> None:
    assert kind(failure_of(problem, policy)) == what


def end_of(result: bytes, policy: RetryPolicy | None) -> End:
    try:
        return checked(result)
    except ValueError as problem:
        return failure_of(problem, policy)


WITHOUT_AN_EXCEPTION = [
    pytest.param(timed_out(timedelta(seconds=9), None), "Failed", id="time-out"),
    pytest.param(timed_out(timedelta(seconds=9), NETWORK), "Refused GaveUp", id="time-out, not among retry_on"),
    pytest.param(
        timed_out(timedelta(seconds=9), Retry(retry_on=(TimeoutError,))), "Failed", id="time-out, in retry_on"
    ),
    pytest.param(timed_out(timedelta(seconds=9), NO_TIME_OUTS), "Refused GaveUp", id="time-out, in give_up_on"),
    pytest.param(cancelled(None), "Failed", id="cancelled"),
    pytest.param(cancelled(NETWORK), "Refused GaveUp", id="cancelled, not among retry_on"),
    pytest.param(end_of(b"x" * LARGEST_RESULT, NETWORK), "bytes", id="the largest result"),
    pytest.param(end_of(b"x" * (LARGEST_RESULT + 1), None), "Failed", id="a result above it"),
    pytest.param(end_of(b"x" * (LARGEST_RESULT + 1), NO_VALUES), "Refused GaveUp", id="which is a ValueError"),
]


@pytest.mark.parametrize(("end", "what"), WITHOUT_AN_EXCEPTION)
def test_what_else_ends_a_run(end: object, what: str) -> None:
    assert kind(end) == what


def test_the_errors_say_what_and_why() -> None:
    late, large = timed_out(timedelta(seconds=9), NO_TIME_OUTS), end_of(b"x" * (LARGEST_RESULT + 1), None)
    assert isinstance(late, Refused)
    assert isinstance(large, Failed)
    assert (late.error.reason, late.error.type) == ("GaveUp", "TimeoutError")
    assert late.error.message == "the attempt was not done within its time-out of 9s"
    assert (large.error.reason, large.error.type) == ("Failed", "ResultTooLarge")
    assert large.error.message.startswith("the result is 262,145 bytes of JSON, and at most 262,144 are kept")


def test_a_handlers_word_is_the_message_and_has_a_traceback_only_with_a_cause() -> None:
    assert failure_of(Reject("no such customer"), None).error == Error("Rejected", "no such customer", "Reject")
    assert failure_of(Reject(""), None).error.message == "the handler rejected the job and gave no reason"
    assert failure_of(RetryLater(90, "busy"), None).error == Error("Failed", "busy", "RetryLater")
    assert failure_of(RetryLater(90), None).error.message == "the handler asked to run again after 0:01:30"
    caused = Reject("no such customer")
    caused.__cause__ = KeyError("customer")
    assert "KeyError: 'customer'" in (failure_of(caused, None).error.traceback or "")


@pytest.mark.parametrize(("after", "wait"), [(2.5, 2.5), (timedelta(minutes=1), 60), (0, 0), (-1, -1)])
def test_a_wait_is_seconds_or_a_timedelta(after: Any, wait: float) -> None:
    assert RetryLater(after).after == timedelta(seconds=wait)


@pytest.mark.parametrize("one", [RetryLater, Reject])
def test_classes_that_decide_themselves_are_refused_in_a_policy(one: type[Exception]) -> None:
    with pytest.raises(ValueError, match="has no effect"):
        Retry(retry_on=(ValueError, one))
    with pytest.raises(ValueError, match="has no effect"):
        Retry(give_up_on=(one,))


UNFIT = Unfit(DeadReason.INVALID_PAYLOAD, "no")
errors = st.builds(Error, st.text(), st.text(), st.none() | st.text(), st.none() | st.text())
failures = (
    st.builds(Failed, errors)
    | st.builds(Postponed, errors, st.timedeltas())
    | st.builds(Refused, errors, st.sampled_from(DeadReason))
)


@given(failures | st.just(UNFIT))
def test_a_failure_crosses_the_pipe_as_it_is(failure: Failure | Unfit) -> None:
    assert child.read_frame.decode(child.encode(failure)) == failure


@pytest.fixture(scope="module")
def handlers() -> Iterator[Handlers]:
    """Of a module that the pool's processes import too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield importlib.import_module("ends_jobs").handlers


@pytest.fixture(scope="module")
def pools(handlers: Handlers) -> Iterator[dict[Pool, WorkPool]]:
    made: dict[Pool, WorkPool] = {
        Pool.LOOP: LoopPool(),
        Pool.THREAD: ThreadPool(2),
        Pool.PROCESS: ProcessPool(2, "ends_jobs:handlers", "text", timedelta(seconds=30)),
    }
    yield made
    for pool in made.values():
        pool.close()


ENDS = [
    pytest.param("reject", "Refused Rejected", id="reject"),
    pytest.param("later", "Postponed", id="later"),
    pytest.param("gives up", "Refused GaveUp", id="a class of the module's own, given up on"),
    pytest.param("fails", "Failed", id="a class that is tried again"),
    pytest.param("unlisted", "Refused GaveUp", id="a class that is not"),
    pytest.param("returns", "bytes", id="a result"),
    pytest.param("large", "Refused GaveUp", id="a result that is too large"),
]


def job(type: str, does: str) -> Envelope:
    return Envelope(UUID(int=1), "q", type, f'"{does}"'.encode())


def call(handler: Handler, job: Envelope, begun: Callable[[], object] = bool) -> Call:
    return Call(handler, Context(type=job.type), job, begun)


@pytest.mark.parametrize("pool", ["loop", "thread", "process"])
@pytest.mark.parametrize(("does", "what"), ENDS)
async def test_every_pool_tells_the_same(
    handlers: Handlers, pools: dict[Pool, WorkPool], pool: str, does: str, what: str
) -> None:
    handler = handlers[pool]
    work = await pools[handler.pool].start(call(handler, job(pool, does)))
    end = await asyncio.wait_for(work.done, 30)
    assert kind(end) == what
    if isinstance(end, Postponed):
        assert (end.wait, end.error.message) == (timedelta(hours=2), "the shop is closed")


@pytest.mark.parametrize("pool", ["loop", "thread", "process"])
async def test_a_payload_is_read_where_the_handler_runs_and_once(
    handlers: Handlers, pools: dict[Pool, WorkPool], pool: str
) -> None:
    handler, begun = handlers[f"reads in a {pool}"], list[str]()
    work = await pools[handler.pool].start(call(handler, job(handler.type, "me"), lambda: begun.append("begun")))
    where = await asyncio.wait_for(work.done, 30)
    here = [os.getpid(), threading.current_thread().name]
    assert isinstance(where, bytes)
    [process, thread] = json.loads(where)["where"]
    assert {"loop": [process, thread] == here, "thread": process == here[0] != thread, "process": process != here[0]}[
        pool
    ]
    assert json.loads(where)["times"] == 1
    assert begun == ["begun"]


@pytest.mark.parametrize("pool", ["loop", "thread", "process"])
async def test_a_payload_that_is_none_of_the_handlers_starts_nothing(
    handlers: Handlers, pools: dict[Pool, WorkPool], pool: str
) -> None:
    handler, begun = handlers[f"reads in a {pool}"], list[str]()
    for does, reason in (("nobody", DeadReason.INVALID_PAYLOAD), ('"', DeadReason.NOT_JSON)):
        work = await pools[handler.pool].start(call(handler, job(handler.type, does), lambda: begun.append("begun")))
        end = await asyncio.wait_for(work.done, 30)
        assert isinstance(end, Unfit)
        assert end.reason == reason
        assert end.detail
    assert begun == []


async def test_a_process_that_died_is_tried_again_whatever_the_classes(
    handlers: Handlers, pools: dict[Pool, WorkPool]
) -> None:
    handler = handlers["process"]
    work = await pools[Pool.PROCESS].start(call(handler, job("process", "dies")))
    end = await asyncio.wait_for(work.done, 30)
    assert isinstance(end, Failed)
    assert end.error.type == "ProcessDied"


async def test_a_process_whose_words_are_not_understood_is_one_failed_attempt_and_is_gone(
    handlers: Handlers, pools: dict[Pool, WorkPool]
) -> None:
    handler = handlers["process"]

    async def ends(does: str) -> object:
        work = await pools[Pool.PROCESS].start(call(handler, job("process", does)))
        await asyncio.wait({work.done}, timeout=30)
        return work.done.exception() or work.done.result()

    assert await ends("returns") == b'"done"'
    before = len(multiprocessing.active_children())
    assert isinstance(await ends("babbles"), msgspec.ValidationError)
    assert await ends("returns") == b'"done"'
    async with asyncio.timeout(30):
        while len(multiprocessing.active_children()) > before:  # noqa: ASYNC110 - a killed process takes a moment
            await asyncio.sleep(0.01)


async def test_only_the_job_that_a_process_still_has_is_stopped(
    handlers: Handlers, pools: dict[Pool, WorkPool]
) -> None:
    handler = handlers["process"]
    pool = ProcessPool(1, "ends_jobs:handlers", "text", timedelta(seconds=30))
    try:
        first = await pool.start(call(handler, job("process", "returns")))
        assert await asyncio.wait_for(first.done, 30) == b'"done"'
        second = await pool.start(call(handler, job("process", "sleeps")))
        assert first.stop
        first.stop()  # too late: its process has the second job now
        assert await asyncio.wait_for(second.done, 30) == b'"done"'
        third = await pool.start(call(handler, job("process", "sleeps")))
        assert third.stop
        third.stop()
        end = await asyncio.wait_for(third.done, 30)
        assert isinstance(end, Failed)
        assert "signal SIGKILL" in end.error.message
    finally:
        pool.close()


async def test_a_process_that_does_not_get_ready_is_killed_and_one_failed_attempt(
    handlers: Handlers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging_jobs.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = len(multiprocessing.active_children())
    pool = ProcessPool(1, "hanging_jobs:handlers", "text", timedelta(seconds=30), boots_within=0.5)
    try:
        work = await asyncio.wait_for(pool.start(call(handlers["process"], job("process", "returns"))), 30)
        end = await work.done
    finally:
        pool.close()
    assert isinstance(end, Failed)
    assert end.error.type == "ProcessNotReady"
    assert "had not imported the handlers after 0.5 s and was killed" in end.error.message
    async with asyncio.timeout(30):
        while len(multiprocessing.active_children()) > before:  # noqa: ASYNC110 - a killed process takes a moment
            await asyncio.sleep(0.01)
