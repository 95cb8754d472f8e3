"""Every panel's query, put to a real Prometheus that scrapes metrics with the names and labels that we export."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from containers import LABEL, docker, free_port, wait_until
from exporter import Pretended
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, start_http_server

from leveret.panels import PANELS, QUEUES_NOW, Query, fill
from leveret_producer.console import build_router
from leveret_producer.console.prometheus import Prometheus, QueryRefused, Unreachable

CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs: [{{job_name: leveret, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""
QUEUES = {"leveret.bench", "leveret.url-check"}
QUERIES = [pytest.param(query, id=f"{panel.title} {query.name}") for panel in PANELS for query in panel.queries]
QUERIES += [pytest.param(Query(column.title, column.promql), id=f"table {column.title}") for column in QUEUES_NOW]


@pytest.fixture(scope="module")
def exporter() -> Iterator[int]:
    """A system whose time runs a hundred times as fast: after a few scrapes there is something of everything."""
    registry, stop, port = CollectorRegistry(), threading.Event(), free_port()
    pretended = Pretended(registry)

    def live() -> None:
        while not stop.wait(0.05):
            pretended.advance(5.0)

    server, serving = start_http_server(port, addr="127.0.0.1", registry=registry)
    living = threading.Thread(target=live)
    living.start()
    yield port
    stop.set()
    living.join()
    server.shutdown()
    server.server_close()
    serving.join()


@pytest.fixture(scope="module")
def address(exporter: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prometheus, once it has scraped for long enough to know rates."""
    config: Path = tmp_path_factory.mktemp("prometheus") / "prometheus.yml"
    config.write_text(CONFIG.format(port=exporter))
    port = free_port()
    name = f"leveret-test-prometheus-{port}"
    flags = ["--label", LABEL, "--network", "host"]
    docker("create", "--name", name, *flags, "prom/prometheus:v3", "--config.file=/etc/prometheus/ours.yml",
           f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=/tmp/data")  # fmt: skip
    try:
        config.chmod(0o644)
        docker("cp", str(config), f"{name}:/etc/prometheus/ours.yml")
        docker("start", name)
        url = f"http://127.0.0.1:{port}"
        wait_until("twelve scrapes", lambda: _scrapes(url) >= 12)
        yield url
    finally:
        docker("rm", "-f", "-v", name)


def _scrapes(url: str) -> float:
    try:
        answer = httpx.get(f"{url}/api/v1/query", params={"query": "count_over_time(up[10m])"}).json()
    except (httpx.HTTPError, ValueError):
        return 0
    result = answer.get("data", {}).get("result", [])
    return float(result[0]["value"][1]) if result else 0


@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_is_understood_and_finds_data(address: str, query: Query) -> None:
    prometheus, now = Prometheus(address), time.time()
    try:
        series = await prometheus.over(fill(query.promql, None), now - 60, now, 1.0)
        one_queue = await prometheus.over(fill(query.promql, "leveret.bench"), now - 60, now, 1.0)
    finally:
        await prometheus.close()
    assert any(value is not None for each in series for _, value in each.points)
    if query.by_queue:
        assert {each.labels["queue"] for each in series} == QUEUES
        assert {each.labels["queue"] for each in one_queue} == {"leveret.bench"}
    for each in series:
        name = query.name
        for label, value in each.labels.items():
            name = name.replace(f"{{{{{label}}}}}", value)
        assert "{{" not in name


async def test_every_panel_of_the_page_is_drawn(address: str) -> None:
    app = FastAPI()
    app.include_router(build_router(address))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://leveret")
    async with app.router.lifespan_context(app), client:
        html, end = "", time.monotonic() + 60
        while html.count('<svg class="chart"') < len(PANELS) and time.monotonic() < end:
            html = (await client.get("/")).text  # again, where a busy machine has missed a scrape
    assert html.count('<svg class="chart"') == len(PANELS)
    assert "no data" not in html
    assert all(f">{queue}</a>" in html for queue in QUEUES)


async def test_a_query_that_makes_no_sense_is_refused(address: str) -> None:
    prometheus = Prometheus(address)
    with pytest.raises(QueryRefused, match="parse error"):
        await prometheus.now("sum by (", time.time())
    await prometheus.close()


async def test_nobody_listening_is_unreachable() -> None:
    prometheus = Prometheus(f"http://user:secret@127.0.0.1:{free_port()}/")
    with pytest.raises(Unreachable, match="the connection failed"):
        await prometheus.now("up", time.time())
    assert "secret" not in prometheus.place
    await prometheus.close()
