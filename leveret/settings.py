"""Where a process finds its broker, its database and its token.

In a cluster each is a Secret mounted as a folder, one file a key. The files are read whenever they are needed, not
once: a rotated Secret appears in the folder, while an environment variable keeps its old value. Outside a cluster,
`LEVERET_BROKER_URL` and `LEVERET_DATABASE_URL` (and `LEVERET_TOKEN` for the token) stand in.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

SECRETS = Path("/etc/leveret")


class MissingSetting(Exception):
    """A setting isn't there; the message says where it is looked for."""


@dataclass(frozen=True, slots=True)
class Broker:
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    vhost: str

    def url(self) -> str:
        """Return the `amqp://` URL, password included."""
        return (
            f"amqp://{quote(self.username, safe='')}:{quote(self.password, safe='')}"
            f"@{self.host}:{self.port}/{quote(self.vhost, safe='')}"
        )


@dataclass(frozen=True, slots=True)
class Database:
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    dbname: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where secrets are looked for: an environment, and the folder that holds the mounted ones."""

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    folder: Path = SECRETS

    def broker(self) -> Broker:
        """Read the broker's address and credentials; raise MissingSetting if a part isn't there."""
        if url := self.environment.get("LEVERET_BROKER_URL"):
            parts = urlsplit(url)
            return Broker(
                host=parts.hostname or "localhost",
                port=parts.port or 5672,
                username=unquote(parts.username or "guest"),
                password=unquote(parts.password or "guest"),
                vhost=unquote(parts.path[1:]) or "/",
            )
        secret = self._secret("broker", "LEVERET_BROKER_URL", ("host", "port", "username", "password"))
        return Broker(
            host=secret["host"],
            port=int(secret["port"]),
            username=secret["username"],
            password=secret["password"],
            vhost=secret.get("vhost") or "/",
        )

    def database(self) -> Database:
        """Read the database's address and credentials; raise MissingSetting if a part isn't there."""
        if url := self.environment.get("LEVERET_DATABASE_URL"):
            parts = urlsplit(url)
            return Database(
                host=parts.hostname or "localhost",
                port=parts.port or 5432,
                username=unquote(parts.username or "postgres"),
                password=unquote(parts.password or ""),
                dbname=unquote(parts.path[1:]) or "postgres",
            )
        secret = self._secret("database", "LEVERET_DATABASE_URL", ("host", "port", "username", "password", "dbname"))
        return Database(
            secret["host"],
            int(secret["port"]),
            secret["username"],
            password=secret["password"],
            dbname=secret["dbname"],
        )

    def token(self) -> str:
        """Read the API's bearer token; raise MissingSetting if there is none."""
        return self.environment.get("LEVERET_TOKEN") or self._secret("token", "LEVERET_TOKEN", ("token",))["token"]

    def _secret(self, name: str, variable: str, needed: tuple[str, ...]) -> dict[str, str]:
        folder = self.folder / name
        found = {
            path.name: path.read_text().strip()
            for path in (folder.iterdir() if folder.is_dir() else ())
            if path.is_file() and not path.name.startswith(".")
        }
        if missing := [key for key in needed if not found.get(key)]:
            raise MissingSetting(
                f"no {name} settings: {folder} lacks {', '.join(missing)}, and {variable} is not set; "
                f"mount the Secret leveret-{name} there or set the variable"
            )
        return found
