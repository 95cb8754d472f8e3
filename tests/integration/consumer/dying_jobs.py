"""Handlers of a consumer that ends its process around its first reply: LEVERET_DIES says whether before or after it."""

import os
from typing import Any

from leveret import Context, Handlers
from leveret.rabbitmq.replies import Replies

handlers = Handlers()
send = Replies.send


@handlers.job("echo")
async def echo(ctx: Context, job: dict[str, Any]) -> object:
    return job["value"]


@handlers.job("fail")
async def fail(ctx: Context, job: dict[str, Any]) -> None:
    raise ValueError("as asked")


async def send_and_die(replies: Replies, *given: Any, **named: Any) -> bool:
    if os.environ.get("LEVERET_DIES") == "before":
        os._exit(137)
    confirmed = await send(replies, *given, **named)
    if os.environ.get("LEVERET_DIES") == "after":
        os._exit(137)
    return confirmed


Replies.send = send_and_die  # type: ignore[assignment,method-assign]
