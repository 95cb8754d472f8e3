"""The handlers of the JobQueue `request-reply`: one type, `ask`."""

from pydantic import BaseModel

from leveret import Context, Handlers

handlers = Handlers()


class Asked(BaseModel):
    message: str


@handlers.job("ask", timeout=10)
async def ask(ctx: Context, job: Asked) -> str:
    """Answer; what is returned here is the reply that the front waits for."""
    return f"Consumer processed {job.message}"
