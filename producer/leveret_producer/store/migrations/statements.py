"""Run several SQL statements, which the driver takes only one at a time."""

from alembic import op


def execute(statements: str) -> None:
    """Run statements that end with a semicolon at the end of a line; behind it no comment may stand."""
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
