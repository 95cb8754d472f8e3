"""Handlers with `cpu=True`: a process per slot, kept from job to job, killed when it runs over its time.

A thread waits for each process that runs, until it answers or dies, so a crash, an `os._exit` or the kernel's
out-of-memory killer is one failed attempt with its cause, and nothing else. Its death is known by its sentinel: the pipe may
be open for longer, in a process that it has forked. A process that does anything unforeseen is killed: what it says next
would belong to no job, or to the wrong one. Killed is always its group, and so all that its handlers have started.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from multiprocessing.connection import wait
from threading import Lock
from typing import Literal

from leveret.events import Error
from leveret.sdk.commit import Commit
from leveret.sdk.context import ReportProgress
from leveret_consumer.ends import FAILED, End, Failed, Failure, Postponed, Refused, Unfit
from leveret_consumer.pools import Call, Work, child, submit

BOOTS_WITHIN = 60.0  # s; it imports the handlers
_EXIT_KNOWN_WITHIN = 5.0  # s after the pipe broke


class ProcessPool:
    """Processes are started when first needed, and again after one died. `place` is the handlers' module:object."""

    def __init__(
        self,
        slots: int,
        place: str,
        form: Literal["json", "text"],
        longest: timedelta,
        *,
        boots_within: float = BOOTS_WITHIN,
    ) -> None:
        # Not fork: this process has threads. A fork server's children share its imported modules' memory.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["leveret_consumer.pools.child"])
        self._arguments = (place, form, longest.total_seconds())
        self._boots_within = boots_within
        self._threads = ThreadPoolExecutor(slots + 1, thread_name_prefix="process")
        self._idle: list[Child] = []
        self._all: set[Child] = set()

    async def start(self, call: Call) -> Work:
        """Return once a process has taken the job: its boot is not on the job's time."""
        getting = submit(self._threads, self._ready_child)
        try:
            got = await asyncio.shield(getting)
        except asyncio.CancelledError:
            getting.add_done_callback(self._keep_for_later)
            raise
        if not isinstance(got, Child):
            failed: asyncio.Future[End] = asyncio.get_running_loop().create_future()
            failed.set_result(got)
            return Work(done=failed, stop=None)
        try:
            request = _request(call)
            got.serves(request)
            running = submit(self._threads, self._run, got, request, call)
        except BaseException:
            self._put_back(got)
            raise
        return Work(done=running, stop=partial(got.stop, request))

    def close(self) -> None:
        for one in list(self._all):
            one.kill()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ready_child(self) -> "Child | End":
        while self._idle:
            with contextlib.suppress(IndexError):
                if (one := self._idle.pop()).alive():
                    return one
                self._drop(one)
        one = Child(self._context, self._arguments)
        self._all.add(one)
        try:
            failure = one.boot(self._boots_within)
        except BaseException:
            one.kill()
            raise
        finally:
            if not one.alive():
                self._all.discard(one)
        return failure or one

    def _run(self, one: "Child", request: child.Request, call: Call) -> End:
        try:
            return one.run(request, call.context.report_progress, call.begun, call.context.commit)
        except BaseException:
            one.kill()
            raise
        finally:
            self._put_back(one)

    def _put_back(self, one: "Child") -> None:
        one.serves(None)
        if one.alive():
            self._idle.append(one)
        else:
            self._drop(one)

    def _drop(self, one: "Child") -> None:
        one.kill()  # what it has left behind
        self._all.discard(one)

    def _keep_for_later(self, getting: "asyncio.Future[Child | End]") -> None:
        if not getting.cancelled() and not getting.exception() and isinstance(one := getting.result(), Child):
            self._idle.append(one)


class Child:
    """One process and the pipe to it. Used by one thread at a time, except `stop` and `kill`."""

    def __init__(
        self,
        context: multiprocessing.context.ForkServerContext,
        arguments: tuple[str, Literal["json", "text"], float],
    ) -> None:
        self._pipe, theirs = context.Pipe()
        self._broken = False
        self._serves: child.Request | None = None
        self._changing = Lock()  # what it serves, against being stopped for it
        self._process = context.Process(target=child.main, args=(theirs, *arguments), name="handler")
        self._process.start()
        theirs.close()
        assert self._process.pid
        self._group = self._process.pid  # it leads it

    def boot(self, within: float) -> End | None:
        """Wait until it has imported the handlers; return what kept it from that."""
        end = self._read(_nothing, _nothing, Commit()) if self._speaks_or_dies(within) else _boots_too_long(within)
        if isinstance(end, bytes):
            return None
        self.kill()
        self._pipe.close()
        return end

    def run(self, request: child.Request, report: ReportProgress, begun: Callable[[], object], commit: Commit) -> End:
        try:
            self._pipe.send_bytes(child.encode(request))
        except OSError:
            return self._died()
        return self._read(report, begun, commit)

    def alive(self) -> bool:
        return not self._broken and self._process.is_alive()

    def serves(self, request: child.Request | None) -> None:
        """Note which job it has from now on, None for none."""
        with self._changing:
            self._serves = request

    def stop(self, request: child.Request) -> None:
        """Kill it if it still has this job: it may have ended it a moment ago, and have the next one."""
        with self._changing:
            if self._serves is request:
                self.kill()

    def kill(self) -> None:
        """End it with its group, or what is left of that: it takes a single call, so nothing forks its way out."""
        self._broken = True  # at once: the system takes a moment to tell that it is dead
        # There may be no group yet, or nobody in it, or nobody who is still ours.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, signal.SIGKILL)
        self._process.kill()

    def _speaks_or_dies(self, within: float | None = None) -> bool:
        return bool(wait([self._pipe, self._process.sentinel], within))

    def _read(self, report: ReportProgress, begun: Callable[[], object], commit: Commit) -> End:
        while True:
            self._speaks_or_dies()
            try:
                if not self._pipe.poll():  # what it said before its death counts
                    return self._died()
                frame = child.read_frame.decode(self._pipe.recv_bytes())
            except (EOFError, OSError):
                return self._died()
            match frame:
                case child.Reported(done, total):
                    report(done, total)
                case child.Returned(result, submitted):
                    commit.submitted = submitted
                    return result
                case Failed() | Postponed() | Refused() | Unfit():
                    return frame
                case child.Begun():
                    begun()
                case child.Ready():
                    return b""

    def _died(self) -> Failure:
        """No exception, so no class of a policy: it may have been a neighbour's memory, and is tried again."""
        self._broken = True
        self._pipe.close()
        self._process.join(_EXIT_KNOWN_WITHIN)
        return Failed(
            Error(
                reason=FAILED,
                type="ProcessDied",
                message=f"the handler's process {_died_of(self._process.exitcode)}; the attempt counts as failed, and a "
                "new process takes the next job",
            )
        )


def _boots_too_long(within: float) -> Failure:
    """Again no exception, so no class of a policy: whatever it waits for may be back at the next attempt."""
    return Failed(
        Error(
            reason=FAILED,
            type="ProcessNotReady",
            message=f"the handler's process had not imported the handlers after {within:g} s and was killed; the attempt "
            "counts as failed. Look at what the module does while it is imported: it may wait for something. If it needs "
            "longer, raise spec.consumer.startupTimeout (LEVERET_STARTUP_TIMEOUT)",
        )
    )


def _died_of(code: int | None) -> str:
    if code is None:
        return "closed its pipe, went on and was killed"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    memory = ": if nobody killed it, the container's memory limit did" if -code == signal.SIGKILL else ""
    return f"was ended by signal {name}{memory}"


def _request(call: Call) -> child.Request:
    context = call.begin()
    return child.Request(call.job, context.max_attempts, context.deadline)


def _nothing(*_: object) -> None:
    pass
