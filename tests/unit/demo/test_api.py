"""What the demo makes of the API's answers, and of an API that gives none."""

import json
from collections.abc import Callable

import httpx
import pytest

from demo.api import Api, NotThere, Unanswered, connect
from leveret.jobs import State

Answer = Callable[[httpx.Request], httpx.Response]


def api(answer: Answer) -> Api:
    client = httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer))
    return Api(client, "leveret.url-check")


def always(status: int, body: object = None) -> Answer:
    return lambda request: httpx.Response(status, json=body)


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused", request=request)


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("Connection reset by peer", request=request)


def test_a_list_is_submitted_in_order_and_its_ids_come_back_in_order() -> None:
    seen: list[httpx.Request] = []

    def accept(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(202, json={"jobs": [{"id": "1", "state": "queued"}, {"id": "2", "state": "queued"}]})

    assert api(accept).submit(["http://a/", "http://b/"]) == ["1", "2"]
    assert seen[0].url.path == "/v1/queues/leveret.url-check/jobs"
    assert json.loads(seen[0].content) == [
        {"type": "check-url", "payload": {"url": "http://a/"}},
        {"type": "check-url", "payload": {"url": "http://b/"}},
    ]


def test_a_connection_that_breaks_under_a_list_does_not_send_it_twice() -> None:
    with pytest.raises(NotThere, match="may be accepted or not"):
        api(broken).submit(["http://a/"])


def test_a_page_asks_from_its_cursor_on() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"queue": "leveret.url-check", "limit": "500", "before": "c"}
        return httpx.Response(
            200, json={"jobs": [{"id": "1", "state": "dead", "attempt": 4, "error": {}}], "next": None}
        )

    found = api(page).page("c")
    assert [(job.id, job.state, job.attempt) for job in found.jobs] == [("1", State.DEAD, 4)]


def test_what_the_api_does_not_know_about_a_queue_stays_unknown() -> None:
    now = api(always(200, {"name": "leveret.url-check", "backlog": None, "replicas": 0, "decisions": []})).queue_now()
    assert (now.backlog, now.replicas, now.desired_replicas) == (None, 0, None)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (refused, Unanswered, "does not answer"),
        (
            always(503, {"title": "Database unavailable", "detail": "Try again."}),
            Unanswered,
            "503 Database unavailable: Try",
        ),
        (always(404, {"title": "Unknown queue"}), Unanswered, "is not known yet"),
        (always(401), NotThere, "run `make up`"),
        (always(500, "oops"), NotThere, "it answers 500"),
    ],
    ids=["refused", "503", "unknown queue", "token", "500"],
)
def test_an_answer_that_is_no_use_is_a_sentence(answer: Answer, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        api(answer).queue_now()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (always(200), None),
        (always(503), "it answers 503"),
        (refused, "http://api does not answer (Connection refused)"),
    ],
    ids=["ready", "not ready", "refused"],
)
def test_readiness_is_none_or_the_reason(answer: Answer, said: str | None) -> None:
    assert api(answer).ready() == said


def test_the_token_travels_as_a_bearer() -> None:
    found = connect("http://api", "secret", "q")
    assert found.client.headers["Authorization"] == "Bearer secret"
    found.client.close()
