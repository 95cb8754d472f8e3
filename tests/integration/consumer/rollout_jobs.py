"""The handlers of one JobQueue before and after a deployment: a type is new, and a model has another required field."""

from pydantic import BaseModel

from leveret import Context, Handlers

old, new = Handlers(), Handlers()


class Order(BaseModel):
    item: str
    gift: bool | None = None


class OlderOrder(BaseModel):
    item: str
    address: str


@old.job("a")
@new.job("a")
async def known(ctx: Context, job: int) -> int:
    return job


@new.job("b")
async def brought(ctx: Context, job: int) -> int:
    return job


@old.job("order")
async def older(ctx: Context, job: OlderOrder) -> str:
    return "old"


@new.job("order")
async def newer(ctx: Context, job: Order) -> str:
    return "new"
