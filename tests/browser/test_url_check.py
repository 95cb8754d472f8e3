"""The URL checker's page in a real browser: a check by keyboard, seen as it goes, with and without JavaScript, in light and dark."""

import os
import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from api import Api, eventually
from browsing import SCREENSHOTS, contrast, listen, luminance
from playwright.sync_api import Browser, BrowserContext, Page, expect

URL = os.environ.get("LEVERET_E2E_URL_CHECK_URL", "http://127.0.0.1:18081")
TARGETS = os.environ.get("LEVERET_E2E_TARGETS", "http://url-check-targets")
MANY = 250  # more than two pages
Open = Callable[..., Page]


@pytest.fixture(scope="session")
def ended(api: Api) -> str:
    """The path of a check that has ended: one of its URLs failed, and one could not be shown worse."""
    urls = [f"{TARGETS}/ok?i={n}" for n in range(MANY)]
    urls[17], urls[18] = f"{TARGETS}/status/404", f"{TARGETS}/ok?<script>alert(1)</script>" + "x" * 1_000

    def stored() -> bool:
        try:
            return httpx.get(f"{URL}/reports", trust_env=False).is_success
        except httpx.TransportError:
            return False

    eventually("the front has its database", stored, 300)
    path = httpx.post(f"{URL}/checks", json={"urls": urls}, timeout=60, trust_env=False).headers["location"]
    eventually("it has ended", lambda: httpx.get(f"{URL}{path}", trust_env=False).json()["done"] == MANY, 240)
    return str(path)


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    contexts: list[BrowserContext] = []

    def make(**options: object) -> Page:
        contexts.append(chromium.new_context(base_url=URL, **options))  # type: ignore[arg-type]
        return contexts[-1].new_page()

    yield make
    for context in contexts:
        context.close()


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_a_check_is_begun_with_the_keyboard_and_seen_to_its_end(ended: str, open_page: Open, script: bool) -> None:
    page = open_page(java_script_enabled=script)
    complaints = listen(page)
    page.goto("/")
    for _ in range(5):  # the skip link, the brand, two links, the field
        page.keyboard.press("Tab")
    expect(page.get_by_label("URLs, one a line")).to_be_focused()
    page.keyboard.type(f"{TARGETS}/slow/3?{script}\n{TARGETS}/status/404?{script}")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/checks/"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Check of 2 URLs")
    expect(page.get_by_text("Running.")).to_be_visible()
    if script:
        page.evaluate("window.untouched = true")
        page.get_by_role("region", name="Table of URLs").focus()
    expect(page.get_by_text("Finished.")).to_be_visible(timeout=90_000)
    if script:
        assert page.evaluate("window.untouched"), "it was loaded anew"
        expect(page.get_by_role("region", name="Table of URLs")).to_be_focused()
    expect(page.get_by_text("2 of 2 done, 1 failed")).to_be_visible()
    expect(page.locator("tbody tr").first).to_contain_text("/status/404")
    assert complaints == []


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_a_check_is_cancelled_with_the_keyboard(ended: str, open_page: Open, script: bool) -> None:
    urls = [f"{TARGETS}/slow/5?cancel{n}{script}" for n in range(MANY * 4)]
    path = httpx.post(f"{URL}/checks", json={"urls": urls}, timeout=60, trust_env=False).headers["location"]
    page = open_page(java_script_enabled=script)
    complaints = listen(page)
    page.goto(path)
    assert contrast(page, "#cancel button") >= 4.5
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Cancelled.", exact=True)).to_be_visible(timeout=90_000)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(page.get_by_text("1,000 of 1,000 done")).to_be_visible()
    expect(page.locator("tbody tr").first).to_contain_text("cancelled before it was checked")
    assert [one for one in complaints if not one.startswith("failed: ")] == [], "but a look that the click broke off"


def test_failures_come_first_and_pages_are_links(ended: str, open_page: Open) -> None:
    page = open_page()
    complaints = listen(page)
    page.goto(ended)
    expect(page.locator("tbody tr")).to_have_count(100)
    expect(page.locator("tbody tr").first).to_contain_text("404")
    page.get_by_role("link", name="Next").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"page=2"))
    page.get_by_role("link", name="Next").click()
    page.wait_for_url(re.compile(r"page=3"))
    expect(page.locator("tbody tr")).to_have_count(50)
    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 400])
def test_it_fits_and_can_be_read(ended: str, open_page: Open, width: int, scheme: str) -> None:
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for path, name, selectors in (
        (ended, "check", ("h1", "#state", "#counts p", "#counts .bad", ".note", "thead th", "td.ok", "td.failed", "header nav a")),
        ("/", "form", ("label", "textarea", "button", ".note")),
        ("/checks/none", "problem", (".trouble h1", ".trouble p")),
    ):  # fmt: skip
        page.goto(path)
        page.screenshot(path=SCREENSHOTS / f"url-check-{name}-{width}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        for selector in selectors:
            assert contrast(page, selector) >= 4.5, f"{selector} is hard to read in the {scheme} mode"
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(paper) < 0.2) == (scheme == "dark")
