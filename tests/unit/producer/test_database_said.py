"""What is logged and told of the database's errors holds no value, and a limit of connections is told before it is met."""

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from leveret_producer.store.budget import PER_REPLICA, Limits, falls_short
from leveret_producer.store.postgres import said

POOLED = ": a pooler in between must be in session mode and ignore three settings (docs/how-to/your-own-postgresql.md)"
SECRET = "card 4111 1111"


def _of(kind: type[asyncpg.PostgresError], message: str, detail: str = "") -> asyncpg.PostgresError:
    return kind.new({"C": kind.sqlstate, "M": message, "D": detail, "S": "ERROR"})


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        pytest.param(
            _of(
                asyncpg.InvalidTextRepresentationError, f'invalid input syntax for type json: "{SECRET}"\nmore "of\nit'
            ),
            "InvalidTextRepresentationError: invalid input syntax for type json …",
            id="quoted",
        ),
        pytest.param(
            _of(asyncpg.NumericValueOutOfRangeError, f'value "{SECRET}" is out of range'),
            "NumericValueOutOfRangeError: value … is out of range",
            id="in the midst",
        ),
        pytest.param(
            _of(asyncpg.NotNullViolationError, 'null value in column "id"', f"Failing row contains ({SECRET})."),
            'NotNullViolationError: null value in column "id"',
            id="detail",
        ),
        pytest.param(
            _of(asyncpg.DeadlockDetectedError, "deadlock detected", f"Process 1 waits: {SECRET}"),
            "DeadlockDetectedError: deadlock detected",
            id="deadlock",
        ),
        pytest.param(
            asyncpg.DataError(f"invalid input for query argument $2: ['{SECRET}'] (a sized iterable is expected)"),
            "DataError: invalid input for query argument $2 …",
            id="the driver's",
        ),
        pytest.param(
            _of(asyncpg.InvalidSQLStatementNameError, 'prepared statement "s_1" does not exist'),
            f'InvalidSQLStatementNameError: prepared statement "s_1" does not exist{POOLED}',
            id="a pooler in transaction mode",
        ),
        pytest.param(
            _of(asyncpg.ProtocolViolationError, "unsupported startup parameter: statement_timeout"),
            f"ProtocolViolationError: unsupported startup parameter: statement_timeout{POOLED}",
            id="a pooler that knows no settings",
        ),
        pytest.param(
            _of(asyncpg.ProtocolViolationError, "transaction blocks not allowed in statement pooling mode"),
            f"ProtocolViolationError: transaction blocks not allowed in statement pooling mode{POOLED}",
            id="a pooler in statement mode",
        ),
        pytest.param(
            OSError(111, "Connect call failed"), "ConnectionRefusedError: [Errno 111] Connect call failed", id="OSError"
        ),
        pytest.param(TimeoutError(), "TimeoutError: no answer in time", id="no word"),
    ],
)
def test_what_is_told_has_no_value(problem: Exception, told: str) -> None:
    assert said(problem) == told
    wrapped = DBAPIError("SELECT 1", {"body": SECRET}, problem, hide_parameters=True)
    assert SECRET not in said(wrapped)


def _limits(
    most: int = 100, reserved: int = 3, role: int = -1, database: int = -1, replicas: int = 1, others: int = 0
) -> Limits:
    return Limits("app", "jobs", most, reserved, role, database, replicas, others)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        pytest.param(_limits(), None, id="PostgreSQL's default"),
        pytest.param(_limits(replicas=6), None, id="six"),
        pytest.param(_limits(replicas=7), "raise max_connections to at least 115", id="a seventh"),
        pytest.param(_limits(replicas=5, others=20), "raise max_connections to at least 103", id="others have theirs"),
        pytest.param(_limits(reserved=93), "gives them 7 (max_connections is 100)", id="reserved"),
        pytest.param(_limits(role=PER_REPLICA), None, id="a role's limit that is enough"),
        pytest.param(_limits(role=10), "ALTER ROLE app CONNECTION LIMIT 16, or", id="a role's limit"),
        pytest.param(_limits(role=0), "gives them 0", id="none at all"),
        pytest.param(
            _limits(database=20, replicas=2), "ALTER DATABASE jobs CONNECTION LIMIT 32", id="a database's limit"
        ),
        pytest.param(_limits(role=20, database=12, replicas=2), "ALTER DATABASE", id="the tightest"),
        pytest.param(_limits(replicas=0), None, id="not seen itself"),
    ],
)
def test_a_limit_that_is_too_low_is_told(limits: Limits, says: str | None) -> None:
    told = falls_short(limits)
    assert (told is None) if says is None else (told is not None and says in told and "\n" not in told)
