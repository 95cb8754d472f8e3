"""Both clients, by one table: what they send, how long they wait, and what it comes to."""

import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from pretended_api import KINDS, Answer, ask, problem

from leveret.client import (
    AsyncClient,
    BegunCancel,
    Client,
    Closed,
    InvalidRequest,
    KeyReused,
    LeveretError,
    NewJob,
    NotAuthenticated,
    NotConfigured,
    NotUnderstood,
    Patience,
    QueueFull,
    Refused,
    State,
    TimedOut,
    Unavailable,
    UnknownJob,
    UnknownQueue,
    Unsendable,
)

pytestmark = pytest.mark.parametrize("kind", KINDS)

IDS = [UUID(int=number) for number in range(2_501)]
NOW = "Sun, 06 Nov 1994 08:49:37 GMT"


def accepted() -> httpx.Response:
    return httpx.Response(
        202, json={"id": str(IDS[1]), "state": "accepted", "queue": "q", "type": "t", "warning": "hm"}
    )


def cut() -> Exception:
    return httpx.RemoteProtocolError("peer closed connection")


def unreached() -> Exception:
    return httpx.ConnectError("refused")


TRIES = [
    pytest.param([accepted()], [], None, "no", id="at once"),
    pytest.param([cut(), accepted()], [0.1], None, "no", id="a lost answer"),
    pytest.param([unreached(), httpx.ReadTimeout("slow"), accepted()], [0.1, 0.2], None, "no", id="two, and slower"),
    pytest.param([problem(429, "queue-full", retry_after="2"), accepted()], [2.1], None, "no", id="a full queue"),
    pytest.param([problem(503, "overloaded", retry_after="1"), accepted()], [1.1], None, "no", id="overloaded"),
    pytest.param([problem(503, "x", retry_after="soon"), accepted()], [0.1], None, "no", id="a hint that says nothing"),
    pytest.param(
        [problem(503, "x", retry_after="Sun, 06 Nov 1994 08:49:40 GMT", date=NOW), accepted()],
        [3.1],
        None,
        "no",
        id="a date",
    ),
    pytest.param([httpx.Response(502, text="<html>"), accepted()], [0.1], None, "no", id="a proxy's page"),
    pytest.param([problem(409, "request-in-progress", retry_after="1"), accepted()], [1.1], None, "no", id="at work"),
    pytest.param([unreached()] * 20, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2], Unavailable, "no", id="never reached"),
    pytest.param(
        [cut(), *[unreached()] * 19], [0.1, 0.2, 0.4, 0.8, 1.6, 3.2], Unavailable, "unknown", id="lost, and away"
    ),
    pytest.param([cut(), problem(404, "unknown-queue")], [0.1], UnknownQueue, "unknown", id="lost, and gone"),
    pytest.param([problem(429, "queue-full", retry_after="60")], [], QueueFull, "no", id="full for too long"),
    pytest.param([problem(503, "outbox-full", retry_after="9" * 400)], [], Unavailable, "no", id="a hint of ages"),
    pytest.param([problem(401, "not-authenticated")], [], NotAuthenticated, "no", id="a wrong token"),
    pytest.param([problem(422, "invalid-request")], [], InvalidRequest, "no", id="invalid"),
    pytest.param([problem(422, "key-reused")], [], KeyReused, "no", id="another's key"),
    pytest.param([problem(409, "job-finished")], [], Refused, "no", id="another 409"),
    pytest.param([problem(413, "too-large")], [], Refused, "no", id="a slug without a class"),
    pytest.param([problem(500, "internal-error")], [], Unavailable, "unknown", id="a defect"),
    pytest.param(
        [httpx.Response(307, headers={"location": "http://thief/"})], [], NotUnderstood, "no", id="a redirect"
    ),
    pytest.param([httpx.Response(200, text="<html>welcome")], [], NotUnderstood, "no", id="another server"),
]


@pytest.mark.parametrize(("answers", "slept", "error", "stored"), TRIES)
def test_a_submit_is_tried_again_where_that_helps(
    kind: str, answers: list[Answer], slept: list[float], error: type[LeveretError] | None, stored: str
) -> None:
    api, came = ask(kind, answers, lambda client: client.submit("q", "t", {"n": 1}))
    assert api.slept == pytest.approx(slept)
    assert len(api.sent) == len(slept) + 1
    assert len({request.headers["idempotency-key"] for request in api.sent}) == 1
    assert {request.headers["authorization"] for request in api.sent} == {"Bearer t"}
    assert {request.content for request in api.sent} == {b'{"type":"t","payload":{"n":1}}'}
    if error is None:
        assert (came.id, came.state, came.warning) == (IDS[1], State.ACCEPTED, "hm")
    else:
        assert type(came) is error
        assert came.stored == stored
        assert came.key == api.sent[0].headers["idempotency-key"] or error is NotUnderstood
        assert str(came)


def test_each_submit_has_a_key_of_its_own_and_a_callers_wins(kind: str) -> None:
    keys = [ask(kind, [accepted()], lambda client: client.submit("q", "t", 1))[0].sent[0] for _ in range(2)]
    assert len({request.headers["idempotency-key"] for request in keys}) == 2
    api, _ = ask(kind, [cut(), accepted()], lambda client: client.submit("q", "t", 1, key="order-7"))
    assert [request.headers["idempotency-key"] for request in api.sent] == ["order-7"] * 2


def test_attempts_are_bounded_too(kind: str) -> None:
    api, error = ask(
        kind, [unreached()] * 3, lambda client: client.submit("q", "t", 1), patience=Patience(attempts=3), draw=0
    )
    assert (len(api.sent), type(error)) == (3, Unavailable)


def test_times_and_the_queues_name_are_sent(kind: str) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    api, _ = ask(kind, [accepted()], lambda client: client.submit("a/b?c", "t", None, run_at=at))
    assert api.sent[0].url.raw_path == b"/v1/queues/a%2Fb%3Fc/jobs"
    assert json.loads(api.sent[0].content) == {"type": "t", "payload": None, "run_at": "2030-01-01T00:00:00Z"}
    api, _ = ask(kind, [accepted()], lambda client: client.submit("q", "t", None, delay=timedelta(minutes=5)))
    assert json.loads(api.sent[0].content)["delay"] == "5m"


def of_list(request: httpx.Request) -> httpx.Response:
    jobs = [{"id": str(IDS[job["payload"] % 2_500]), "state": "accepted"} for job in json.loads(request.content)]
    return httpx.Response(202, json={"jobs": jobs})


def test_jobs_with_ids_of_their_own_go_without_a_key_and_are_tried_again(kind: str) -> None:
    api, _ = ask(kind, [cut(), accepted()], lambda client: client.submit("q", "t", 1, id=IDS[7]))
    jobs = [NewJob("t", 1, id=IDS[7]), NewJob("t", 2, id=IDS[8])]
    of_list = httpx.Response(202, json={"jobs": [{"id": str(IDS[n]), "state": "queued"} for n in (7, 8)]})
    listed, _ = ask(kind, [cut(), of_list], lambda client: client.submit_many("q", jobs))
    for request in (*api.sent, *listed.sent):
        assert "idempotency-key" not in request.headers
        assert str(IDS[7]) in request.content.decode()
    assert (len(api.sent), len(listed.sent)) == (2, 2)
    _, lost = ask(kind, [cut()] * 20, lambda client: client.submit("q", "t", 1, id=IDS[7]))
    assert (type(lost), lost.stored, lost.key) == (Unavailable, "unknown", None)
    mixed, _ = ask(kind, [of_list], lambda client: client.submit_many("q", [*jobs[:1], NewJob("t", 2)]))
    assert "idempotency-key" in mixed.sent[0].headers


def test_a_long_list_is_cut_and_each_part_has_a_key(kind: str) -> None:
    jobs: list[Any] = [NewJob("t", number) for number in range(20_000)] + [{"type": "t", "payload": 20_000}]
    api, submitted = ask(
        kind, [of_list, cut(), of_list, of_list], lambda client: client.submit_many("q", jobs, key="k")
    )
    assert [request.headers["idempotency-key"] for request in api.sent] == ["k-0", "k-1", "k-1", "k-2"]
    assert [job.id for job in submitted] == [IDS[number % 2_500] for number in range(20_001)]
    api, _ = ask(kind, [of_list], lambda client: client.submit_many("q", jobs[:3], key="k"))
    assert api.sent[0].headers["idempotency-key"] == "k"
    assert ask(kind, [], lambda client: client.submit_many("q", []))[1] == []


def test_what_a_cut_list_stored_is_told_when_the_rest_is_refused(kind: str) -> None:
    jobs = [NewJob("t", number) for number in range(10_001)]
    _, error = ask(
        kind, [of_list, problem(422, "invalid-request")], lambda client: client.submit_many("q", jobs, key="k")
    )
    assert (type(error), len(error.submitted), error.key) == (InvalidRequest, 10_000, "k")


def test_one_bad_job_keeps_a_list_from_being_sent(kind: str) -> None:
    jobs = [*(NewJob("t", number) for number in range(10_001)), NewJob("t", object())]
    api, error = ask(kind, [], lambda client: client.submit_many("q", jobs))
    assert (type(error), api.sent) == (Unsendable, [])


def test_a_job_as_it_is_shown(kind: str) -> None:
    shown = {
        "id": str(IDS[2]),
        "queue": "q",
        "type": "t",
        "state": "succeeded",
        "payload": {"a": 1},
        "result": 3,
        "new": 1,
    }
    shown |= {"attempts": [{"attempt": 1, "outcome": "succeeded"}], "created_at": "2030-01-01T00:00:00Z"}
    api, job = ask(kind, [cut(), httpx.Response(200, json=shown)], lambda client: client.get(str(IDS[2])))
    assert api.sent[1].url.path == f"/v1/jobs/{IDS[2]}"
    assert (job.id, job.state, job.final, job.result, job.attempts[0].attempt) == (IDS[2], State.SUCCEEDED, True, 3, 1)
    _, error = ask(kind, [problem(404, "unknown-job")], lambda client: client.get(IDS[2]))
    assert (type(error), error.stored, error.key) == (UnknownJob, "no", None)


SHOWN = {
    "id": str(IDS[2]),
    "queue": "q",
    "type": "t",
    "state": "running",
    "cancel_requested_at": "2030-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    ("queue", "path"),
    [(None, f"/v1/jobs/{IDS[2]}/cancel"), ("a/b", f"/v1/queues/a%2Fb/jobs/{IDS[2]}/cancel")],
    ids=["by its id", "with its queue"],
)
def test_a_job_is_cancelled_and_a_lost_answer_is_asked_for_again(kind: str, queue: str | None, path: str) -> None:
    answers: list[Answer] = [cut(), httpx.Response(202, json=SHOWN | {"warning": "hm"})]
    api, job = ask(kind, answers, lambda client: client.cancel(str(IDS[2]), queue=queue))
    assert [(sent.method, sent.url.raw_path.decode(), sent.content) for sent in api.sent] == [("POST", path, b"")] * 2
    assert "idempotency-key" not in api.sent[0].headers
    assert (job.id, job.state, job.final, job.warning) == (IDS[2], State.RUNNING, False, "hm")
    assert job.cancel_requested_at == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("answer", "error", "stored", "says"),
    [
        pytest.param(problem(404, "unknown-job"), UnknownJob, "no", "404 unknown-job", id="unknown"),
        pytest.param(problem(409, "job-finished"), Refused, "no", "409 job-finished", id="ended"),
        pytest.param(unreached(), Unavailable, "no", "Jobs go on", id="away"),
        pytest.param(cut(), Unavailable, "unknown", "It may be done or not; do it again", id="lost"),
    ],
)
def test_a_cancel_that_fails_says_what_is_known(
    kind: str, answer: Answer, error: type[LeveretError], stored: str, says: str
) -> None:
    api, came = ask(kind, [answer] * 20, lambda client: client.cancel(IDS[2]))
    assert (type(came), came.stored, came.key) == (error, stored, None)
    assert says in str(came)
    assert len(api.sent) == (7 if error is Unavailable else 1)
    assert type(ask(kind, [], lambda client: client.cancel("no id"))[1]) is Unsendable


def test_many_jobs_are_cancelled_ten_thousand_at_a_time(kind: str) -> None:
    def begun(request: httpx.Request) -> httpx.Response:
        total = len(json.loads(request.content)["ids"])
        counts = {"total": total, "done": 0, "skipped": total // 1_000, "state": "running", "warning": "hm"}
        return httpx.Response(202, json={"id": str(IDS[1]), "queue": "a/b", "action": "cancel", **counts})

    ids = [str(UUID(int=number)) for number in range(10_001)]
    api, came = ask(kind, [cut(), begun, begun], lambda client: client.cancel_many("a/b", [*ids, *ids]))
    assert came == BegunCancel(10_001, 10, "hm")
    sent = [json.loads(request.content)["ids"] for request in api.sent]
    assert sent == [ids[:10_000], ids[:10_000], ids[10_000:]], "a lost answer is asked for again"
    assert {request.url.raw_path for request in api.sent} == {b"/v1/queues/a%2Fb/jobs/cancel"}
    assert all("idempotency-key" not in request.headers for request in api.sent)


def test_a_cancel_of_many_that_fails_says_what_is_known(kind: str) -> None:
    assert ask(kind, [], lambda client: client.cancel_many("q", []))[1] == BegunCancel(0, 0), "asks for nothing"
    _, lost = ask(kind, [cut()] * 20, lambda client: client.cancel_many("q", IDS))
    assert (type(lost), lost.stored) == (Unavailable, "unknown")
    assert (
        type(ask(kind, [problem(404, "unknown-queue")], lambda client: client.cancel_many("q", IDS))[1]) is UnknownQueue
    )
    assert type(ask(kind, [], lambda client: client.cancel_many("q", ["no id"]))[1]) is Unsendable


def looks(*ended_after: int) -> Callable[[httpx.Request], httpx.Response]:
    """Answer looks at jobs: job n has ended at look `ended_after[n]`, from 1, and the others at the first."""
    seen: dict[str, int] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        ids = json.loads(request.content)["ids"]
        for one in ids:
            seen[one] = seen.get(one, 0) + 1
        after = {str(IDS[number]): looks for number, looks in enumerate(ended_after)}
        state = {one: "succeeded" if seen[one] >= after.get(one, 1) else "running" for one in ids}
        return httpx.Response(200, json={"jobs": [{"id": one, "state": state[one]} for one in reversed(ids)]})

    return answer


def test_many_jobs_are_looked_at_a_thousand_at_a_time(kind: str) -> None:
    answer = looks()
    api, jobs = ask(kind, [answer] * 3, lambda client: client.get_many([*IDS, IDS[0]]))
    assert [len(json.loads(request.content)["ids"]) for request in api.sent] == [1_000, 1_000, 501]
    assert [job.id for job in jobs] == IDS
    assert all("idempotency-key" not in request.headers for request in api.sent)
    _, jobs = ask(kind, [httpx.Response(200, json={"jobs": []})], lambda client: client.get_many(IDS[:2]))
    assert jobs == []


def test_jobs_are_waited_for_soon_first_and_then_less_often(kind: str) -> None:
    answer = looks(9, 2, 5)
    api, jobs = ask(kind, [answer] * 9, lambda client: client.wait_many(IDS[:4], timeout=60))
    assert [job.id for job in jobs] == IDS[:4]
    assert api.slept == pytest.approx([0.05 * 1.5**look for look in range(8)])
    assert [len(json.loads(request.content)["ids"]) for request in api.sent] == [4, 3, 2, 2, 2, 1, 1, 1, 1]
    api, job = ask(kind, [looks(40)] * 40, lambda client: client.wait(IDS[0], timeout=600), draw=0)
    assert job.final
    assert max(api.slept) == 1.5  # half of the longest: the draw spreads those who wait


def test_a_wait_ends_in_time_and_says_what_is_open(kind: str) -> None:
    answer = looks(99, 1)
    api, error = ask(kind, [answer] * 99, lambda client: client.wait_many(IDS[:2], timeout=5))
    assert type(error) is TimedOut
    assert (error.pending, [job.id for job in error.ended]) == ((IDS[0],), [IDS[1]])
    assert sum(api.slept) == pytest.approx(5)


def test_a_wait_outlives_an_api_that_is_away_for_longer_than_a_requests_patience(kind: str) -> None:
    api, job = ask(kind, [unreached()] * 12 + [looks()], lambda client: client.wait(IDS[0], timeout=60))
    assert job.final
    assert sum(api.slept) > 10
    api, error = ask(kind, [unreached()] * 99, lambda client: client.wait(IDS[0], timeout=20))
    assert (type(error), type(error.__cause__)) == (TimedOut, Unavailable)
    says = f"whether 1 of 1 jobs have ended, first {IDS[0]}: Leveret's API does not answer: "
    assert says in str(error)
    assert str(error).endswith("refused. They go on; wait again")


def untrusted() -> Exception:
    problem = httpx.ConnectError("certificate verify failed")
    problem.__cause__ = ssl.SSLCertVerificationError("self-signed")
    return problem


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(problem(500, "internal-error"), "the API answers 500 internal-error: so it is. ", id="a defect"),
        pytest.param(httpx.Response(501, text="<html>"), "the API answers 501", id="a proxy that can't"),
        pytest.param(untrusted(), "does not answer: ConnectError certificate verify failed. ", id="a certificate"),
    ],
)
def test_a_wait_that_asking_again_would_not_help_ends_at_once_and_says_why(
    kind: str, answer: Answer, says: str
) -> None:
    api, error = ask(kind, [looks(99, 1), answer], lambda client: client.wait_many(IDS[:2], timeout=60))
    assert (type(error), len(api.sent), error.key) == (Unavailable, 2, None)
    assert says in str(error)
    assert str(error).endswith(". Jobs go on")


@pytest.mark.parametrize("slug", ["queue-full", "overloaded"])
def test_a_wait_whose_next_look_may_only_be_after_its_end_says_why(kind: str, slug: str) -> None:
    status = 429 if slug == "queue-full" else 503
    _, error = ask(kind, [problem(status, slug, retry_after="90")], lambda client: client.wait(IDS[0], timeout=60))
    assert type(error) is TimedOut
    assert f"could not say in time whether 1 of 1 jobs have ended, first {IDS[0]}: " in str(error)
    assert f"{status} {slug}: so it is. They go on" in str(error)


def test_a_wait_for_a_job_that_nobody_knows_says_so(kind: str) -> None:
    _, error = ask(kind, [httpx.Response(200, json={"jobs": []})], lambda client: client.wait(IDS[0], timeout=60))
    assert (type(error), error.slug) == (UnknownJob, "unknown-job")


def test_a_rotated_token_is_read_from_its_folder(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEVERET_TOKEN", raising=False)
    monkeypatch.delenv("LEVERET_URL", raising=False)
    (tmp_path / "token").mkdir()
    (tmp_path / "token" / "token").write_text("old\n")
    (tmp_path / "token" / "url").write_text("http://api/leveret/\n")

    def rotated(_: httpx.Request) -> httpx.Response:
        (tmp_path / "token" / "token").write_text("new\n")
        return problem(401, "not-authenticated")

    api, _ = ask(
        kind, [rotated, accepted()], lambda client: client.submit("q", "t", 1), folder=tmp_path, token=None, url=None
    )
    assert [request.headers["authorization"] for request in api.sent] == ["Bearer old", "Bearer new"]
    assert str(api.sent[0].url) == "http://api/leveret/v1/queues/q/jobs"


SETTINGS = [
    pytest.param({}, "there is no URL", id="no URL"),
    pytest.param({"LEVERET_URL": "http://api"}, "LEVERET_TOKEN is not set", id="no token"),
    pytest.param({"LEVERET_URL": "api:8080", "LEVERET_TOKEN": "t"}, "must look like", id="no scheme"),
    pytest.param({"LEVERET_URL": "amqp://api", "LEVERET_TOKEN": "t"}, "must look like", id="another scheme"),
    pytest.param({"LEVERET_URL": "http://u:hush@api", "LEVERET_TOKEN": "t"}, "without a user", id="a password"),
    pytest.param({"LEVERET_URL": "http://[api", "LEVERET_TOKEN": "t"}, "must look like", id="a bracket"),
    pytest.param({"LEVERET_URL": "http://api", "LEVERET_TOKEN": "hush\nX: y"}, "no header can carry", id="two lines"),
    pytest.param({"LEVERET_URL": "http://api", "LEVERET_TOKEN": "hüsh"}, "no header can carry", id="not ASCII"),
]


@pytest.mark.parametrize(("environment", "says"), SETTINGS)
def test_what_is_missing_is_told_before_anything_is_sent(
    kind: str, environment: dict[str, str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEVERET_URL", "LEVERET_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NotConfigured, match=says) as told:
        (Client if kind == "threads" else AsyncClient)(folder=tmp_path)
    assert "hush" not in str(told.value)


async def test_a_closed_client_says_so(kind: str) -> None:
    if kind == "threads":
        client = Client("http://api", "t")
        client.close()
        with pytest.raises(Closed, match="nothing more was sent"):
            client.get(IDS[0])
    else:
        loops = AsyncClient("http://api", "t")
        await loops.aclose()
        with pytest.raises(Closed, match="nothing more was sent"):
            await loops.get(IDS[0])
