"""Where a process finds its broker, its database and its token.

In a cluster each is a Secret mounted as a folder, one file a key. The files are read whenever they are needed, not
once: a rotated Secret appears in the folder, while an environment variable keeps its old value. Outside a cluster,
`LEVERET_BROKER_URL` and `LEVERET_DATABASE_URL` (and `LEVERET_TOKEN`, `LEVERET_INSTALLATION`) stand in.

What can't be used is refused with a sentence, which never quotes a URL: there is a password in it.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

SECRETS = Path("/etc/leveret")
_LAST_PORT = 65_535
_ID = re.compile("[A-Za-z0-9-]{1,64}")


class MissingSetting(Exception):
    """A setting isn't there; the message says where it is looked for."""


class BadSetting(MissingSetting):
    """It is there and can't be used, which comes to the same; the message is one sentence and tells the fix."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How to speak TLS with a broker: paths of PEM files."""

    ca: Path | None = None  # whose certificates are believed; None: those that this system believes
    certificate: Path | None = None  # our own, with its key, where the broker asks for one
    key: Path | None = None
    server_name: str | None = None  # that the broker's certificate is for, where that is not its host


@dataclass(frozen=True, slots=True)
class Broker:
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    vhost: str
    tls: Tls | None = None  # only for clients: producers, consumers and operators speak none yet
    installation: str | None = None  # whose id the virtual host is claimed with; None: it isn't

    def url(self) -> str:
        """Return the `amqp://` URL, password included; with TLS `amqps://`."""
        host = f"[{self.host}]" if ":" in self.host else self.host  # an address of IPv6
        return (
            f"{'amqps' if self.tls else 'amqp'}://{quote(self.username, safe='')}:{quote(self.password, safe='')}"
            f"@{host}:{self.port}/{quote(self.vhost, safe='')}"
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
    read: Callable[[Path], dict[str, str]] = field(default=lambda folder: keys_in(folder), repr=False)

    def broker(self) -> Broker:
        """Read the broker's address and credentials; raise MissingSetting, or BadSetting, which is one."""
        if url := self.environment.get("LEVERET_BROKER_URL"):
            return replace(broker_at(url, "LEVERET_BROKER_URL"), installation=self.installation())
        secret = self._secret("broker", "LEVERET_BROKER_URL", ("host", "port", "username", "password"))
        return Broker(
            host=secret["host"].strip("[]"),
            port=_without_tls(secret["port"], f"the key port of the Secret in {self.folder / 'broker'}"),
            username=secret["username"],
            password=secret["password"],
            vhost=secret.get("vhost") or "/",
            installation=self.installation(),
        )

    def installation(self) -> str | None:
        """Read the installation's id; None where no Secret of it is mounted. Raise BadSetting."""
        folder = self.folder / "installation"
        keys = {"id": given} if (given := self.environment.get("LEVERET_INSTALLATION")) else self.read(folder)
        if not keys:
            return None
        if not _ID.fullmatch(found := keys.get("id", "")):
            where = f"LEVERET_INSTALLATION, or the key id of the Secret in {folder},"
            raise BadSetting(f"{where} must have 1 to 64 letters, digits and hyphens")
        return found

    def database(self) -> Database:
        """Read the database's address and credentials; raise MissingSetting, or BadSetting, which is one."""
        if url := self.environment.get("LEVERET_DATABASE_URL"):
            parts, port = _parts(url, "LEVERET_DATABASE_URL", _POSTGRESQL)
            return Database(
                host=parts.hostname or "",
                port=port or 5432,
                username=unquote(parts.username or "postgres"),
                password=unquote(parts.password or ""),
                dbname=unquote(parts.path[1:]) or "postgres",
            )
        secret = self._secret("database", "LEVERET_DATABASE_URL", ("host", "port", "username", "password", "dbname"))
        return Database(
            secret["host"].strip("[]"),
            port_of(secret["port"], f"the key port of the Secret in {self.folder / 'database'}"),
            secret["username"],
            password=secret["password"],
            dbname=secret["dbname"],
        )

    def token(self) -> str:
        """Read the API's bearer token; raise MissingSetting if there is none."""
        return self.tokens()[0]

    def tokens(self) -> tuple[str, ...]:
        """Read all that the API accepts: the token, and the key `second-token` beside it, where there is one."""
        if given := self.environment.get("LEVERET_TOKEN"):
            return (given,)
        secret = self._secret("token", "LEVERET_TOKEN", ("token",))
        return tuple(secret[key] for key in ("token", "second-token") if secret.get(key))

    def _secret(self, name: str, variable: str, needed: tuple[str, ...]) -> dict[str, str]:
        folder = self.folder / name
        found = self.read(folder)
        if missing := [key for key in needed if not found.get(key)]:
            raise MissingSetting(
                f"no {name} settings: {folder} lacks {', '.join(missing)}, and {variable} is not set; "
                f"mount the Secret leveret-{name} there or set the variable"
            )
        return found


def keys_in(folder: Path) -> dict[str, str]:
    """Read a mounted Secret: each file is a key; raise BadSetting."""
    try:
        return {
            path.name: path.read_text().strip()
            for path in (folder.iterdir() if folder.is_dir() else ())
            if path.is_file() and not path.name.startswith(".")
        }
    except UnicodeDecodeError:
        raise BadSetting(f"a key in {folder} is not UTF-8: write the Secret as text") from None
    except OSError as problem:
        raise BadSetting(f"{folder} can't be read: {problem.strerror}") from None


def broker_at(url: str, variable: str, *, speaks_tls: bool = False) -> Broker:
    """Read a broker's URL; raise BadSetting, which calls the URL `variable`."""
    parts, port = _parts(url, variable, _AMQP_OR_AMQPS if speaks_tls else _AMQP)
    tls = Tls() if parts.scheme == "amqps" else None
    if port and not speaks_tls:
        _without_tls(str(port), f"the port in {variable}")
    try:
        return Broker(
            host=parts.hostname or "",
            port=port or default_port(tls),
            username=unquote(parts.username or "guest", errors="strict"),
            password=unquote(parts.password or "guest", errors="strict"),
            vhost=unquote(parts.path[1:], errors="strict") or "/",
            tls=tls,
        )
    except UnicodeDecodeError:
        raise BadSetting(f"{variable} can't be used: what its %xx stand for is not UTF-8") from None


def default_port(tls: Tls | None) -> int:
    return 5671 if tls else 5672


_AMQP = (("amqp",), "amqp://user:password@host:5672/vhost")
_AMQP_OR_AMQPS = (("amqp", "amqps"), "amqps://user:password@host:5671/vhost")
_POSTGRESQL = (("postgresql", "postgres"), "postgresql://user:password@host:5432/dbname")


def _parts(url: str, variable: str, form: tuple[tuple[str, ...], str]) -> tuple[SplitResult, int | None]:
    schemes, looks = form
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, parts, port = None, urlsplit(""), None
    if parts.scheme == "amqps" and "amqps" not in schemes:
        raise _no_tls(f"{variable} begins with amqps://", "amqp://")
    if parts.scheme not in schemes or not host or port == 0:
        raise BadSetting(
            f"{variable} can't be used: it must look like {looks}, with a port from 1 to 65535 or none, and with / : @ in a "
            "name or password written as %2F %3A %40"
        )
    return parts, port


def _without_tls(text: str, what: str) -> int:
    if (port := port_of(text, what)) == default_port(Tls()):
        raise _no_tls(f"{what} is {port}, where a broker speaks TLS", "5672")
    return port


def _no_tls(found: str, instead: str) -> BadSetting:
    return BadSetting(
        f"{found}, and Leveret does not speak TLS with the broker yet: write {instead} if the network between them is "
        "trusted, or put a proxy that speaks TLS beside Leveret"
    )


def port_of(text: str, what: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= _LAST_PORT:
        raise BadSetting(f"{what} must be a whole number from 1 to {_LAST_PORT}, such as 5672 or 5432")
    return int(text)
