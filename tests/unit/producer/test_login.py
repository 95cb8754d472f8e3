from collections.abc import AsyncIterator
from urllib.parse import urlencode

import httpx
import pytest

from leveret.settings import Places
from leveret_producer.access.login import MOST_FORM
from leveret_producer.app import create_app
from leveret_producer.settings import Settings

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(Places({"LEVERET_TOKEN": "sécret"}), "test"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_of_a_form_that_is_too_large_no_more_is_read_than_tells_it(browser: httpx.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"y" * 1024

    answer = await browser.post("/login", content=endless(), headers=FORM)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert answer.headers["connection"] == "close"
    assert read == MOST_FORM // 1024 + 1


BODIES = {
    "right": (urlencode({"token": "sécret", "next": "/docs"}), 303),
    "right, with a line's end": (urlencode({"token": "sécret\n"}), 303),
    "wrong": (urlencode({"token": "no"}), 403),
    "nothing": ("", 403),
    "no form": ("\0%ff%zz=&&=;", 403),
    "as large as can be": ("token=".ljust(MOST_FORM, "x"), 403),
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES)
async def test_a_form_is_read(browser: httpx.AsyncClient, body: str, status: int) -> None:
    answer = await browser.post("/login", content=body, headers=FORM)
    assert answer.status_code == status
    assert ("set-cookie" in answer.headers) == (status == 303)
