"""Statements on whatever connection an application has. None of the drivers is imported unless it is in use."""

from collections.abc import Mapping
from typing import Any


def runs_in_loop(connection: Any) -> bool:
    """Tell whether what is asked of a connection, an engine or a pool must be awaited."""
    return any(
        place.startswith(("sqlalchemy.ext.asyncio", "asyncpg", "psycopg.Async")) for place in _places(connection)
    )


def run(connection: Any, statement: str, value: str | None = None) -> str | None:
    """Run a statement in the connection's transaction, and return what it finds. Raises what the driver does."""
    if _is_sqlalchemy(connection):
        found = connection.execute(*_for_sqlalchemy(statement, value))
        return found.scalar() if found.returns_rows else None
    if not callable(getattr(connection, "cursor", None)):
        raise TypeError(f"a {type(connection).__name__} is no connection or session that the outbox knows")
    with connection.cursor() as cursor:
        cursor.execute(*_for_dbapi(statement, value))
        return _first(cursor.fetchone() if cursor.description else None)


async def run_in_loop(connection: Any, statement: str, value: str | None = None) -> str | None:
    """The same where it must be awaited."""
    if _is_sqlalchemy(connection):
        found = await connection.execute(*_for_sqlalchemy(statement, value))
        return found.scalar() if found.returns_rows else None
    if any(place.startswith("asyncpg") for place in _places(connection)):
        values = () if value is None else (value,)
        return await connection.fetchval(statement.replace("?", "$1"), *values)  # type: ignore[no-any-return]
    cursor = await connection.execute(*_for_dbapi(statement, value))
    return _first(await cursor.fetchone() if cursor.description else None)


def borrowed(database: Any) -> Any:
    """Return the context manager that lends a connection of an engine or a pool, and commits at its end."""
    for lend in ("begin", "acquire", "connection"):  # SQLAlchemy's, asyncpg's, psycopg's
        if callable(found := getattr(database, lend, None)):
            return found()
    raise TypeError(f"a {type(database).__name__} is no engine or pool that the outbox knows")


def _places(connection: Any) -> list[str]:
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in type(connection).__mro__]


def _is_sqlalchemy(connection: Any) -> bool:
    return any(place.startswith("sqlalchemy.") for place in _places(connection))


def _for_sqlalchemy(statement: str, value: str | None) -> tuple[Any, dict[str, str]]:
    from sqlalchemy import text

    return text(statement.replace("?", ":value")), {} if value is None else {"value": value}


def _for_dbapi(statement: str, value: str | None) -> tuple[str, tuple[str, ...]]:
    return statement.replace("?", "%s"), () if value is None else (value,)


def _first(row: Any) -> str | None:
    """The only column, also of a row that its connection makes a mapping of."""
    return None if row is None else row["found"] if isinstance(row, Mapping) else row[0]
