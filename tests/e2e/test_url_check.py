"""The URL checker in a cluster, driven through its port alone: a check under kills, what fails is reported, bad input."""

import os
from base64 import b64decode
from typing import Any

import pytest
from api import eventually
from fronts import answer_of, asking
from kube import Namespace

URL = os.environ.get("LEVERET_E2E_URL_CHECK_URL", "http://127.0.0.1:18081")
TARGETS = "http://url-check-targets"
MANY = 1_500
KILLED = (
    "app.kubernetes.io/name=url-check,app.kubernetes.io/component=front",
    "app.kubernetes.io/component=producer",
    "leveret.dev/jobqueue=url-check",
    "app.kubernetes.io/name=url-check-database",
)


@pytest.fixture(scope="module")
def checker(namespace: Namespace, examples: None) -> Namespace:
    namespace.kubectl("rollout", "status", "statefulset/url-check-database", "--timeout=300s")
    namespace.kubectl("rollout", "status", "deployment/url-check", "--timeout=300s")
    namespace.kubectl("wait", "--for=condition=Ready", "jobqueue/url-check-reports", "--timeout=300s")
    eventually("the front has its database", lambda: get("/reports") is not None, 120)
    return namespace


def get(path: str) -> dict[str, Any] | None:
    answer = answer_of(URL, "GET", path)
    return None if answer is None else answer.raise_for_status().json()


def begin(urls: list[str]) -> str:
    accepted = asking(URL)("POST", "/checks", json={"urls": urls})
    assert accepted.status_code == 202, accepted.text
    return str(accepted.json()["id"])


@pytest.mark.timeout(600)
def test_a_check_survives_kills_of_all_that_works_on_it(checker: Namespace) -> None:
    urls = [f"{TARGETS}/slow/0.2?i={n}" for n in range(MANY)]
    check = begin([*urls, *urls[:100]])
    eventually("it has begun", lambda: (found := get(f"/checks/{check}")) is not None and found["done"] > 0, 240)
    for selector in KILLED:
        for pod in checker.pods(selector)[:1]:
            # Not by force: a database must never run twice on one volume.
            checker.kubectl("delete", "pod", pod, "--grace-period=1", "--wait=false")
    eventually("it has ended", lambda: (found := get(f"/checks/{check}")) is not None and found["done"] == MANY, 300)
    found = get(f"/checks/{check}")
    assert found is not None
    assert (found["total"], found["done"]) == (MANY, MANY)
    assert [result["url"] for result in found["results"]] == urls
    assert {result["status"] for result in found["results"]} == {200}


@pytest.mark.timeout(300)
def test_what_fails_is_in_the_check_and_in_the_reports(checker: Namespace) -> None:
    failing = f"{TARGETS}/status/503?report"
    check = begin([failing, f"{TARGETS}/redirect/2", "http://169.254.169.254/"])
    eventually("it has ended", lambda: (found := get(f"/checks/{check}")) is not None and found["done"] == 3, 180)
    found = get(f"/checks/{check}")
    assert found is not None
    dead, redirected, refused = found["results"]
    assert (dead["url"], dead["status"], redirected["status"]) == (failing, None, 200)
    assert len(redirected["redirects"]) == 2
    assert refused["error"].startswith("refused by policy")

    def report() -> dict[str, Any] | None:
        found = get("/reports")
        return next((one for one in found["reports"] if one["url"] == failing), None) if found else None

    eventually("it is reported", lambda: report() is not None, 180)
    assert "503" in (report() or {})["reason"]


@pytest.mark.timeout(600)
def test_a_check_that_is_cancelled_ends_and_what_waited_was_not_asked(checker: Namespace) -> None:
    check = begin([f"{TARGETS}/slow/5?cancelled={n}" for n in range(MANY)])
    for _ in range(2):  # twice is as good as once
        answer = asking(URL)("POST", f"/checks/{check}/cancel")
        assert (answer.status_code, answer.json()) == (202, {"id": check})
    eventually("it has ended", lambda: (found := get(f"/checks/{check}")) is not None and found["done"] == MANY, 300)
    found = get(f"/checks/{check}")
    assert found is not None
    assert found["cancelled_at"] is not None
    assert "cancelled before it was checked" in {result["error"] for result in found["results"]}


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b'{"urls":[]}', 422), (b'{"urls":["ftp://a/"]}', 422), (b" " * (9 << 20), 413)],
    ids=["half a body", "no URL", "another scheme", "nine megabytes"],
)
def test_bad_input_gets_a_problem_document(checker: Namespace, body: bytes, status: int) -> None:
    answer = answer_of(URL, "POST", "/checks", content=body, headers={"content-type": "application/json"})
    assert answer is not None
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_the_password_is_made_in_the_cluster_and_stays(checker: Namespace) -> None:
    def password() -> bytes:
        return b64decode(checker.get("secret", "url-check-database")["data"]["password"])

    before = password()
    assert len(before) >= 32
    checker.kubectl("delete", "pod", "url-check-database-0")
    checker.kubectl("rollout", "status", "statefulset/url-check-database", "--timeout=300s")
    assert password() == before
    eventually("the front goes on with it", lambda: get("/reports") is not None, 120)
