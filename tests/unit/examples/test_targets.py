"""The target servers of url_check, asked directly."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from examples.url_check.targets import create_app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://targets") as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/ok", 200, None),
        ("/slow/0", 200, None),
        ("/status/418", 418, None),
        ("/redirect/2", 302, "/redirect/1"),
        ("/redirect/0", 200, None),
        ("/status/99", 422, None),
        ("/slow/-1", 422, None),
        ("/slow/nan", 422, None),
        ("/flaky/k/0", 200, None),
        ("/healthz", 200, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_target_does_what_its_path_says(
    client: httpx.AsyncClient, path: str, status: int, location: str | None
) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.headers.get("location")) == (status, location)


async def test_flaky_counts_for_each_key_and_number_alone(client: httpx.AsyncClient) -> None:
    async def ask(path: str) -> int:
        return (await client.get(path)).status_code

    assert [await ask("/flaky/a/2") for _ in range(4)] == [503, 503, 200, 200]
    assert [await ask("/flaky/b/2") for _ in range(3)] == [503, 503, 200]
    assert await ask("/flaky/a/1?attempt=1") == 503


async def test_every_request_is_counted_and_logged_in_one_line(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["/ok?i=1", "/ok?i=1", "/ok", "/status/500", "/not/there", "/%C3%A4"]
    for path in [*paths, "/healthz", "/seen"]:
        await client.get(path)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["path"] for line in lines] == paths
    assert {line["method"] for line in lines} == {"GET"}
    seen = (await client.get("/seen")).json()
    assert seen == {"/ok?i=1": 2, "/ok": 1, "/status/500": 1, "/not/there": 1, "/%C3%A4": 1}
