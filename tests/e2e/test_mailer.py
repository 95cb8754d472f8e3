"""mailer in a cluster, driven through its port alone: mails under kills, what servers do wrong, bad input."""

import json
import os
from typing import Any

import pytest
from api import eventually
from fronts import asking
from kube import ROOT, Namespace

URL = os.environ.get("LEVERET_E2E_MAILER_URL", "http://127.0.0.1:18084")
ask = asking(URL)
MANY = 200
KILLED = (
    "leveret.dev/jobqueue=mailer",
    "app.kubernetes.io/name=mailer,app.kubernetes.io/component=front",
    "app.kubernetes.io/name=mailer-smtp-1",
    "app.kubernetes.io/name=mailer-database",
)
FINAL = {"sent", "failed", "maybe-sent"}
ASK = "import sys, urllib.request as u; print(u.urlopen(u.Request('http://127.0.0.1:8080' + sys.argv[1], sys.argv[2].encode() or None, {'Content-Type': 'application/json'}, method='PUT' if sys.argv[2] else 'GET')).read().decode())"  # noqa: E501 - fmt: skip


@pytest.fixture(scope="module")
def mailer(namespace: Namespace) -> Namespace:
    namespace.apply(ROOT / "manifests/examples/mailer.yaml")
    for workload in (
        "statefulset/mailer-database",
        "statefulset/mailer-smtp-1",
        "statefulset/mailer-smtp-2",
        "deployment/mailer",
    ):
        namespace.kubectl("rollout", "status", workload, "--timeout=300s")
    namespace.kubectl("wait", "--for=condition=Ready", "jobqueue/mailer", "--timeout=300s")
    return namespace


def send(to: object, subject: str = "Hello") -> str:
    answer = ask("POST", "/emails", json={"to": to, "subject": subject, "body": "Hello"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued"), answer.text
    return str(answer.json()["id"])


def ended(id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def final() -> bool:
        found[:] = [ask("GET", f"/emails/{id}").json()]
        return found[0]["state"] in FINAL

    eventually(f"{id} has ended", final, 300)
    return found[0]


def server(mailer: Namespace, number: int, path: str, body: str = "") -> Any:
    return json.loads(mailer.kubectl("exec", f"mailer-smtp-{number}-0", "--", "python", "-c", ASK, path, body))


def counts(mailer: Namespace) -> dict[str, int]:
    """Return how often each Message-ID is in the logs of both."""
    found: dict[str, int] = {}
    for number in (1, 2):
        for id, times in server(mailer, number, "/log")["counts"].items():  # noqa: A001
            found[id] = found.get(id, 0) + times
    return found


@pytest.mark.timeout(600)
def test_what_a_server_does_wrong_is_told(mailer: Namespace) -> None:
    assert server(mailer, 1, "/mode", '{"mode": "greylist", "times": 1}') == {"mode": "greylist", "times": 1}
    greylisted = ended(send("greylisted@example.com"))
    assert (greylisted["state"], greylisted["attempts"], greylisted["error"]) == ("sent", 2, None)
    server(mailer, 1, "/mode", '{"mode": "drop", "times": 1}')
    doubtful = ended(send("doubtful@example.com"))
    assert (doubtful["state"], counts(mailer)[doubtful["message_id"]]) == ("maybe-sent", 1)
    server(mailer, 1, "/mode", '{"mode": "fail"}')
    other = ended(send(["other@example.com", "refused@example.com"]))
    assert (other["state"], other["backend"]) == ("sent", "mailer-smtp-2")
    assert "refused@example.com: 550" in other["error"]
    assert ended(send("refused@example.com"))["state"] == "failed"
    server(mailer, 1, "/mode", '{"mode": "ok"}')


@pytest.mark.timeout(900)
def test_each_mail_is_there_once_or_named_as_maybe_sent_after_kills_of_all_that_works_on_it(mailer: Namespace) -> None:
    ids = [send(f"n{n}@example.com") for n in range(MANY)]
    eventually("it has begun", lambda: len(counts(mailer)) > 0, 240)
    for selector in KILLED:
        for pod in mailer.pods(selector)[:1]:
            # Not by force: a database must never run twice on one volume.
            mailer.kubectl("delete", "pod", pod, "--grace-period=1", "--wait=false")
    mails = [ended(id) for id in ids]  # noqa: A001
    mailer.kubectl("rollout", "status", "statefulset/mailer-smtp-1", "--timeout=300s")
    seen = counts(mailer)
    assert [mail for mail in mails if mail["state"] == "failed"] == []
    assert [mail for mail in mails if mail["state"] == "sent" and seen.get(mail["message_id"]) != 1] == []
    assert [mail for mail in mails if seen.get(mail["message_id"], 0) > 1] == []
    assert sum(mail["state"] == "sent" for mail in mails) > MANY * 0.8


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"to":"a@example.com\\r\\nBcc: b@example.com","subject":"s","body":"b"}', 422),
        (b'{"to":"a@example.com","subject":"s\\r\\nBcc: b@example.com","body":"b"}', 422),
        (b" " * (2 << 20), 413),
    ],
    ids=["half a body", "a header in an address", "a header in a subject", "two megabytes"],
)
def test_bad_input_gets_a_problem_document(mailer: Namespace, body: bytes, status: int) -> None:
    answer = ask("POST", "/emails", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert ask("GET", "/docs").is_success
