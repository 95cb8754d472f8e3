"""What a handler's process does: import the handlers, then run what it's given, one job after the other.

Parent and child share one pipe that nobody else holds, and no lock: a child may be killed at any instruction, and all
that breaks is its own pipe. Payload and result cross it as JSON bytes, so nothing needs to be pickled.

The child leads a process group: whatever a handler starts is in it, and ends with it, unless it calls `setsid`. When the
consumer ends, however it does, the kernel kills the group.
"""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import sys
from datetime import datetime, timedelta
from multiprocessing.connection import Connection, wait
from threading import Lock, Timer
from time import monotonic
from typing import Literal

import msgspec

from leveret.lazy import absent

with absent("rich"):  # as the consumer itself
    from leveret.telemetry.logs import configure_logs

from leveret.jobs import Envelope
from leveret.sdk.follow_ups import FollowUp
from leveret.sdk.handlers import BadPayload, Handler
from leveret_consumer.ends import Failed, Failure, Postponed, Refused, Unfit, error_of
from leveret_consumer.loading import load_handlers
from leveret_consumer.outcome import checked, failure_of
from leveret_consumer.pools import commit_of, context_of

REPORT_EVERY = 0.1  # s; the parent thins out further


class Request(msgspec.Struct, frozen=True):
    job: Envelope
    max_attempts: int
    deadline: datetime


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The handlers are imported."""


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """The payload is read, and the handler starts."""


class Reported(msgspec.Struct, frozen=True, tag="reported"):
    done: float
    total: float | None


class Returned(msgspec.Struct, frozen=True, tag="returned"):
    result: bytes  # JSON
    submitted: tuple[FollowUp, ...] = ()


Frame = Ready | Begun | Reported | Returned | Failed | Postponed | Refused | Unfit
encode = msgspec.msgpack.Encoder().encode
read_request = msgspec.msgpack.Decoder(Request).decode
read_frame: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


def main(pipe: Connection, place: str, form: Literal["json", "text"], longest: float) -> None:
    """Serve the parent until it closes the pipe. `longest` is the JobQueue's time-out in seconds."""
    _lead_a_group()  # first: a group is what was started after it
    # What the handler forks must not answer in its parent's place, nor keep the pipe open.
    os.register_at_fork(after_in_child=pipe.close)
    # Ctrl-C goes to the consumer's group alone. Whoever sends it to all processes: the parent decides about a job that runs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logs(form)
    try:
        handlers = load_handlers(place, timedelta(seconds=longest))
    except BaseException as problem:  # noqa: BLE001 - importing runs the user's code
        pipe.send_bytes(encode(Failed(error_of(problem))))
        return
    pipe.send_bytes(encode(Ready()))
    while True:
        try:
            request = read_request(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        reports = _Reports(pipe)
        said = _run(handlers[request.job.type], request, reports, pipe)
        if pipe.closed:  # the handler has forked, and this is the copy, which has no parent to serve
            return
        try:
            reports.close()
            pipe.send_bytes(encode(said))
        except OSError:  # the parent is gone
            return


def _lead_a_group() -> None:
    """Make a process group that lives no longer than the consumer.

    Only the consumer holds the other end of the pipe behind its sentinel. When that is closed, the kernel sends SIGKILL,
    also to a handler that is stopped or never lets go of Python's lock. A thread that waits for it could not, and no fork
    of a handler would be safe beside it.
    """
    os.setpgid(0, 0)
    consumer = multiprocessing.parent_process()
    if sys.platform == "linux" and consumer is not None:
        with contextlib.suppress(
            OSError
        ):  # a sandbox's kernel may not know it; its container's end is the group's, too
            fcntl.fcntl(consumer.sentinel, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(consumer.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
            flags = fcntl.fcntl(consumer.sentinel, fcntl.F_GETFL)
            fcntl.fcntl(consumer.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)
        if wait([consumer.sentinel], timeout=0):  # it has ended before the signal was ordered
            sys.exit()


def _run(handler: Handler, request: Request, reports: "_Reports", pipe: Connection) -> Returned | Failure | Unfit:
    job = request.job
    try:
        payload = handler.read(job.body)
    except BadPayload as problem:
        return Unfit(problem.reason, str(problem))
    commit = commit_of(handler)
    context = context_of(job, request.max_attempts, request.deadline, reports, commit, pid=os.getpid())
    try:
        pipe.send_bytes(encode(Begun()))
        result = checked(handler.write(handler.function(context, payload)))
        return Returned(result, commit.close())
    except BaseException as problem:  # noqa: BLE001 - SystemExit too: the process serves on
        return failure_of(problem, handler.retry)


class _Reports:
    """Progress, at most ten times a second, the last value always."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = Lock()  # between the handler's threads and the timer's
        self._latest: Reported | None = None
        self._timer: Timer | None = None
        self._closed = False
        self._not_before = monotonic()

    def __call__(self, done: float, total: float | None) -> None:
        if self._pipe.closed:  # in a process that the handler has forked, perhaps while the lock was held
            return
        with self._lock:
            if self._closed:
                return
            self._latest = Reported(done, total)
            wait = self._not_before - monotonic()
            if wait <= 0:
                self._send()
            elif self._timer is None:
                self._timer = Timer(wait, self._late)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Send the last value. What a thread that the handler left behind says later belongs to no job any more."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            self._send()
            self._closed = True

    def _late(self) -> None:
        with self._lock:
            self._timer = None
            if not self._closed:
                self._send()

    def _send(self) -> None:
        latest, self._latest = self._latest, None
        if latest is not None:
            self._not_before = monotonic() + REPORT_EVERY
            self._pipe.send_bytes(encode(latest))
