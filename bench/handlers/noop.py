"""A job that does nothing at all: not even the log line of `examples.bench`. What is left is what Leveret costs."""

from leveret import Context, Handlers

handlers = Handlers()


@handlers.job("noop")
async def noop(ctx: Context, job: dict[str, object]) -> None:
    pass
