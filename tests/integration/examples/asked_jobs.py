"""The handler of request_reply, and beside it what never happens to it: a job that dies, one that is slow, another's answer."""

import asyncio

from examples.request_reply.handlers import Asked
from examples.request_reply.handlers import ask as answered
from leveret import Context, Handlers, Reject

handlers = Handlers()


@handlers.job("ask")
async def ask(ctx: Context, job: Asked) -> object:
    match job.message:
        case "die":
            raise Reject("told to")
        case "slow":
            await asyncio.sleep(20)
        case "other":
            return {"a": [1]}
    return await answered(ctx, job)
