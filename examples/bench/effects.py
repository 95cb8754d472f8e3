"""The handlers of `make chaos` that have an effect: one row in their job's transaction, and follow-ups that are submitted in it.

The table alone tells afterwards what took place: one row of each job that succeeded, none of any other, and one job of each
follow-up of a row. The database is where libpq's variables (PGHOST, PGPASSWORD, …) point; while it's away attempts fail.
"""

import asyncio
import os
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from examples.bench.handlers import KILLED, Seconds, ToldToFail
from examples.bench.witness import witnessed
from leveret import Context, Handlers, Reject

# No key: a row that were there twice should be seen.
TABLE = """CREATE TABLE effects (
    job uuid NOT NULL, generation integer NOT NULL,
    parent uuid, number integer,  -- of a follow-up: whose, and which of them
    follow_ups integer NOT NULL   -- how many were submitted with the row
);"""
INSERT = text("INSERT INTO effects VALUES (:job, :generation, :parent, :number, :follow_ups)")

handlers = Handlers()
engine = create_async_engine(
    "postgresql+asyncpg://",
    pool_size=10,  # the JobQueue's concurrency
    pool_pre_ping=True,  # the database may have been restarted since
    connect_args={"timeout": 5, "server_settings": {"application_name": "chaos-effects"}},
)


class Effect(BaseModel):
    value: JsonValue  # the result
    follow_ups: Annotated[int, Field(ge=0)] = 0
    seconds: Seconds = 0.0  # between the row and COMMIT
    after: Seconds = 0.0  # between COMMIT and the end
    fails: Annotated[int, Field(ge=0)] = 0  # attempts, each right before COMMIT
    ending: Literal["return", "reject", "raise after", "crash", "crash after"] = "return"


class FollowUp(BaseModel):
    parent: UUID
    number: int


@handlers.job("effect", transaction=engine)
async def write_effect(ctx: Context, job: Effect) -> JsonValue:
    """Write the job's row and submit its follow-ups; end the process at the first delivery where the job says so."""
    async with witnessed(ctx):
        async with ctx.transaction(engine) as tx:
            row = {"job": ctx.job_id, "generation": ctx.generation, "parent": None, "number": None}
            await tx.connection.execute(INSERT, row | {"follow_ups": job.follow_ups})
            for number in range(job.follow_ups):
                tx.submit("follow-up", {"parent": str(ctx.job_id), "number": number})
            tx.result(job.value)
            await asyncio.sleep(job.seconds)
            if job.ending == "reject":
                raise Reject("told to, with a row that must not stay")
            if ctx.attempt <= job.fails:
                raise ToldToFail(f"attempt {ctx.attempt} of the {job.fails} that fail")
            if job.ending == "crash" and not ctx.delivery:
                os._exit(KILLED)
        if job.ending == "crash after":  # no second time: a next run finds the mark above
            os._exit(KILLED)
        await asyncio.sleep(job.after)
        if job.ending == "raise after":
            raise ToldToFail("after its COMMIT")
        return job.value


@handlers.job("follow-up", transaction=engine)
async def write_follow_up(ctx: Context, job: FollowUp) -> None:
    async with ctx.transaction(engine) as tx:
        row = {"job": ctx.job_id, "generation": ctx.generation, "parent": job.parent, "number": job.number}
        await tx.connection.execute(INSERT, row | {"follow_ups": 0})
