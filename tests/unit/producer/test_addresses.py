"""The front door is open on every address that the machine has, on IPv4 alone where there is no IPv6."""

import contextlib
import http.client
import socket
import subprocess
import sys
import time

import pytest
from containers import free_port

SERVE = """
import errno, signal, socket, sys

class WithoutIPv6(socket.socket):
    def __init__(self, family=-1, *rest, **named):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        super().__init__(family, *rest, **named)

if sys.argv[2] == "without":
    socket.socket = WithoutIPv6  # before anything has taken the real one

from leveret.settings import Places
from leveret_producer.health import Health
from leveret_producer.http.server import Server
from leveret_producer.settings import Settings

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["client"][0].encode()})

Server(app, Settings(Places({}), "a", listen_port=int(sys.argv[1]), announce_stop_seconds=0), Health()).run()
"""
HANG = 60  # s


def addresses() -> list[str]:
    """Return the loopback addresses of this machine."""
    found = ["127.0.0.1"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        found.append("::1")
    return found


def asked(address: str, port: int) -> str:
    """Return whom the server takes us for; raise OSError where nobody listens."""
    connection = http.client.HTTPConnection(address, port, timeout=HANG)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


@pytest.mark.parametrize("ipv6", ["with", "without"])
def test_every_address_is_answered_and_ipv4_clients_are_called_as_ever(ipv6: str) -> None:
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", SERVE, str(port), ipv6]) as serving:
        try:
            end = time.monotonic() + HANG
            while time.monotonic() < end and serving.poll() is None:
                with contextlib.suppress(ConnectionError):
                    asked("127.0.0.1", port)
                    break
                time.sleep(0.05)
            expected = addresses() if ipv6 == "with" else ["127.0.0.1"]
            # An address of IPv4 in the clothes of IPv6 is none that a setting of trusted proxies would know.
            assert [asked(address, port) for address in expected] == expected
            for other in set(addresses()) - set(expected):
                with pytest.raises(ConnectionRefusedError):
                    asked(other, port)
        finally:
            serving.terminate()
    assert serving.returncode == 0
