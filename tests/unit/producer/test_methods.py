"""Methods, challenges and media types as the RFCs have them, and the headers of pages."""

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256

import httpx
import pytest
from fastapi import FastAPI

from leveret.settings import Places
from leveret_producer.app import create_app
from leveret_producer.parts import any_parts, migrated_parts
from leveret_producer.settings import Settings

DEAD = "/v1/queues/leveret.a/dead-letters"
ID = "0190d2c4-0000-7000-8000-000000000000"
PATHS = {
    "/healthz": "GET, HEAD",
    "/login": "GET, HEAD, POST",
    "/docs": "GET, HEAD",
    "/": "GET, HEAD",
    "/static/console.css": "GET, HEAD",
    "/v1/jobs": "GET, HEAD",
    f"/v1/jobs/{ID}": "GET, HEAD",
    "/v1/queues": "GET, HEAD",
    "/v1/queues/leveret.a": "GET, HEAD",
    "/v1/queues/leveret.a/jobs": "POST",
    DEAD: "GET, HEAD",
    f"{DEAD}/{ID}": "GET, HEAD",
    f"{DEAD}/redrive": "POST",
    f"{DEAD}/purge": "POST",
    f"{DEAD}/operations/{ID}": "GET, HEAD",
}
EACH = [(path, method) for path in PATHS for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE")]


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings(Places({"LEVERET_TOKEN": "secret"}), "test"))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Nothing behind the routes has begun: what gets as far as that is a defect."""
    app.dependency_overrides = dict.fromkeys((any_parts, migrated_parts), lambda: None)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        client.headers["Authorization"] = "Bearer secret"
        yield client


@pytest.mark.parametrize(("path", "method"), EACH)
async def test_what_a_path_does_not_take_is_told_with_all_that_it_takes(
    client: httpx.AsyncClient, path: str, method: str
) -> None:
    if method in PATHS[path].split(", "):
        return
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, PATHS[path])
    if method != "HEAD":
        assert answer.json()["type"].endswith("/method-not-allowed")
        said = answer.json()["detail"]
        assert f"does not take {method}, but {PATHS[path]}." in said
        assert ("Nothing was changed." in said, "/docs lists what there is." in said) == (method != "GET", True)
        assert ("POST /v1/queues/{queue}/jobs submits jobs" in said) == (
            method == "POST" and path.startswith("/v1/") and not path.startswith(DEAD)
        )


@pytest.mark.parametrize("path", ["/healthz", "/login", "/docs", "/openapi.json", "/static/console.css", "/nowhere"])
async def test_head_tells_what_get_tells(client: httpx.AsyncClient, path: str) -> None:
    got, told = await client.get(path), await client.head(path)
    assert (told.status_code, told.headers, told.content) == (got.status_code, got.headers, b"")


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (None, "Bearer"),
        ("Bearer wrong", 'Bearer error="invalid_token"'),
        ("Basic c2VjcmV0", 'Bearer error="invalid_token"'),
    ],
)
async def test_a_wrong_token_is_told_from_none(client: httpx.AsyncClient, header: str | None, challenge: str) -> None:
    del client.headers["Authorization"]
    answer = await client.get("/v1/jobs", headers={} if header is None else {"Authorization": header})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, challenge)


@pytest.mark.parametrize("path", ["/v1/queues/leveret.a/jobs", f"{DEAD}/redrive", f"{DEAD}/purge"])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Content-Type": "application/json", "Content-Encoding": "gzip"}, id="gzip"),
        pytest.param({"Content-Type": "application/json", "Content-Encoding": "br, identity"}, id="two codings"),
        pytest.param({"Content-Type": "text/plain"}, id="text"),
        pytest.param({}, id="nothing said"),
    ],
)
async def test_what_is_not_plain_json_is_told_so(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
    answer = await client.post(path, content=b"\x1f\x8b", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["type"].endswith("/unsupported-media-type")
    assert re.search("Nothing was (stored|changed)", answer.json()["detail"])
    assert answer.headers.get("accept-encoding") == ("identity" if "Content-Encoding" in headers else None)


@pytest.mark.parametrize("path", ["/docs", "/login"])
async def test_pages_say_what_may_run_in_them(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert answer.headers["x-content-type-options"] == "nosniff"
    for script in re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL):
        assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy
    assert "persistAuthorization" not in answer.text


@pytest.mark.parametrize("asked", ["//[", "/[", "//[::1", "http://[", "https://x/", "//x", "/\\x", "javascript:1", ""])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_login_goes_to_no_place_that_is_no_path(client: httpx.AsyncClient, method: str, asked: str) -> None:
    if method == "GET":
        answer = await client.get("/login", params={"next": asked})
        assert answer.status_code == 200
        assert f'value="{asked if asked == "/[" else "/"}"' in answer.text
    else:
        answer = await client.post("/login", data={"token": "secret", "next": asked})
        assert (answer.status_code, answer.headers["location"]) == (303, asked if asked == "/[" else "/")
        assert "samesite=lax" in answer.headers["set-cookie"].lower()


async def test_a_defect_is_told_with_its_number(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/jobs")
    assert answer.status_code == 500
    assert answer.json()["instance"].removeprefix("urn:leveret:incident:") in answer.json()["detail"]
