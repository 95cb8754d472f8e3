"""Certificates of a CA of the test's own, and a RabbitMQ that listens for TLS with them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from containers import Server, docker

_LISTEN = """
application:set_env(rabbit, ssl_options, [{cacertfile, "/tls/ca.crt"}, {certfile, "/tls/server.crt"},
    {keyfile, "/tls/server.key"}, {verify, verify_peer}, {fail_if_no_peer_cert, false}]),
ok = rabbit_networking:start_ssl_listener(5671, rabbit_networking:ensure_ssl(), 1).
"""


@dataclass(frozen=True)
class Authority:
    """Keeps what it signs in a folder: `ca.crt`, and `<name>.crt` and `<name>.key`."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        _openssl(
            "req", "-x509", *_NEW_KEY, "-keyout", self.path("ca.key"), "-out", self.path("ca.crt"), "-subj", "/CN=CA"
        )

    def path(self, name: str) -> Path:
        return self.folder / name

    def sign(self, name: str, alternative_name: str) -> None:
        _openssl(
            "req", "-x509", *_NEW_KEY, "-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.crt"),
            "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative_name}", "-addext", "basicConstraints=CA:false",
            "-CA", self.path("ca.crt"), "-CAkey", self.path("ca.key"),
        )  # fmt: skip


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


def listen(rabbitmq: Server, authority: Authority) -> None:
    """Have the broker listen on 5671, until it's stopped; it checks a client's certificate, if there is one."""
    authority.path("server.key").chmod(0o644)  # the server is another user
    docker("cp", f"{authority.folder}/.", f"{rabbitmq.name}:/tls")
    rabbitmq.run("rabbitmqctl", "-q", "eval", _LISTEN)


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
