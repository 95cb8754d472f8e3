"""The SMTP servers that mailer may use: a list in a mounted Secret, in order of preference, read again when it changes.

A list that can't be read changes nothing: the one before goes on, and the log tells why.
"""

import logging
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, model_validator

log = logging.getLogger(__name__)


class Backend(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,63}$")]  # shown with each mail, and the key of its rate
    host: Annotated[str, Field(min_length=1, max_length=255)]
    port: Annotated[int, Field(ge=1, le=65_535)]
    user: str | None = None
    password: SecretStr | None = None
    tls: Literal["none", "starttls", "tls"] = "starttls"
    ca: str | None = None  # PEM, in place of the system's
    rate: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 10.0  # mails a second, of all consumers
    burst: Annotated[int, Field(ge=1, le=10_000)] = 10  # mails at once after a pause

    @model_validator(mode="after")
    def _usable(self) -> "Backend":
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password come together")
        if self.ca is not None:
            try:
                ssl.create_default_context(cadata=self.ca)
            except (ssl.SSLError, ValueError) as problem:
                raise ValueError("ca holds no certificate in PEM") from problem
        return self

    def context(self) -> ssl.SSLContext | None:
        return None if self.tls == "none" else _context(self.ca)


@lru_cache(maxsize=16)
def _context(ca: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ca)


_LIST = TypeAdapter(Annotated[list[Backend], Field(min_length=1, max_length=20)])


class NoBackends(Exception):
    """There is no list that could be read since the process began."""


def parse(text: bytes) -> list[Backend]:
    """Return a list of servers; raise NoBackends with a sentence that repeats no password."""
    try:
        found = _LIST.validate_json(text)
    except ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False)[0]
        raise NoBackends(f"/{'/'.join(map(str, first['loc']))}: {first['msg']}") from None
    names = [backend.name for backend in found]
    if len(names) != len(set(names)):
        raise NoBackends("two have the same name")
    return found


class Backends:
    def __init__(self, file: Path) -> None:
        self._file, self._known = file, list[Backend]()
        self._seen: tuple[int, int, int] | None = None  # of the file that was read last

    def now(self) -> list[Backend]:
        """Return the servers as the file has them, or as it had them before it was spoilt; raise NoBackends."""
        try:
            found = self._file.stat()  # of what a Secret's links lead to
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen != self._seen or not self._known:
                self._seen = seen  # a list that can't be used is told once, where there is one before it
                self._known = parse(self._file.read_bytes())
        except (OSError, NoBackends) as problem:
            said = f"the list of SMTP servers {self._file} can't be used: {problem}"
            if not self._known:
                raise NoBackends(f"{said}. Mails are tried again; out of tries, they can be redriven") from None
            log.error("%s; the one before goes on", said)
        return self._known
