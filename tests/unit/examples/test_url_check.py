"""What the check of one URL reports, against real servers on the loopback address."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from ipaddress import ip_address

import httpcore
import httpx
import pytest

from examples.url_check.check import UrlReport, check
from examples.url_check.handlers import CheckUrl, handlers
from examples.url_check.names import THREADS, Begins, Names
from examples.url_check.policy import Address, Policy
from examples.url_check.web import CheckedNetwork, CheckFailed, Web, web_of_this_loop
from leveret import Context

LOOPBACK = Policy.parse("127.0.0.1")
Check = Callable[[str], Awaitable[UrlReport]]


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    web = Web(LOOPBACK, answer_seconds=10)
    yield web
    await web.close()


@pytest.mark.parametrize(
    ("path", "status", "redirects"),
    [
        ("/ok", 200, []),
        ("/ok?i=17", 200, []),
        ("/slow/0.05", 200, []),
        ("/status/204", 204, []),
        ("/status/301", 301, []),  # names no place to go on to
        ("/status/304", 304, []),
        ("/status/404", 404, []),
        ("/status/499", 499, []),
        ("/nothing-here", 404, []),
        ("/redirect/0", 200, []),
        ("/redirect/1", 200, ["/redirect/0"]),
        ("/redirect/3", 200, ["/redirect/2", "/redirect/1", "/redirect/0"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_any_answer_below_500_is_a_report(
    web: Web, targets: str, path: str, status: int, redirects: list[str]
) -> None:
    report = await check(targets + path, web)
    assert (report.url, report.status, report.error) == (targets + path, status, None)
    assert report.redirects == [targets + place for place in redirects]
    assert report.latency_seconds is not None
    assert 0 < report.latency_seconds < 5


async def test_latency_counts_from_the_first_request_to_the_last_answer(web: Web, targets: str) -> None:
    ticks = iter([100.0, 100.25, 101.5])
    report = await check(f"{targets}/redirect/1", web, clock=lambda: next(ticks))
    assert report.latency_seconds == 1.5


async def test_ten_redirects_are_followed_and_no_more(web: Web, targets: str, hostile: str) -> None:
    assert (await check(f"{targets}/redirect/10", web)).status == 200
    for url in (f"{targets}/redirect/11", f"{hostile}/loop"):
        report = await check(url, web)
        assert report.status in (302, 307)
        assert report.error is not None
        assert report.error.startswith("gave up after 10 redirects")
        assert len(report.redirects) == 10


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/status/500", "answered 500 Internal Server Error"),
        ("/status/503", "answered 503 Service Unavailable"),
        ("/status/599", "answered 599"),
        ("/flaky/a/1", "answered 503 Service Unavailable"),
    ],
    ids=lambda value: value if value.startswith("/") else "",
)
async def test_a_server_that_fails_raises(web: Web, targets: str, path: str, message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        await check(targets + path, web)


@pytest.mark.parametrize("path", ["/hang", "/slow/30"])
async def test_a_server_that_keeps_silent_raises(targets: str, path: str) -> None:
    web = Web(LOOPBACK, answer_seconds=1)
    with pytest.raises(CheckFailed, match=rf"127.0.0.1 did not answer http://127.0.0.1:\d+{path} within 1 s"):
        await check(targets + path, web)
    await web.close()


async def test_a_flaky_server_is_worth_another_attempt(web: Web, targets: str) -> None:
    for _ in range(2):
        with pytest.raises(CheckFailed):
            await check(f"{targets}/flaky/b/2", web)
    assert (await check(f"{targets}/flaky/b/2", web)).status == 200


async def test_a_refused_connection_raises_with_the_system_s_words(web: Web) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(
        CheckFailed, match=rf"could not connect to 127\.0\.0\.1:{port} \(127\.0\.0\.1: Connection refused\)"
    ):
        await check(f"http://127.0.0.1:{port}/", web)


async def test_a_connection_that_breaks_off_raises(web: Web) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CheckFailed, match=r"127\.0\.0\.1 broke off before it answered"):
            await check(f"http://127.0.0.1:{port}/", web)


async def test_a_name_nobody_knows_raises() -> None:
    def look_up(host: str, port: int, type: int) -> object:  # a real server of names may take long to say it
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    names = Names(look_up)
    web = Web(LOOPBACK, resolve=names.resolve)
    with pytest.raises(CheckFailed, match=r"no address is known for nowhere\.invalid"):
        await check("http://nowhere.invalid/", web)
    await web.close()
    names.close()


async def test_a_body_without_end_is_not_read(web: Web, hostile: str) -> None:
    async with asyncio.timeout(30):
        assert (await check(f"{hostile}/endless", web)).status == 200


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254, which is link-local and cloud metadata"),
        ("http://10.0.0.1/", "10.0.0.1, which is private"),
        ("http://0/", "0.0.0.0, which is unspecified"),
        ("http://2130706433/", "127.0.0.1, which is loopback"),
        ("http://0x7f000001/", "127.0.0.1, which is loopback"),
        ("http://127.1/", "127.0.0.1, which is loopback"),
        ("http://[::1]/", "::1, which is loopback"),
        ("http://[::ffff:127.0.0.1]/", "IPv4-mapped"),
        ("http://localhost/", "loopback"),
        ("//localhost/", "loopback"),
        ("file:///etc/passwd", "neither http nor https"),
        ("gopher://127.0.0.1:6379/_INFO", "neither http nor https"),
        ("http://me:secret@127.0.0.1/", "user name or a password"),
    ],
    ids=lambda value: value if ":" in value or value.startswith("//") else "",
)
async def test_a_redirect_to_a_forbidden_place_is_a_report(web: Web, hostile: str, location: str, error: str) -> None:
    url = str(httpx.URL(f"{hostile}/raw-location", params={"value": location}))
    report = await check(url, web)
    assert (report.status, report.latency_seconds) == (None, None)
    assert report.error is not None
    assert report.error.startswith("refused by policy: ")
    assert report.error.endswith(", after 1 redirect")
    assert error in report.error


@pytest.mark.parametrize("location", ["http://[zz]/", "http://0177.0.0.1/", "http://127.0.0.1:99999/", "http://a\tb/"])
async def test_a_location_that_cannot_be_read_is_a_report(web: Web, hostile: str, location: str) -> None:
    url = str(httpx.URL(f"{hostile}/raw-location", params={"value": location}))
    report = await check(url, web)
    assert report.status == 302
    assert report.error is not None
    assert report.error.startswith("not a URL that can be asked: ")


@pytest.mark.parametrize(
    "url",
    ["http://2130706433/", "http://0177.0.0.1/", "http://0x7f.1/", "http://127.1/", "http://[::]/", "http://⑫7.0.0.1/"],
)
async def test_a_disguised_address_is_refused(url: str) -> None:
    web = Web(Policy())
    job = handlers["check-url"].read(json.dumps({"url": url}).encode())
    assert isinstance(job, CheckUrl)
    report = await check(str(job.url), web)
    assert report.status is None
    assert report.error is not None
    assert report.error.startswith("refused by policy: ")
    await web.close()


async def test_a_name_that_changes_its_address_between_looking_and_connecting_gains_nothing(targets: str) -> None:
    """DNS rebinding: a public address for whoever judges, the loopback address for whoever connects."""
    asked: list[str] = []

    async def rebinding(host: str, port: int, begins: Begins) -> list[Address]:
        asked.append(host)
        return [ip_address("127.0.0.1" if len(asked) > 1 else "198.51.101.1")]

    web = Web(Policy(), resolve=rebinding)
    connected: list[str] = []

    class Recorder(httpcore.AnyIOBackend):
        async def connect_tcp(self, host: str, *_args: object, **_options: object) -> httpcore.AsyncNetworkStream:
            connected.append(host)
            raise httpcore.ConnectError("only the address matters here")

    port = httpx.URL(targets).port
    with pytest.raises(CheckFailed):
        await check(f"http://rebind.example:{port}/ok", Web(Policy(), resolve=rebinding, network=Recorder()))
    assert (asked, connected) == (["rebind.example"], ["198.51.101.1"])
    report = await check(f"http://rebind.example:{port}/ok", web)
    assert report.error == (
        "refused by policy: rebind.example has the address 127.0.0.1, which is loopback, not public"
    )
    await web.close()


async def test_one_forbidden_address_among_public_ones_refuses_the_name() -> None:
    async def mixed(host: str, port: int, begins: Begins) -> list[Address]:
        return [ip_address("1.1.1.1"), ip_address("10.0.0.7")]

    web = Web(Policy(), resolve=mixed)
    report = await check("http://mixed.example/", web)
    assert report.error is not None
    assert "mixed.example has the address 10.0.0.7" in report.error
    await web.close()


async def test_the_next_address_is_tried_when_the_first_refuses(targets: str) -> None:
    async def two(host: str, port: int, begins: Begins) -> list[Address]:
        return [ip_address("127.0.0.3"), ip_address("127.0.0.1")]

    web = Web(Policy.parse("two.example"), resolve=two)
    assert (await check(f"http://two.example:{httpx.URL(targets).port}/ok", web)).status == 200
    await web.close()


Answers = Callable[..., object]


def silent_servers(release: threading.Event) -> tuple[list[str], Answers]:
    """A resolver whose servers keep silent about `silent….example` until released, and what it was asked for."""
    asked: list[str] = []

    def look_up(host: str, port: int, type: int) -> object:
        asked.append(host)
        if host.startswith("silent"):
            release.wait(30)
        return socket.getaddrinfo("127.0.0.1", port, type=type)

    return asked, look_up


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_names_that_nobody_answers_for_hold_up_no_other(targets: str, release: threading.Event) -> None:
    asked, look_up = silent_servers(release)
    names = Names(look_up)
    network = CheckedNetwork(Policy.parse("good.example"), names.resolve, httpcore.AnyIOBackend())
    others = [asyncio.create_task(network.connect_tcp(f"silent{i}.example", 80, 0.5)) for i in range(THREADS - 1)]
    ends = await asyncio.gather(*others, return_exceptions=True)
    assert {str(end) for end in ends} == {
        f"could not connect to silent{i}.example:80 within 0.5 s" for i in range(THREADS - 1)
    }
    assert len(asked) == THREADS - 1, "their threads wait on, and there is one more"
    stream = await network.connect_tcp("good.example", httpx.URL(targets).port or 80, 5.0)
    await stream.aclose()
    names.close()


async def test_waiting_for_a_thread_is_not_on_the_time_for_connecting(targets: str, release: threading.Event) -> None:
    asked, look_up = silent_servers(release)
    names = Names(look_up, threads=1)
    network = CheckedNetwork(Policy.parse("good.example"), names.resolve, httpcore.AnyIOBackend())
    with pytest.raises(CheckFailed, match=r"could not connect to silent.example:80 within 0.1 s"):
        await network.connect_tcp("silent.example", 80, 0.1)
    waits = asyncio.create_task(network.connect_tcp("good.example", httpx.URL(targets).port or 80, 2.0))
    done, _ = await asyncio.wait({waits}, timeout=2.5)
    assert (done, asked) == (set(), ["silent.example"])
    release.set()
    await (await waits).aclose()
    names.close()


async def test_the_targets_count_each_request_by_path_with_query(web: Web, targets: str) -> None:
    for path in ("/ok?i=1", "/ok?i=1", "/ok?i=2", "/redirect/1", "/status/404"):
        await check(targets + path, web)
    async with httpx.AsyncClient(trust_env=False) as client:
        seen = (await client.get(f"{targets}/seen")).json()
    assert seen == {"/ok?i=1": 2, "/ok?i=2": 1, "/redirect/1": 1, "/redirect/0": 1, "/status/404": 1}


async def test_the_handler_takes_its_policy_from_the_environment(monkeypatch: pytest.MonkeyPatch, targets: str) -> None:
    monkeypatch.setenv("URL_CHECK_ALLOWED_HOSTS", "127.0.0.1")
    handler = handlers["check-url"]
    run = handler.function
    report = await run(Context(), handler.read(f'{{"url": "{targets}/redirect/1"}}'.encode()))  # type: ignore[misc]
    await web_of_this_loop().close()
    assert isinstance(report, UrlReport)
    assert set(report.model_dump()) == {"url", "status", "latency_seconds", "redirects", "error"}
    assert (report.status, report.redirects) == (200, [f"{targets}/redirect/0"])
