"""Where an application finds the broker, and how it speaks with it: typed, from a URL or from a mounted folder.

What can't be used is refused with a sentence, which never quotes a password; nor does the `repr`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from leveret.settings import BadSetting, Broker, MissingSetting, Tls, broker_at, default_port, keys_in, port_of

_LONGEST = 255  # bytes of a text in AMQP


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """`port` 0 stands for 5672, or 5671 with `tls`. Raises BadSetting for what no broker can have."""

    user: str = "guest"
    password: str = field(default="guest", repr=False)
    host: str = "localhost"
    port: int = 0
    vhost: str = "/"
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if not self.port:
            object.__setattr__(self, "port", default_port(self.tls))
        port_of(str(self.port), "the broker's port")
        texts = {"host": self.host, "user": self.user, "virtual host": self.vhost}
        for name, text in texts.items():
            if not text or len(text.encode(errors="replace")) > _LONGEST:
                raise BadSetting(f"the broker's {name} must have from 1 to {_LONGEST} bytes")
        if self.tls and self.tls.key and not self.tls.certificate:
            raise BadSetting("a key for TLS is of no use without its certificate: give both, or neither")

    @classmethod
    def from_url(cls, url: str, tls: Tls | None = None) -> Self:
        """Read `amqp://user:password@host:5672/vhost`, or with TLS `amqps://…`, port 5671; %xx stands for a byte.

        `tls` tells whom to believe, else whom this system believes. Raises BadSetting.
        """
        broker = broker_at(url, "the broker's URL", speaks_tls=True)
        parts = urlsplit(url)
        if parts.query or parts.fragment:
            raise BadSetting(
                "the broker's URL can't be used: write ? and # as %3F and %23, and give settings of TLS as `tls`"
            )
        if tls and not broker.tls:
            raise BadSetting(
                "settings of TLS were given for a URL that begins with amqp://: write amqps://, or leave them out"
            )
        return cls._of(replace(broker, tls=tls or broker.tls))

    @classmethod
    def from_folder(cls, folder: str | Path) -> Self:
        """Read a mounted Secret such as `leveret-broker`: the keys `host`, `username`, `password`, and `port`, `vhost`.

        With TLS if it has `ca.crt`, or the key `tls` with `true`; `tls.crt` and `tls.key` are the client's own certificate,
        `server-name` is for whom the broker's is. Raises MissingSetting, or BadSetting, which is one.
        """
        folder = Path(folder)
        keys = keys_in(folder)
        if missing := [key for key in ("host", "username", "password") if not keys.get(key)]:
            raise MissingSetting(
                f"no broker settings: {folder} lacks {', '.join(missing)}; mount the broker's Secret there"
            )
        tls = _tls_in(folder, keys)
        port = port_of(keys["port"], f"the key port in {folder}") if keys.get("port") else default_port(tls)
        return cls(keys["username"], keys["password"], keys["host"].strip("[]"), port, keys.get("vhost") or "/", tls)

    def broker(self) -> Broker:
        return Broker(self.host, self.port, self.user, self.password, self.vhost, self.tls)

    @classmethod
    def _of(cls, broker: Broker) -> Self:
        return cls(broker.username, broker.password, broker.host, broker.port, broker.vhost, broker.tls)


def _tls_in(folder: Path, keys: dict[str, str]) -> Tls | None:
    said = keys.get("tls", "").lower()
    if said not in ("", "true", "false"):
        raise BadSetting(f"the key tls in {folder} must be true or false")
    ours = [key for key in ("tls.crt", "tls.key") if keys.get(key)]
    if len(ours) == 1:
        raise BadSetting(f"{folder} has {ours[0]} alone: a certificate and its key, tls.crt and tls.key, go together")
    if said == "false" or not (said or ours or keys.get("ca.crt")):
        return None
    return Tls(
        folder / "ca.crt" if keys.get("ca.crt") else None,
        folder / "tls.crt" if ours else None,
        folder / "tls.key" if ours else None,
        keys.get("server-name") or None,
    )
