"""The Python on the page about clients is run as it stands, against a small server that keeps to the API's words."""

import contextlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest
from pages import DOCS, blocks

from leveret.client import Job, errors
from leveret_producer import views

PAGE = DOCS / "how-to" / "clients.md"


class MeasuringApi(BaseHTTPRequestHandler):
    """Knows one queue, and has run each job by the time somebody looks."""

    protocol_version = "HTTP/1.1"
    jobs: dict[str, Any]
    by_key: dict[str | None, tuple[bytes, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer of the page":
            self.refuse(401, "not-authenticated")
        elif self.path == "/v1/jobs/get":
            jobs = [{"id": one, "state": "succeeded", "result": self.jobs[one]} for one in json.loads(body)["ids"]]
            self.reply(200, {"jobs": jobs})
        elif self.path != "/v1/queues/leveret.my-jobs/jobs":
            self.refuse(404, "unknown-queue")
        else:
            was, answer = self.by_key.setdefault(
                self.headers["Idempotency-Key"], (body, self.accepted(json.loads(body)))
            )
            self.reply(202, answer) if was == body else self.refuse(422, "key-reused")

    def accepted(self, asked: Any) -> Any:
        if isinstance(asked, list):
            return {"jobs": [self.accepted(job) for job in asked]}
        words = asked["payload"]["text"].split()
        made = str(UUID(int=len(self.jobs)))
        self.jobs[made] = {"words": len(words), "mean_length": sum(map(len, words)) / len(words)}
        return {"id": made, "state": "accepted"}

    def refuse(self, status: int, slug: str) -> None:
        self.reply(status, {"type": f"https://leveret.dev/problems/{slug}", "status": status, "detail": "No."})

    def reply(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    MeasuringApi.jobs, MeasuringApi.by_key = {}, {}
    with ThreadingHTTPServer(("127.0.0.1", 0), MeasuringApi) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        monkeypatch.setenv("LEVERET_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("LEVERET_TOKEN", "of the page")
        yield
        server.shutdown()


def test_the_page_about_clients_tells_what_is_so(api: None) -> None:
    said, shown = [], [block.text for block in blocks(PAGE, "text")]
    for block in blocks(PAGE, "python"):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(block.text, str(PAGE), "exec"), {"__name__": "__main__"})  # noqa: S102
        said.append(out.getvalue())
    assert said == shown


def test_the_page_names_every_error() -> None:
    page = PAGE.read_text()
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert [one.__name__ for one in kinds if f"`{one.__name__}`" not in page] == []


def test_a_job_has_all_that_the_api_shows_of_one() -> None:
    nobody_can_ask_for = {"after"}
    assert set(views.Job.__struct_fields__) - set(Job.__struct_fields__) == nobody_can_ask_for
