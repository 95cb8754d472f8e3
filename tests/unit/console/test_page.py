"""The page, with a Prometheus whose answers have the shapes that a real one's have."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pretended_prometheus import NOW, QUEUES, Broken, Pretended, Refusing, refused, too_slow

from leveret.panels import PANELS
from leveret_producer.console import build_router


@asynccontextmanager
async def page(
    transport: httpx.AsyncBaseTransport | None, clock: Callable[[], float] = lambda: NOW
) -> AsyncIterator[httpx.AsyncClient]:
    url = "http://reader:secret@prometheus:9090/metrics-of-ours/" if transport else None
    app = FastAPI()
    app.include_router(build_router(url, transport=transport, clock=clock))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://leveret") as client,
    ):
        yield client


class Reader(HTMLParser):
    """Collects what a test asks about, and fails on tags that do not match."""

    VOID = ("meta", "link", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


async def test_every_panel_is_drawn_with_lines() -> None:
    async with page(Pretended()) as client:
        answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.text.count('<svg class="chart"') == len(PANELS)
    assert "no data" not in answer.text
    for queue in QUEUES:
        assert f"/?queue={queue}" in answer.text


async def test_it_runs_no_script_and_loads_nothing_from_elsewhere() -> None:
    async with page(Pretended()) as client:
        answer = await client.get("/")
        read = Reader(answer.text)
        assert read.all("script") == read.all("style") == []
        assert not [name for _, attributes in read.tags for name in attributes if name == "style" or name[:2] == "on"]
        linked = [link["href"] for link in read.all("link")] + [image["src"] for image in read.all("img")]
        for address in linked:
            found = await client.get(str(address))
            assert found.status_code == 200
            assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy


async def test_a_page_that_is_older_than_the_files_does_not_keep_them() -> None:
    async with page(None) as client:
        assert (await client.get("/static/console.css?v=old")).headers["cache-control"] == "public, max-age=300"
        assert (await client.get("/static/other.css")).status_code == 404


@pytest.mark.parametrize(
    ("address", "start", "step"),
    [
        pytest.param("/", 900, 5, id="usually a quarter of an hour"),
        pytest.param("/?range=1h", 3600, 15, id="an hour"),
        pytest.param("/?range=6h", 21600, 60, id="six hours"),
        pytest.param("/?range=24h", 86400, 120, id="a day"),
        pytest.param("/?range=1y", 900, 5, id="no such range"),
    ],
)
async def test_the_range_is_chosen_in_the_address(address: str, start: float, step: float) -> None:
    prometheus = Pretended()
    async with page(prometheus) as client:
        await client.get(address)
    ranges = [form for path, form in prometheus.asked if path == "/metrics-of-ours/api/v1/query_range"]
    assert len(ranges) == sum(len(panel.queries) for panel in PANELS)
    assert {(float(form["start"]), float(form["end"]), float(form["step"])) for form in ranges} == {
        (NOW - start, NOW, step)
    }


async def test_one_queue_is_chosen_in_the_address() -> None:
    prometheus = Pretended()
    async with page(prometheus) as client:
        answer = await client.get("/?queue=leveret.bench&range=1h")
    asked = [form["query"] for path, form in prometheus.asked if path.endswith("query_range")]
    assert any(r'queue=~"leveret\\.bench"' in query for query in asked)
    assert "<title>leveret.bench · Leveret</title>" in answer.text
    assert 'href="/?queue=leveret.bench&amp;range=6h"' in answer.text


async def test_a_queue_that_nobody_knows_is_said_and_cannot_break_out() -> None:
    async with page(Pretended()) as client:
        answer = await client.get("/", params={"queue": '"><script>alert(1)</script>'})
    assert answer.status_code == 200
    assert "<script" not in answer.text
    assert "Prometheus knows no queue named" in answer.text


async def test_it_refreshes_itself_until_told_not_to() -> None:
    async with page(Pretended()) as client:
        live, still = (await client.get("/")).text, (await client.get("/?refresh=0")).text
    assert '<meta http-equiv="refresh" content="10">' in live
    assert 'href="/?refresh=0"' in live
    assert "http-equiv" not in still
    assert 'href="/?range=1h&amp;refresh=0"' in still


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
async def test_what_could_not_be_computed_is_unknown(value: str) -> None:
    async with page(Pretended(value=value)) as client:
        answer = await client.get("/")
    assert answer.text.count("no data") == len(PANELS)
    assert not re.search(r"\b(nan|inf)\b", answer.text, re.IGNORECASE)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        pytest.param(refused, "the connection failed", id="nobody there"),
        pytest.param(too_slow, "it took too long to answer", id="too slow"),
        pytest.param(lambda _: httpx.Response(502, text="<h1>Bad gateway"), "it answered 502", id="a proxy's error"),
        pytest.param(lambda _: httpx.Response(200, json=[]), "not as Prometheus does", id="somebody else"),
        pytest.param(
            lambda _: httpx.Response(503, json={"status": "error", "error": "starting"}),
            "it answered 503",
            id="starting",
        ),
    ],
)
async def test_a_silent_prometheus_is_said_with_what_to_do(
    how: Callable[[httpx.Request], httpx.Response], said: str
) -> None:
    broken = Broken(how)
    async with page(broken) as client:
        answer = await client.get("/")
    assert answer.status_code == 200
    assert "Prometheus at prometheus:9090 does not answer" in answer.text
    assert said in answer.text
    assert "secret" not in answer.text
    assert "kubectl -n leveret get pods" in answer.text
    assert broken.asked < 15  # not once for every panel


async def test_no_prometheus_is_said_with_what_to_do() -> None:
    async with page(None) as client:
        answer = await client.get("/")
    assert answer.status_code == 200
    assert "No Prometheus is configured" in answer.text
    assert "prometheus.url" in answer.text


async def test_no_queue_yet_is_said_with_what_to_do() -> None:
    async with page(Pretended(queues=())) as client:
        answer = await client.get("/")
    assert "No queue has been seen yet" in answer.text
    assert "kubectl apply -n leveret" in answer.text


async def test_a_query_that_is_refused_takes_only_its_panel() -> None:
    async with page(Refusing()) as client:
        answer = await client.get("/")
    assert answer.text.count("no data") == 1
    assert "Prometheus refused the query: too many samples &lt;here&gt;" in answer.text


async def test_many_viewers_cost_what_one_costs() -> None:
    prometheus = Pretended()
    async with page(prometheus) as client:
        await asyncio.gather(*(client.get("/") for _ in range(20)))
        once = len(prometheus.asked)
        await client.get("/?refresh=0")
        assert len(prometheus.asked) == once


MANY = tuple(f"leveret.queue-{number:04}" for number in range(1000))
PER_QUEUE = sum(query.by_queue for panel in PANELS for query in panel.queries)


async def test_of_many_queues_prometheus_chooses_the_highest() -> None:
    prometheus = Pretended(MANY)
    async with page(prometheus) as client:
        answer = await client.get("/?range=24h")
    ranges = [form["query"] for path, form in prometheus.asked if path.endswith("query_range")]
    assert sum("0999" in query and "0988" in query and "0987" not in query for query in ranges) == PER_QUEUE
    assert not [query for query in ranges if ".*" in query]
    chosen = [form["query"] for _, form in prometheus.asked if form["query"].startswith("topk(12, max by (queue) (")]
    assert len(chosen) == PER_QUEUE - 2 - 2 - 1, "of quantiles only the highest is asked for"
    assert all("[86400s:120s]" in query for query in chosen)
    assert answer.text.count("Only the highest of 1,000 queues") == sum(panel.by_queue for panel in PANELS)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Full(Pretended):
    """Has a value for every step; looks how much memory is taken whenever it is asked."""

    most = 0

    def answer(self, path: str, form: dict[str, str]) -> httpx.Response:
        self.most = max(self.most, resident())
        return super().answer(path, form)

    def times(self, start: float, end: float, step: float) -> list[float]:
        return [start + step * number for number in range(round((end - start) / step) + 1)]


async def test_a_day_of_a_thousand_queues_takes_little_memory_and_keeps_none() -> None:
    prometheus = Full(MANY)
    async with page(prometheus) as client:
        await client.get("/")
        before, prometheus.most = resident(), 0
        answers = await asyncio.gather(*(client.get(f"/?range=24h{more}") for more in ("", "&refresh=0")))
        most = max(prometheus.most, resident()) - before
    assert all(answer.text.count('<svg class="chart"') == len(PANELS) for answer in answers)
    print(f"\n{most / 2**20:.0f} MiB")
    assert most < 60 * 2**20


async def test_what_is_too_large_is_not_read() -> None:
    class Large(Pretended):
        def answer(self, path: str, form: dict[str, str]) -> httpx.Response:
            large = path.endswith("query_range") and "leveret_job_retries_total" in form["query"]
            return httpx.Response(200, content=b" " * 2**23) if large else super().answer(path, form)

    async with page(Large()) as client:
        answer = await client.get("/")
    assert answer.text.count("no data") == 1
    assert "its answer is larger than 4 MiB; choose a queue, or a shorter time" in answer.text


async def test_queues_that_are_gone_keep_their_colours_beside_the_others() -> None:
    gone = tuple(f"leveret.gone-{number}" for number in range(5))
    async with page(Pretended(gone=gone)) as client:
        text = (await client.get("/")).text
    (legend,) = (part for part in text.split("<h3>") if part.startswith("Retries"))
    styles = dict(re.findall(r'line (c\d) d0" d="M2 4H18"/></svg>([\w-]+)', legend))
    assert len(styles) == len(QUEUES) + len(gone), "each queue has a colour that no other has"
    (row,) = (part for part in text.split("<tr") if 'queue=leveret.bench"' in part)
    assert f'class="{next(colour for colour, name in styles.items() if name == "bench")}"' in row


async def test_a_failure_is_told_to_those_who_waited_and_not_kept() -> None:
    broken = Broken(refused)
    async with page(broken) as client:
        for answer in await asyncio.gather(client.get("/"), client.get("/")):
            assert "does not answer" in answer.text
        broken.how = lambda request: Pretended().answer(
            request.url.path, dict.fromkeys(("start", "end", "step"), str(NOW)) | {"query": "queue"}
        )
        assert "does not answer" not in (await client.get("/")).text


async def test_the_html_is_well_formed_and_what_is_referred_to_is_there() -> None:
    async with page(Pretended()) as client:
        read = Reader((await client.get("/")).text)
    named = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(named) == len(set(named))
    for _, attributes in read.tags:
        assert set(str(attributes.get("aria-labelledby") or "").split()) <= set(named)
