"""Handlers that submit follow-ups, in each pool and by each driver; engines are given by who uses them."""

import os
import signal
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from leveret import Context, Handlers

INSERT = text("INSERT INTO rows (job) SELECT :job FROM generate_series(1, :rows)")
ROWS = 7


def submit(ctx: Any, job: dict[str, Any]) -> list[UUID]:
    """Submit what the payload says: of a context or a transaction."""
    fields = {name: job[name] for name in ("queue", "delay") if name in job}
    return [ctx.submit("child", {"n": n, **job.get("child", {})}, **fields) for n in range(job.get("children", 2))]


def handlers_with(engine: Any) -> Handlers:
    return _asynchronous(engine) if engine.dialect.is_async else _blocking(engine)


def _asynchronous(engine: Any) -> Handlers:
    handlers = Handlers()

    @handlers.job("kept", transaction=engine)
    async def kept(ctx: Context, job: dict[str, Any]) -> list[UUID]:
        note(job, "parent")
        async with ctx.transaction(engine) as tx:
            await tx.connection.execute(INSERT, {"job": ctx.job_id, "rows": ROWS})
            ids = submit(tx, job)
            if "within" in job:
                raise ValueError("within the block")
        if "after" in job:
            ctx.submit("beside", 1)
            raise ValueError("after the block")
        return ids

    @handlers.job("beside", transaction=engine)
    async def beside(ctx: Context, job: dict[str, Any]) -> list[UUID]:
        note(job, "parent")
        return submit(ctx, job)

    @handlers.job("beside thread")
    def in_thread(ctx: Context, job: dict[str, Any]) -> list[UUID]:
        return submit(ctx, job)

    @handlers.job("beside process", cpu=True)
    def in_process(ctx: Context, job: dict[str, Any]) -> list[UUID]:
        return submit(ctx, job)

    @handlers.job("child")
    async def child(ctx: Context, job: dict[str, Any]) -> None:
        if "kills_once" in job and not Path(job["kills_once"]).exists():
            Path(job["kills_once"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        async with ctx.transaction(engine) as tx:
            await tx.connection.execute(INSERT, {"job": ctx.job_id, "rows": ROWS})

    return handlers


def _blocking(engine: Any) -> Handlers:
    handlers = Handlers()

    @handlers.job("kept", transaction=engine)
    def kept(ctx: Context, job: dict[str, Any]) -> list[UUID]:
        with ctx.transaction(engine) as tx:
            tx.connection.execute(INSERT, {"job": ctx.job_id, "rows": ROWS})
            ids = submit(tx, job)
            if "within" in job:
                raise ValueError("within the block")
        if "after" in job:
            ctx.submit("beside", 1)
            raise ValueError("after the block")
        return ids

    return handlers


def note(job: dict[str, Any], word: str) -> None:
    if "witness" in job:
        with Path(job["witness"]).open("a") as file:
            file.write(f"{word}\n")
