"""`ctx.transaction(engine)`: what a handler writes and the job's done-mark are committed together, or neither is.

The mark comes first, COMMIT last, and nothing interrupts that. Whatever the driver says, an answer that is not *committed* is
not believed: a connection may break, or fall silent, on either side of the commit. Then the same mark is inserted in a new
transaction (`marks.is_committed`), again and again until the database tells; meanwhile the attempt does not end, and the log
says so at each try.

The async form and the one for threads are the same steps, each with its own way to wait.
"""

from typing import cast

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from leveret.sdk.commit import TransactionRefused
from leveret.sdk.context import Context
from leveret.sdk.transactions.asynchronous import AsyncTransaction
from leveret.sdk.transactions.blocking import Transaction


def transaction(engine: object, ctx: Context) -> AsyncTransaction | Transaction:
    """Return the form that goes with the engine; raise TransactionRefused for what is none, or not PostgreSQL's."""
    check_engine(engine)
    return AsyncTransaction(engine, ctx) if isinstance(engine, AsyncEngine) else Transaction(cast(Engine, engine), ctx)


def check_engine(engine: object, *, on_loop: bool | None = None) -> None:
    """Raise TransactionRefused for what no transaction can be made with, by a handler on the event loop or off it."""
    if not isinstance(engine, Engine | AsyncEngine):
        raise TransactionRefused(
            f"a transaction needs an engine of SQLAlchemy, made with create_engine or create_async_engine, not {engine!r:.80}"
        )
    if engine.dialect.name != "postgresql":
        raise TransactionRefused(f"a transaction needs PostgreSQL, not {engine.dialect.name}")
    if on_loop is not None and engine.dialect.is_async != on_loop:
        fitting = "create_async_engine for async def" if on_loop else "create_engine for a plain def"
        raise TransactionRefused(f"the engine is of the wrong kind: make it with {fitting}")
