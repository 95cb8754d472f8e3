"""Whether a pooler in between gives other connections the session that is ours, which nothing in the protocol tells.

Jobs may be served through such a one. Retention's lock, though, belongs to a session: it stays with whoever is given that
next, and nobody removes what is old, or two do at once. So it is told at the start, as a warning.
"""

from sqlalchemy import text

from leveret_producer.store.postgres import POOLED, DatabaseUnavailable, Postgres

SHARED = (
    "a pooler in between gives one session of PostgreSQL to several connections: old jobs may stay, and requests be answered "
    "with 503; put it in session mode (docs/how-to/your-own-postgresql.md)"
)
LOOKS = 3  # another producer may be given the session between our two
_PROCESS = text("SELECT pg_backend_pid()")


async def shares(postgres: Postgres) -> bool:
    """Tell whether a connection that rests has the same process of the server as another one that is open, too.

    Where that can't be asked, as with one connection for all, nothing is told; but a statement that another connection has
    prepared tells it.
    """
    for _ in range(LOOKS):
        try:
            async with postgres.statement() as one, postgres.statement() as other:
                if await one.scalar(_PROCESS) == await other.scalar(_PROCESS):
                    return True
        except DatabaseUnavailable as problem:
            return POOLED in str(problem)
    return False
