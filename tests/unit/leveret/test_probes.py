import urllib.error
import urllib.request

from prometheus_client import CollectorRegistry, Counter

from leveret.telemetry.probes import LoopBeat, ProbeServer, Readiness


def get(server: ProbeServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read().decode()


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


def test_a_process_without_probes_has_only_metrics() -> None:
    server = ProbeServer(CollectorRegistry(), port=0)
    server.start()
    try:
        assert get(server, "/metrics")[0] == 200
        assert get(server, "/readyz")[0] == 404
    finally:
        server.close()
