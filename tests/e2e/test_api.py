"""The front door as it is reached from outside: through the Service, with and without a token, with good and bad input."""

import json
from typing import Any
from uuid import uuid4

import pytest
from api import Api, eventually
from kube import Namespace
from release import producer_metrics

QUEUE = "/v1/queues/leveret.bench/jobs"
NOOP = {"type": "noop", "payload": {}}


def test_a_job_goes_the_whole_way(api: Api, examples: None) -> None:
    answer = api.call("POST", QUEUE, {"type": "echo", "payload": {"value": [1, "zwei", None]}})
    assert answer.status == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.body['id']}"
    assert answer.body["state"] == "accepted"
    api.wait_final("leveret.bench", [answer.body["id"]], 180)
    job = api.get(answer.headers["location"])
    assert (job["state"], job["result"], job["attempt"]) == ("succeeded", [1, "zwei", None], 1)
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["succeeded"]
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]


def test_what_is_sent_again_with_its_key_is_stored_once(api: Api, examples: None) -> None:
    """Whichever producer it comes to; and what became of it is told by its id."""
    asked, key = {"type": "echo", "payload": {"value": "once"}}, {"idempotency-key": uuid4().hex}
    answers = [api.call("POST", QUEUE, asked, **key) for _ in range(6)]
    assert {answer.status for answer in answers} == {202}
    [job] = {answer.body["id"] for answer in answers}
    assert api.call("POST", QUEUE, [asked], **key).status == 422
    api.wait_final("leveret.bench", [job], 180)
    told = api.call("POST", "/v1/jobs/get", {"ids": [str(uuid4()), job]})
    assert told.body == {"jobs": [{"id": job, "state": "succeeded", "result": "once", "error": None}]}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "slug"),
    [
        pytest.param(QUEUE, b"{", {}, 400, "invalid-json", id="invalid-json"),
        pytest.param(QUEUE, {"type": 5, "payload": {}}, {}, 422, "invalid-request", id="wrong-type"),
        pytest.param(QUEUE, {"payload": {}}, {}, 422, "invalid-request", id="no-type"),
        pytest.param(QUEUE, NOOP | {"later": 1}, {}, 422, "invalid-request", id="unknown-field"),
        pytest.param(QUEUE, [NOOP, {"type": "noop"}], {}, 422, "invalid-request", id="one-bad-in-a-list"),
        pytest.param(QUEUE, NOOP, {"content-type": "text/plain"}, 415, "unsupported-media-type", id="media-type"),
        pytest.param(QUEUE, NOOP, {"authorization": ""}, 401, "not-authenticated", id="no-token"),
        pytest.param(QUEUE, NOOP, {"authorization": "Bearer wrong"}, 401, "not-authenticated", id="wrong-token"),
        pytest.param("/v1/queues/leveret.nobody/jobs", NOOP, {}, 404, "unknown-queue", id="unknown-queue"),
        pytest.param(QUEUE, b" " * (10 << 20), {}, 413, "too-large", id="ten-megabytes"),
        pytest.param(QUEUE, NOOP | {"payload": {"x": "y" * (256 << 10)}}, {}, 413, "too-large", id="large-payload"),
    ],
)
def test_bad_input_gets_a_problem_document(
    api: Api, examples: None, path: str, body: Any, headers: dict[str, str], status: int, slug: str
) -> None:
    answer = api.call("POST", path, body, **headers)
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.body["type"] == f"https://leveret.dev/problems/{slug}"
    assert answer.body["status"] == status
    assert answer.body["title"]
    assert answer.body["detail"]
    assert "Traceback" not in json.dumps(answer.body)


def test_a_payload_that_the_handler_would_refuse_is_refused_at_the_door(api: Api, examples: None) -> None:
    def refused() -> bool:  # once a consumer has registered its handlers
        return api.call("POST", QUEUE, {"type": "sleep", "payload": {"seconds": "long"}}).status == 422

    eventually("the handlers are registered", refused, 180)
    answer = api.call("POST", QUEUE, [NOOP, {"type": "sleep", "payload": {"seconds": "long"}}])
    assert answer.body["errors"][0]["pointer"] == "/1/payload/seconds"


def test_a_job_for_later_waits_for_its_time(api: Api, examples: None) -> None:
    answer = api.call("POST", QUEUE, NOOP | {"delay": "3s"})
    assert answer.body["state"] == "scheduled"
    api.wait_final("leveret.bench", [answer.body["id"]], 180)
    job = api.get(answer.headers["location"])
    assert job["state"] == "succeeded"
    assert job["run_at"] <= job["started_at"]


def test_an_unknown_job_is_a_problem_too(api: Api, examples: None) -> None:
    answer = api.call("GET", "/v1/jobs/00000000-0000-7000-8000-000000000000")
    assert (answer.status, answer.body["type"]) == (404, "https://leveret.dev/problems/unknown-job")


def test_both_producers_get_traffic(api: Api, namespace: Namespace, examples: None) -> None:
    for _ in range(40):
        assert api.call("POST", QUEUE, NOOP).status == 202
    accepted = {
        pod: values.get('leveret_jobs_submitted_total{queue="leveret.bench"}', 0)
        for pod, values in producer_metrics(namespace).items()
    }
    assert len(accepted) == 2, accepted
    assert min(accepted.values()) > 0, accepted


def test_open_without_a_token_is_only_what_must_be(api: Api) -> None:
    open_paths = {
        path: Api(api.url, "").call("GET", path, authorization="").status
        for path in ("/healthz", "/readyz", "/login", "/v1/jobs", "/v1/queues", "/openapi.json")
    }
    assert open_paths == {
        "/healthz": 200, "/readyz": 200, "/login": 200, "/v1/jobs": 401, "/v1/queues": 401, "/openapi.json": 401,
    }  # fmt: skip
