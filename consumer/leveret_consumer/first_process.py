"""Process 1 of a container: it waits for those that nobody else waits for.

A process whose parent has ended becomes a child of process 1, and when it ends, it's a zombie until process 1 waits for it.
Some thousands of them, and no process or thread can be started any more. The consumer can't wait for strangers itself: that
would take the exit codes that subprocess, multiprocessing and the event loop wait for. So where it would be process 1, it's
the only child of a process 1 that may wait for anybody, hands signals on, and ends as the consumer does. When it ends, the
kernel ends whatever is left in the container.

Nothing of ours is imported here: process 1 stays small, and what it shares with the consumer is never written to.
"""

import os
import signal

_FROM_KERNEL = 0x80  # SI_KERNEL: as of Ctrl-C on a terminal, which goes to the consumer, too


def leave_to_parent() -> None:
    """Return in a child, if this is process 1, which then stays behind; else return at once."""
    if os.getpid() != 1:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    consumer = os.fork()
    if consumer:
        os._exit(_serve(consumer))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(consumer: int) -> int:
    """Return the consumer's exit code, as a shell has it, when it has ended."""
    while True:
        came = signal.sigwaitinfo(signal.valid_signals())
        if came.si_signo != signal.SIGCHLD:
            if came.si_code != _FROM_KERNEL:
                os.kill(consumer, came.si_signo)
        elif (status := _reap(consumer)) is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _reap(consumer: int) -> int | None:
    """Wait for all that have ended: one signal may tell of many. Return the consumer's status if it's among them."""
    while True:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == consumer:
            return status
        if not child:
            return None
