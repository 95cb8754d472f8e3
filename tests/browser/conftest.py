"""Chromium, logged in at a producer that has had work to do.

The release in the test cluster, unless LEVERET_E2E_URL and LEVERET_E2E_TOKEN name another one that has the example
JobQueue `bench`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from api import Api
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from release import URL, api_of, apply_examples, install

from clusterkit import debian

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
QUEUE = "leveret.bench"


@pytest.fixture(scope="session")
def api() -> Api:
    if token := os.environ.get("LEVERET_E2E_TOKEN"):
        return Api(URL, token)
    release = install()
    api = api_of(release)
    apply_examples(release, api)
    return api


@pytest.fixture(scope="session")
def work(api: Api) -> Callable[[], None]:
    """Let jobs succeed at once, later, and never."""
    wave = [{"type": "sleep", "payload": {"seconds": 0.1}} for _ in range(200)]
    wave += [{"type": "fail", "payload": {"times": 1}} for _ in range(5)]
    wave += [{"type": "nobody-knows-this", "payload": {}}]

    def do() -> None:
        api.wait_final(QUEUE, api.submit(QUEUE, wave), seconds=300)

    return do


@pytest.fixture(scope="session")
def worked(api: Api, work: Callable[[], None]) -> Api:
    """The API, after some work."""
    work()
    return api


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = debian.program("chromium")
    assert program, "there is no Chromium: python3 cluster/kit.py packages chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def session(worked: Api, chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cookie of a login with the token, as a person does it."""
    kept: Path = tmp_path_factory.mktemp("browser") / "session.json"
    context = chromium.new_context(base_url=worked.url)
    page = context.new_page()
    page.goto("/")
    assert "/login" in page.url, "the page is open to everybody"
    page.get_by_label("Token").fill(worked.token)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{worked.url}/")
    context.storage_state(path=kept)
    context.close()
    return kept


@pytest.fixture
def open_context(worked: Api, chromium: Browser, session: Path) -> Iterator[Callable[..., BrowserContext]]:
    """Make a context that is logged in; options as of Playwright's `new_context`."""
    contexts: list[BrowserContext] = []

    def make(**options: object) -> BrowserContext:
        contexts.append(chromium.new_context(base_url=worked.url, storage_state=session, **options))  # type: ignore[arg-type]
        return contexts[-1]

    yield make
    for context in contexts:
        context.close()
