"""The page in a real browser, after real jobs."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from api import Api
from browsing import SCREENSHOTS, contrast, listen, luminance
from playwright.sync_api import Browser, BrowserContext, Page, expect

from leveret.panels import PANELS

QUEUE = "leveret.bench"
STILL = "/?refresh=0"
ADDRESSES = {"all queues": STILL, "one queue": f"{STILL}&queue={QUEUE}&range=1h"}
# A queue that never waited long has no oldest job, and a reaction needs a scale-up after the first scrape.
MAY_BE_EMPTY = {"Oldest waiting job", "Reaction"}
DRAWN_WITHIN = 120.0  # s; a busy node misses scrapes, and a line needs two that worked
OpenContext = Callable[..., BrowserContext]


def without_a_line(page: Page) -> dict[str, list[str]]:
    """Of the panels that must show one, those that don't, and what they show instead."""
    cards, found = page.locator("figure.card"), {}
    for panel in PANELS:
        card = cards.filter(has=page.get_by_role("heading", name=heading(panel.title)))
        paths = [line.get_attribute("d") or "" for line in card.locator("svg.chart path.line").all()]
        if panel.title not in MAY_BE_EMPTY and not any(re.search(r"[LHV]", path) for path in paths):
            found[panel.title] = paths
    return found


def heading(title: str) -> re.Pattern[str]:
    return re.compile(f"^{title}( |$)")


@pytest.fixture(scope="module")
def drawn(worked: Api, work: Callable[[], None], chromium: Browser, session: Path) -> None:
    """Work goes on until each panel has been scraped often enough for a line, or long enough for that: the tests judge."""
    end = time.monotonic() + DRAWN_WITHIN
    context = chromium.new_context(base_url=worked.url, storage_state=session)
    page = context.new_page()
    for address in ADDRESSES.values():
        page.goto(address)
        while without_a_line(page) and time.monotonic() < end:
            work()
            page.goto(address)
    context.close()


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_every_panel_is_drawn(drawn: None, open_context: OpenContext, address: str, script: bool) -> None:
    page = open_context(java_script_enabled=script).new_page()
    complaints = listen(page)
    page.goto(address)
    cards = page.locator("figure.card")
    expect(cards).to_have_count(len(PANELS))
    for panel in PANELS:
        expect(cards.filter(has=page.get_by_role("heading", name=heading(panel.title)))).to_have_count(1)
    assert without_a_line(page) == {}
    expect(page.locator("#queues").get_by_role("link", name=QUEUE)).to_be_visible()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 800, 400])
def test_it_fits_and_can_be_read(open_context: OpenContext, width: int, scheme: str) -> None:
    page = open_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    page.goto(STILL)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"cluster-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("h1", ".card h3", ".card figcaption p", ".keys", ".ranges a[aria-current]", "thead th"):
        assert contrast(page, selector) >= 4.5, f"{selector} is hard to read in the {scheme} mode"
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) < 0.2) == (scheme == "dark")


def test_everything_can_be_reached_with_the_keyboard(open_context: OpenContext) -> None:
    page = open_context().new_page()
    page.goto(STILL)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(page.locator("a").count()):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        reached.add(page.evaluate("document.activeElement.getAttribute('href')"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    links = {link.get_attribute("href") for link in page.locator("a:not(.skip)").all()}
    assert links <= reached
    page.locator("#queues").get_by_role("link", name=QUEUE).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"queue={re.escape(QUEUE)}"))
    expect(page.get_by_role("heading", level=1)).to_contain_text(QUEUE)


def test_the_range_is_a_link(open_context: OpenContext) -> None:
    page = open_context().new_page()
    page.goto(STILL)
    page.get_by_role("link", name="6h").click()
    page.wait_for_url(re.compile("range=6h"))
    expect(page.locator(".ranges [aria-current]")).to_have_text("6h")


def test_it_refreshes_itself(open_context: OpenContext) -> None:
    page = open_context().new_page()
    page.goto("/")
    before = page.locator("time").inner_text()
    expect(page.locator("time")).not_to_have_text(before, timeout=60_000)
    page.get_by_role("link", name="stop refreshing").click()
    page.wait_for_url(re.compile("refresh=0"))
    expect(page.locator('meta[http-equiv="refresh"]')).to_have_count(0)
