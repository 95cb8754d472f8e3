"""Handlers: a function for each type of job. The JobQueue names the object: `jobs:handlers`."""

from pydantic import BaseModel, Field

from leveret import Context, Handlers, Reject, Retry

handlers = Handlers()


class Greet(BaseModel):
    name: str = Field(min_length=1)
    times: int = 1


@handlers.job("greet", timeout=10, retry=Retry(max_attempts=3))
async def greet(ctx: Context, job: Greet) -> list[str]:
    if job.times > 100:
        raise Reject("nobody is greeted more than 100 times")
    greetings = []
    for number in range(job.times):
        greetings.append(f"Hello, {job.name}!")
        ctx.progress(number + 1, job.times)
    ctx.log.info("greeted", extra={"times": job.times})
    return greetings
