"""A caller that waits for the end of its call."""

import asyncio

from leveret.client.rpc.calls import Call
from leveret.client.rpc.errors import CallError
from leveret.client.rpc.messages import Reply, Request


class Waiter:
    """What was asked, and the future that is waited on."""

    __slots__ = ("asked", "future")

    def __init__(self, asked: Request, future: "asyncio.Future[Reply]") -> None:
        self.asked, self.future = asked, future

    def wake(self, what: Reply | BaseException) -> None:
        if self.future.done():
            return
        if isinstance(what, Reply):
            self.future.set_result(what)
        else:
            self.future.set_exception(what)
            self.future.exception()  # known, also where the caller is cancelled in this moment


def error(kind: type[CallError], because: str, call: Call[Waiter]) -> CallError:
    return kind(because, call.published, call.waiter.asked.job)
