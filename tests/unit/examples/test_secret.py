"""The password of an example's database is made once, and never read, changed or shown."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from examples.fronts.secret import make


class ApiServer(HTTPServer):
    secrets: dict[str, dict[str, Any]]


class Answers(BaseHTTPRequestHandler):
    server: ApiServer

    def do_POST(self) -> None:
        secret = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = secret["metadata"]["name"]
        status = 409 if name in self.server.secrets else 201
        if (self.path, self.headers["Authorization"]) != ("/api/v1/namespaces/shop/secrets", "Bearer of the pod"):
            status = 403
        if status == 201:
            self.server.secrets[name] = secret
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(("127.0.0.1", 0), Answers) as server:
        server.secrets = {}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def account(folder: Path, token: str) -> Path:
    (folder / "namespace").write_text("shop")
    (folder / "token").write_text(f"{token}\n")
    return folder


def test_it_is_made_once_and_stays(server: ApiServer, tmp_path: Path) -> None:
    url, mounted = f"http://127.0.0.1:{server.server_port}", account(tmp_path, "of the pod")
    said = make("one", url, mounted)
    password = server.secrets["one"]["stringData"]["password"]
    assert len(password) >= 32
    assert password not in said
    assert make("one", url, mounted) == "Secret one is there already and stays as it is"
    assert server.secrets["one"]["stringData"]["password"] == password
    make("two", url, mounted)
    assert server.secrets["two"]["stringData"]["password"] != password


def test_a_refusal_is_told(server: ApiServer, tmp_path: Path) -> None:
    with pytest.raises(HTTPError, match="403"):
        make("one", f"http://127.0.0.1:{server.server_port}", account(tmp_path, "of another"))
