"""Threads that nobody waits for, not even Python's end."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Daemons(Executor):
    """A thread for each call."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():  # and whoever cancels it later just doesn't wait
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as problem:  # noqa: BLE001 - whoever waits for it meets it
                future.set_exception(problem)

        threading.Thread(target=run, daemon=True).start()
        return future
