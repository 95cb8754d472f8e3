"""Jobs that an application submits inside its own database transaction, and the relay that sends them.

`submit` writes a row of the table `leveret_outbox` by the application's own connection: it is committed with all that the
transaction does, or rolled back with it. A relay takes rows that are committed and submits them to the API, each with its
id; what is stored it deletes. The id makes a job one that is stored once, however often it is sent. The drivers are the
application's: SQLAlchemy, asyncpg, psycopg, or what has DB-API's cursors, as Django's connections.
"""

from typing import TYPE_CHECKING

from leveret.lazy import attributes

if TYPE_CHECKING:
    from leveret.client.outbox.relays import Relay, RelayThread
    from leveret.client.outbox.statements import DDL
    from leveret.client.outbox.submitting import create, submit, submit_many

__all__ = ["DDL", "Relay", "RelayThread", "create", "submit", "submit_many"]

if not TYPE_CHECKING:
    __getattr__ = attributes(
        __name__,
        {
            "DDL": "leveret.client.outbox.statements",
            **dict.fromkeys(("Relay", "RelayThread"), "leveret.client.outbox.relays"),
            **dict.fromkeys(("create", "submit", "submit_many"), "leveret.client.outbox.submitting"),
        },
    )
