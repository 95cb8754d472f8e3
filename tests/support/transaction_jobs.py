"""Handlers that write in their job's transaction, by each driver; engines are given by who uses them."""

import asyncio
import time
from typing import Any

from sqlalchemy import text

from leveret import AlreadyDone, Context, Handlers, Reject

INSERT = text("INSERT INTO rows (job) SELECT :job FROM generate_series(1, :rows)")
ROWS = 7


def handlers_with(engine: Any) -> Handlers:
    """Return handlers that write by this engine, `write` of a plain def or an async def."""
    return _asynchronous(engine) if engine.dialect.is_async else _blocking(engine)


def _asynchronous(engine: Any) -> Handlers:
    handlers = Handlers()

    @handlers.job("write", transaction=engine)
    async def write(ctx: Context, job: dict[str, Any]) -> object:
        async with ctx.transaction(engine) as tx:
            await tx.connection.execute(INSERT, {"job": ctx.job_id, "rows": ROWS})
            if "result" in job:
                tx.result(job["result"])
            match job.get("then"):
                case "raise":
                    raise ValueError("within the block")
                case "reject":
                    raise Reject("within the block")
                case "sleep":
                    await asyncio.sleep(60)
                case "fail":
                    try:
                        await tx.connection.execute(text("SELECT 1/0"))
                    except Exception:
                        ctx.log.debug("swallowed")
                case "commit":
                    await tx.connection.commit()
                case "roll back":
                    await tx.connection.execute(text("ROLLBACK"))
        match job.get("after"):
            case "raise":
                raise ValueError("after the block")
            case "result":
                tx.result("too late")
            case "second":
                async with ctx.transaction(engine) as tx:
                    pass
        await asyncio.sleep(job.get("pause", 0))
        return job.get("returns")

    @handlers.job("swallow")
    async def swallow(ctx: Context, job: object) -> str:
        try:
            async with ctx.transaction(engine) as tx:
                await tx.connection.execute(INSERT, {"job": ctx.job_id, "rows": ROWS})
        except AlreadyDone:
            return "again"
        raise ValueError("after the block")

    return handlers


def _blocking(engine: Any) -> Handlers:
    handlers = Handlers()

    @handlers.job("write", transaction=engine)
    def write(ctx: Context, job: dict[str, Any]) -> object:
        with ctx.transaction(engine) as tx:
            tx.connection.execute(INSERT, {"job": ctx.job_id, "rows": ROWS})
            if "result" in job:
                tx.result(job["result"])
            match job.get("then"):
                case "raise":
                    raise ValueError("within the block")
                case "reject":
                    raise Reject("within the block")
                case "sleep":
                    tx.connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": job["seconds"]})
                case "fail":
                    try:
                        tx.connection.execute(text("SELECT 1/0"))
                    except Exception:
                        ctx.log.debug("swallowed")
                case "commit":
                    tx.connection.commit()
                case "roll back":
                    tx.connection.execute(text("ROLLBACK"))
        match job.get("after"):
            case "raise":
                raise ValueError("after the block")
            case "result":
                tx.result("too late")
            case "second":
                with ctx.transaction(engine) as tx:
                    pass
        time.sleep(job.get("pause", 0))
        return job.get("returns")

    @handlers.job("swallow")
    def swallow(ctx: Context, job: object) -> str:
        try:
            with ctx.transaction(engine) as tx:
                tx.connection.execute(INSERT, {"job": ctx.job_id, "rows": ROWS})
        except AlreadyDone:
            return "again"
        raise ValueError("after the block")

    return handlers
