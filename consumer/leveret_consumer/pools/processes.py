"""Handlers with `cpu=True`: a process per slot, kept from job to job, killed when it runs over its time.

A thread waits for each process that runs: a blocking read ends when the process answers and when it dies, so a crash,
an `os._exit` or the kernel's out-of-memory killer is one failed attempt with its cause, and nothing else.
"""

import asyncio
import contextlib
import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Literal

from leveret.events import Error
from leveret.sdk.context import ReportProgress
from leveret_consumer.ends import End, Failed, Failure, Postponed, Refused
from leveret_consumer.failures import FAILED
from leveret_consumer.pools import child
from leveret_consumer.pools.work import Call, Work

_EXIT_KNOWN_WITHIN = 5.0  # s after the pipe broke


class ProcessPool:
    """Processes are started when first needed, and again after one died. `place` is the handlers' module:object."""

    def __init__(self, slots: int, place: str, form: Literal["json", "text"], longest: timedelta) -> None:
        # Not fork: this process has threads. A fork server's children share its imported modules' memory.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["leveret_consumer.pools.child"])
        self._arguments = (place, form, longest.total_seconds())
        self._threads = ThreadPoolExecutor(slots + 1, thread_name_prefix="process")
        self._idle: list[Child] = []
        self._all: set[Child] = set()

    async def start(self, call: Call) -> Work:
        """Return once a process has taken the job: its boot is not on the job's time."""
        getting = asyncio.wrap_future(self._threads.submit(self._ready_child))
        try:
            got = await asyncio.shield(getting)
        except asyncio.CancelledError:
            getting.add_done_callback(self._keep_for_later)
            raise
        if not isinstance(got, Child):
            failed: asyncio.Future[End] = asyncio.get_running_loop().create_future()
            failed.set_result(got)
            return Work(ended=failed, stop=None)
        running = self._threads.submit(self._run, got, _request(call), call.context.report_progress)
        return Work(ended=asyncio.wrap_future(running), stop=got.kill)

    def close(self) -> None:
        for one in list(self._all):
            one.kill()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ready_child(self) -> "Child | Failure":
        while self._idle:
            with contextlib.suppress(IndexError):
                if (one := self._idle.pop()).alive():
                    return one
                self._all.discard(one)
        one = Child(self._context, self._arguments)
        self._all.add(one)
        if failure := one.boot():
            self._all.discard(one)
            return failure
        return one

    def _run(self, one: "Child", request: child.Request, report: ReportProgress) -> End:
        end = one.run(request, report)
        if one.alive():
            self._idle.append(one)
        else:
            self._all.discard(one)
        return end

    def _keep_for_later(self, getting: "asyncio.Future[Child | Failure]") -> None:
        if not getting.cancelled() and not getting.exception() and isinstance(one := getting.result(), Child):
            self._idle.append(one)


class Child:
    """One process and the pipe to it. Used by one thread at a time, except `kill`."""

    def __init__(
        self,
        context: multiprocessing.context.ForkServerContext,
        arguments: tuple[str, Literal["json", "text"], float],
    ) -> None:
        self._pipe, theirs = context.Pipe()
        self._broken = False
        self._process = context.Process(target=child.main, args=(theirs, *arguments), name="handler")
        self._process.start()
        theirs.close()  # so that a read ends when the process does

    def boot(self) -> Failure | None:
        """Wait until it has imported the handlers; return what kept it from that."""
        end = self._read(_no_report)
        return None if isinstance(end, bytes) else end

    def run(self, request: child.Request, report: ReportProgress) -> End:
        try:
            self._pipe.send_bytes(child.encode(request))
        except OSError:
            return self._died()
        return self._read(report)

    def alive(self) -> bool:
        return not self._broken and self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()

    def _read(self, report: Callable[[float, float | None], None]) -> End:
        while True:
            try:
                frame = child.read_frame.decode(self._pipe.recv_bytes())
            except (EOFError, OSError):
                return self._died()
            match frame:
                case child.Reported(done, total):
                    report(done, total)
                case child.Returned(result):
                    return result
                case Failed() | Postponed() | Refused():
                    return frame
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
                message=f"the handler's process {_ended(self._process.exitcode)}; the attempt counts as failed, and a "
                "new process takes the next job",
            )
        )


def _ended(code: int | None) -> str:
    if code is None:
        return "closed its pipe and goes on"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    memory = ": if nobody killed it, the container's memory limit did" if -code == signal.SIGKILL else ""
    return f"was ended by signal {name}{memory}"


def _request(call: Call) -> child.Request:
    return child.Request(call.job, call.context.max_attempts, call.context.deadline)


def _no_report(done: float, total: float | None) -> None:
    pass
