import asyncio
import contextlib
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from leveret.telemetry.probes import LoopBeat, ProbeServer, Readiness


def get(server: ProbeServer, path: str, address: str = "127.0.0.1") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}:{server.port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read().decode()


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def test_health_metrics_and_readiness_answer_from_a_thread() -> None:
    now, ready = [0.0], [False]
    registry = CollectorRegistry()
    Counter("leveret_things", "Things.", registry=registry).inc()
    server = ProbeServer(
        registry, beat=LoopBeat(lambda: now[0]), readiness=lambda: Readiness(ready[0], "waits for the broker"), port=0
    )
    server.start()
    try:
        assert "leveret_things_total 1.0" in get(server, "/metrics")[1]
        assert get(server, "/healthz")[0] == 200
        now[0] = 31.0  # the loop has not turned since
        assert get(server, "/healthz") == (503, '{"ok": false, "says": "the loop turned 31.0 s ago"}\n')
        assert get(server, "/readyz")[0] == 503
        ready[0] = True
        assert get(server, "/readyz") == (200, '{"ok": true, "says": "waits for the broker"}\n')
        assert get(server, "/other")[0] == 404
    finally:
        server.close()


def test_until_its_loop_begins_a_process_is_alive_for_as_long_as_a_start_may_take() -> None:
    now = [0.0]
    beat = LoopBeat(lambda: now[0], begins_within=60)
    now[0] = 59.9
    assert beat.health() == (True, "starting for 59.9 s; it may take 60 s")
    now[0] = 60.0
    assert beat.health() == (False, "starting for 60.0 s; it may take 60 s")


async def test_once_its_loop_turns_that_is_what_counts() -> None:
    now = [0.0]
    beat = LoopBeat(lambda: now[0], begins_within=60)
    now[0] = 50.0
    beating = asyncio.create_task(beat.run())
    await asyncio.sleep(0)
    beating.cancel()
    now[0] = 79.9
    assert beat.health() == (True, "the loop turned 29.9 s ago")
    now[0] = 80.0
    assert not beat.health()[0]


def test_a_registry_is_made_by_the_first_scrape_and_once() -> None:
    made: list[CollectorRegistry] = []

    def make() -> CollectorRegistry:
        made.append(CollectorRegistry())
        Counter("leveret_things", "Things.", registry=made[-1])
        return made[-1]

    server = ProbeServer(make, port=0)
    server.start()
    try:
        assert not made
        for _ in range(2):
            assert "leveret_things_total 0.0" in get(server, "/metrics?name[]=leveret_things_total")[1]
        assert "leveret_things_total" not in get(server, "/metrics?name[]=other")[1]
        assert len(made) == 1
    finally:
        server.close()


ODD = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\r\n\r\n", id="an empty line"),
    pytest.param(b"\xff\xfe\x00 \x80\r\n\r\n", id="no text"),
    pytest.param(b"GET /healthz", id="no line end"),
    pytest.param(b"GET " + b"x" * 100_000 + b"\r\n\r\n", id="a long line"),
    pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1_000 + b"\r\n", id="many headers"),
]


@pytest.mark.parametrize("sent", ODD)
def test_whatever_is_asked_the_next_one_is_answered(sent: bytes) -> None:
    server = ProbeServer(CollectorRegistry(), beat=LoopBeat(lambda: 0.0), port=0)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as asking, contextlib.suppress(OSError):
            asking.sendall(sent)
            asking.shutdown(socket.SHUT_WR)
            while asking.recv(65536):
                pass
        assert get(server, "/healthz")[0] == 200
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as asking:
            asking.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            head = b"".join(iter(lambda: asking.recv(65536), b""))
        assert head.startswith(b"HTTP/1.0 200 OK\r\n")
        assert head.endswith(b"\r\n\r\n")
    finally:
        server.close()


def test_a_process_without_probes_has_only_metrics() -> None:
    server = ProbeServer(CollectorRegistry(), port=0)
    server.start()
    try:
        assert get(server, "/metrics")[0] == 200
        assert get(server, "/readyz")[0] == 404
    finally:
        server.close()


def test_it_answers_on_ipv4_and_on_ipv6_where_the_machine_has_that() -> None:
    server = ProbeServer(CollectorRegistry(), port=0)
    server.start()
    try:
        for address in ["127.0.0.1", "[::1]"] if has_ipv6() else ["127.0.0.1"]:
            assert get(server, "/metrics", address)[0] == 200
    finally:
        server.close()


def test_without_ipv6_it_answers_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    server = ProbeServer(CollectorRegistry(), port=0)
    server.start()
    try:
        assert get(server, "/metrics")[0] == 200
        with pytest.raises(OSError, match=r"refused|unreachable|assign|support"):
            socket.create_connection(("::1", server.port), timeout=30)
    finally:
        server.close()
