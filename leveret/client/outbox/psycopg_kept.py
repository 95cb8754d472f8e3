"""One connection of psycopg, lent as its pools lend theirs, and opened anew once it is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_CONNECT, _SILENCE = 5, 10  # s


class Kept:
    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: psycopg.Connection[Any] | None = None

    @contextmanager
    def connection(self) -> "Iterator[psycopg.Connection[Any]]":
        import psycopg

        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._conninfo, autocommit=True, connect_timeout=_CONNECT, keepalives_idle=_SILENCE,
                keepalives_interval=_SILENCE, tcp_user_timeout=_SILENCE * 1000,
            )  # fmt: skip
        try:
            yield self._connection
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
