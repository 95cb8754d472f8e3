"""The HTTP interface from outside: bad input, the guard, lists, pages."""

import asyncio
import contextlib
import http.client
import json
import re
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from producers import QUEUE, TOKEN, Producer, eventually_true, known, operating, producing, ready, tell

from leveret.events import RELAXED, HandlerInfo, HandlersRegistered
from leveret.settings import Broker, Database

SCHEMA: dict[str, object] = {
    RELAXED: 1,
    "type": "object",
    "properties": {"value": {"type": "integer"}},
    "required": ["value"],
}


@pytest.fixture
async def producer(broker: Broker, database: Database) -> AsyncIterator[Producer]:
    async with producing(broker, database) as one, operating(broker) as operator:
        await ready(one)
        types = {"strict": HandlerInfo(SCHEMA, max_attempts=2), "odd": HandlerInfo({RELAXED: 1, "type": 7})}
        await tell(operator, f"handlers.{QUEUE}", HandlersRegistered("v1", types))
        await tell(operator, f"handlers.{QUEUE}", HandlersRegistered("v0", {"new": HandlerInfo({"type": "null"})}))
        async with operating(broker, QUEUE):  # told last: once the queue is known, so are its handlers
            await known(one)
        yield one


def _job(payload: object = 1, type: str = "free") -> bytes:
    return json.dumps({"type": type, "payload": payload}).encode()


BAD = [
    (b"", 400, "invalid-json", []),
    (b'{"type":"a","payload":"\xff"}', 400, "invalid-json", []),
    (b'{"type":"a","payload":' + b"[" * 60_000 + b"]" * 60_000 + b"}", 400, "invalid-json", []),
    (b"7", 422, "invalid-request", [""]),
    (b'{"type":"a","payload":1,"after":[]}', 422, "invalid-request", ["/after"]),
    (b"[" + b",".join([_job()] * 10_001) + b"]", 422, "invalid-request", [""]),
    (_job("x" * (256 << 10)), 413, "too-large", []),
    (_job({"value": "a"}, "strict"), 422, "invalid-request", ["/payload/value"]),
    (b"[" + _job() + b"," + _job({}, "strict") + b"]", 422, "invalid-request", ["/1/payload"]),
    (_job().replace(b"1", b"[" * 202 + b"]" * 202), 422, "invalid-request", ["/payload"]),
    (
        _job(type="strict").replace(b"1", b'{"value":' * 900 + b"1" + b"}" * 900),
        422,
        "invalid-request",
        ["/payload"],
    ),
]


async def test_bad_input_is_told_and_nothing_is_stored(producer: Producer) -> None:
    for body, status, slug, pointers in BAD:
        answer = await producer.http.post(
            f"/v1/queues/{QUEUE}/jobs", content=body, headers={"Content-Type": "application/json"}
        )
        _is_problem(answer, status, slug)
        assert [flaw["pointer"] for flaw in answer.json().get("errors", [])] == pointers
        assert "Nothing was stored" in answer.json()["detail"]
    assert (await producer.http.get("/v1/jobs")).json() == {"jobs": [], "next": None}


async def test_a_type_that_no_consumer_told_is_stored_with_a_warning(producer: Producer) -> None:
    known_type, other = {"type": "strict", "payload": {"value": 1}}, {"type": "strikt", "payload": {"value": "a"}}
    assert "warning" not in (await producer.submit(known_type)).json()
    assert "warning" not in (await producer.submit(known_type, known_type)).json()
    for answer in (await producer.submit(other), await producer.submit(known_type, other)):
        assert answer.status_code == 202
        assert "'strikt': those told are 'odd', 'strict'" in answer.json()["warning"]
    one = (await producer.submit(other)).json()
    assert "warning" not in await producer.job(one["id"])


def _is_problem(answer: httpx.Response, status: int, slug: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"https://leveret.dev/problems/{slug}"
    assert answer.json()["status"] == status
    assert "Traceback" not in answer.text


ODD = [
    ("GET", "/v1/jobs/nothing", 422, "invalid-request"),
    ("GET", "/v1/jobs/0192f0c1-2345-7abc-8def-0123456789ab", 404, "unknown-job"),
    ("GET", "/v1/queues/leveret.tset", 404, "unknown-queue"),
    ("GET", "/v1/queues/a%00b", 404, "unknown-queue"),
    ("GET", "/v1/jobs?limit=0", 422, "invalid-request"),
    ("GET", "/v1/jobs?limit=501", 422, "invalid-request"),
    ("GET", "/v1/jobs?limit=x", 422, "invalid-request"),
    ("GET", "/v1/jobs?state=gone", 422, "invalid-request"),
    ("GET", "/v1/jobs?before=xyz", 422, "invalid-request"),
    ("GET", "/v1/jobs?before=%C3%A9", 422, "invalid-request"),
    ("GET", "/v1/jobs?colour=red", 422, "invalid-request"),
    ("GET", "/v1/jobs?queue=%00", 422, "invalid-request"),
    ("GET", "/v1/nothing", 404, "not-found"),
    ("DELETE", "/v1/jobs", 405, "method-not-allowed"),
    ("POST", f"/v1/queues/{QUEUE}/pause", 404, "not-found"),
    ("GET", "/docs/../../etc/passwd", 404, "not-found"),
]


async def test_requests_that_lead_nowhere_are_problems(producer: Producer) -> None:
    for method, path, status, slug in ODD:
        _is_problem(await producer.http.request(method, path), status, slug)
    text = await producer.http.post(f"/v1/queues/{QUEUE}/jobs", content=b"{}", headers={"Content-Type": "text/plain"})
    _is_problem(text, 415, "unsupported-media-type")
    unknown = await producer.http.post("/v1/queues/leveret.tset/jobs", json={"type": "a", "payload": 1})
    _is_problem(unknown, 404, "unknown-queue")
    assert QUEUE in unknown.json()["detail"]


async def test_types_that_no_handler_of_this_version_is_known_for_pass(producer: Producer) -> None:
    for name, attempts in (("new", 5), ("odd", 5), ("never heard of", 5)):
        answer = await producer.submit({"type": name, "payload": {"any": [1.5, None]}})
        assert (answer.status_code, answer.json()["max_attempts"]) == (202, attempts)
    strict = await producer.submit({"type": "strict", "payload": {"value": 3}})
    assert strict.json()["max_attempts"] == 2


async def test_the_text_of_a_payload_is_kept(producer: Producer) -> None:
    payload = '{ "a" : 1.50,"a":2, "big":123456789012345678901234567890, "far":1e999, "s":"\\u0000\\ud83d\\ude00é" }'
    body = f'{{"type":"free","payload":{payload}}}'
    answer = await producer.http.post(
        f"/v1/queues/{QUEUE}/jobs", content=body.encode(), headers={"Content-Type": "application/json; charset=utf-8"}
    )
    assert answer.status_code == 202, answer.text
    assert payload in answer.text
    assert payload in (await producer.http.get(answer.headers["location"])).text


async def test_ten_megabytes_are_refused_at_once(producer: Producer) -> None:
    body = json.dumps({"type": "a", "payload": "x" * (10 << 20)}).encode()

    def post(chunked: bool) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(producer.http.base_url.host, producer.http.base_url.port, timeout=30)
        content = (body[at : at + 65_536] for at in range(0, len(body), 65_536)) if chunked else body
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        connection.request("POST", f"/v1/queues/{QUEUE}/jobs", content, headers, encode_chunked=chunked)
        with contextlib.closing(connection):
            answer = connection.getresponse()
            return answer.status, answer.read()

    for chunked in (False, True):
        status, told = await asyncio.to_thread(post, chunked)
        assert status == 413
        assert b"too-large" in told


async def test_what_strangers_send_ends_and_harms_nobody_beside(producer: Producer) -> None:
    body = _job()
    start = b"POST /v1/queues/%s/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % QUEUE.encode()
    post = start + b"Authorization: Bearer %s\r\n%%sContent-Length: %d\r\n\r\n" % (TOKEN.encode(), len(body)) + body
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAE\r\n"
    chunked = start + b"Authorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n" % TOKEN.encode()
    sent = {
        post % b"" + b"\x16\x03\x01": [202, 400],
        post % offer + post % b"Connection: close\r\n": [202, 202],
        chunked + b"0\r\n" + b"a: b\r\n" * 50_000: [431],
        chunked + b"1;" + b"a" * 300_000: [431],
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500_000: [431],
        start + b"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer %s\r\n\r\n\0" % TOKEN.encode(): [
            401,
            400,
        ],
    }

    async def answers(data: bytes) -> list[int]:
        reader, writer = await asyncio.open_connection(producer.http.base_url.host, producer.http.base_url.port)
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
        found = re.findall(rb"HTTP/1\.1 (\d+) ", await reader.read())
        writer.close()
        return [int(status) for status in found]

    found = await asyncio.gather(
        *(answers(data) for data in sent), *(producer.submit({"type": "free", "payload": 1}) for _ in range(20))
    )
    assert found[: len(sent)] == list(sent.values())
    assert {answer.status_code for answer in found[len(sent) :]} == {202}


async def test_ten_thousand_jobs_are_stored_and_published(producer: Producer) -> None:
    jobs = [{"type": "free", "payload": number} for number in range(10_000)]
    began = time.perf_counter()
    answer = await producer.submit(*jobs)
    accepted = time.perf_counter() - began
    assert answer.status_code == 202, answer.text
    ids = [one["id"] for one in answer.json()["jobs"]]
    assert len(set(ids)) == 10_000

    async def confirmed() -> bool:
        return not (await producer.http.get("/v1/jobs?state=accepted&limit=1")).json()["jobs"]

    await eventually_true(confirmed, "all are confirmed", seconds=60)
    print(f"10,000 jobs: accepted after {accepted:.2f} s, confirmed after {time.perf_counter() - began:.2f} s")


async def test_pages_hold_every_job_once_newest_first(producer: Producer) -> None:
    answer = await producer.submit(*({"type": f"t{number % 2}", "payload": number} for number in range(25)))
    ids = [one["id"] for one in answer.json()["jobs"]]
    for filters, expected in (("", ids), ("&type=t1", ids[1::2]), (f"&queue={QUEUE}", ids), ("&queue=other", [])):
        found: list[str] = []
        path = f"/v1/jobs?limit=10{filters}"
        while True:
            page = (await producer.http.get(path)).json()
            found += [job["id"] for job in page["jobs"]]
            assert all("payload" not in job and "result" not in job for job in page["jobs"])
            if page["next"] is None:
                break
            path = f"/v1/jobs?limit=10{filters}&before={page['next']}"
        assert found == expected[::-1]


async def test_nothing_but_health_and_login_is_open(producer: Producer) -> None:
    url = producer.http.base_url
    async with httpx.AsyncClient(base_url=url) as stranger:
        for path in ("/healthz", "/readyz", "/login"):
            assert (await stranger.get(path)).status_code == 200, path
        for path in ("/", "/docs", "/openapi.json", "/docs/swagger-ui.css", "/v1/jobs", "/v1/queues", "/nothing"):
            answer = await stranger.get(path)
            _is_problem(answer, 401, "not-authenticated")
            assert answer.headers["www-authenticate"] == "Bearer"
        wrong = await stranger.get("/v1/jobs", headers={"Authorization": "Bearer no"})
        _is_problem(wrong, 401, "not-authenticated")
        to_login = await stranger.get("/docs", headers={"Accept": "text/html,*/*"})
        assert (to_login.status_code, to_login.headers["location"]) == (303, "/login?next=/docs")


async def test_a_browser_logs_in_for_the_pages_only(producer: Producer) -> None:
    async with httpx.AsyncClient(base_url=producer.http.base_url) as browser:
        refused = await browser.post("/login", data={"token": "no", "next": "/docs"})
        assert refused.status_code == 403
        assert "not the token" in refused.text
        entered = await browser.post("/login", data={"token": TOKEN, "next": "//elsewhere.example"})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert "httponly" in entered.headers["set-cookie"].lower()
        assert "samesite=lax" in entered.headers["set-cookie"].lower()
        assert TOKEN not in entered.headers["set-cookie"]
        for path in ("/", "/docs", "/openapi.json", "/docs/swagger-ui-bundle.js"):
            assert (await browser.get(path)).status_code == 200, path
        _is_problem(await browser.get("/v1/jobs"), 401, "not-authenticated")


async def test_the_openapi_document_names_what_exists(producer: Producer) -> None:
    document = (await producer.http.get("/openapi.json")).json()
    assert set(document["paths"]) == {
        "/healthz", "/readyz", "/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/get", "/v1/queues", "/v1/queues/{queue}",
        "/v1/queues/{queue}/jobs", "/v1/jobs/{id}/cancel", "/v1/queues/{queue}/jobs/{id}/cancel",
        "/v1/queues/{queue}/jobs/cancel", "/v1/queues/{queue}/operations/{id}",
        *(f"/v1/queues/{{queue}}/dead-letters{path}" for path in ("", "/{id}", "/redrive", "/purge", "/operations/{id}")),
    }  # fmt: skip
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in document["components"]["schemas"]
    submit = document["paths"]["/v1/queues/{queue}/jobs"]["post"]
    assert set(submit["responses"]) == {"202", "400", "401", "404", "409", "413", "415", "422", "429", "500", "503"}
    assert '"type": "null"' not in text
