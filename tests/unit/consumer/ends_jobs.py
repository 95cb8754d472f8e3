"""Handlers that end as the payload says, one in each pool, under one policy."""

import os
import threading
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

from leveret import Context, Handlers, Reject, Retry, RetryLater

handlers = Handlers()


class Closed(ConnectionError):
    """A class that only this module knows."""


@dataclass
class Reads:
    """Where a payload was read, and how often so far in that thread."""

    where: tuple[int, str]
    times: int


def read(name: str) -> Reads:
    if name == "nobody":
        raise ValueError("nobody is nobody's name")
    times.reads = getattr(times, "reads", 0) + 1
    return Reads((os.getpid(), threading.current_thread().name), times.reads)


times = threading.local()
Name = Annotated[Reads, BeforeValidator(read)]
policy = Retry(retry_on=(ConnectionError,), give_up_on=(Closed,))


def end(does: str) -> str:
    match does:
        case "reject":
            raise Reject("no such customer")
        case "later":
            raise RetryLater(7200, "the shop is closed")
        case "gives up":
            raise Closed
        case "fails":
            raise ConnectionResetError
        case "unlisted":
            raise KeyError(does)
        case "large":
            return "x" * 300_000
        case "sleeps":
            time.sleep(0.3)
            return "done"
        case "dies":
            os._exit(3)
        case _:
            return "done"


@handlers.job("loop", retry=policy)
async def on_the_loop(ctx: Context, job: str) -> str:
    return end(job)


@handlers.job("thread", retry=policy)
def in_a_thread(ctx: Context, job: str) -> str:
    return end(job)


@handlers.job("process", retry=policy, cpu=True)
def in_a_process(ctx: Context, job: str) -> str:
    if job == "babbles":
        ctx.report_progress(Decimal(1), None)  # type: ignore[arg-type] # past the check; it crosses the pipe as a text
    return end(job)


@handlers.job("reads in a loop")
async def reads_on_the_loop(ctx: Context, job: Name) -> Reads:
    return job


@handlers.job("reads in a thread")
def reads_in_a_thread(ctx: Context, job: Name) -> Reads:
    return job


@handlers.job("reads in a process", cpu=True)
def reads_in_a_process(ctx: Context, job: Name) -> Reads:
    return job
