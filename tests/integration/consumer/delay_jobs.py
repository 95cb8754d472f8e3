"""Handlers for tests of delays."""

from leveret import Context, Handlers, Retry, RetryLater

handlers = Handlers()


@handlers.job("later", retry=Retry(max_attempts=2))
async def later(ctx: Context, seconds: float) -> int:
    """Succeed in the second attempt, which is asked for in so many seconds."""
    if ctx.attempt == 1:
        raise RetryLater(seconds, "busy")
    return ctx.generation


@handlers.job("now")
async def now(ctx: Context, number: int) -> int:
    return number
