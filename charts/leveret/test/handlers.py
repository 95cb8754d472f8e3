"""The handler of `helm test`: what comes in goes out."""

from pydantic import RootModel

from leveret import Context, Handlers

handlers = Handlers()


@handlers.job("echo")
async def echo(ctx: Context, job: RootModel[str]) -> str:
    return job.root
