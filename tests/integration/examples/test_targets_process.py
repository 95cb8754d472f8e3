"""The target servers as the process that a pod runs: what it logs, counts, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest
from api import eventually
from containers import free_port


@dataclass(frozen=True, slots=True)
class Targets:
    process: subprocess.Popen[str]
    url: str


@pytest.fixture
def targets() -> Iterator[Targets]:
    port = free_port()
    command = [sys.executable, "-m", "examples.url_check.targets", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(trust_env=False) as client:  # one: each new one reads the certificates
                eventually("it answers", lambda: client.get(f"{url}/healthz").is_success)
            yield Targets(process, url)
        finally:
            process.kill()


def test_log_and_counts_agree_under_load_and_hanging_requests_do_not_keep_it(targets: Targets) -> None:
    paths = [f"/ok?i={i}" for i in range(300)] + ["/flaky/k/2"] * 3
    with httpx.Client(base_url=targets.url, trust_env=False, timeout=60) as client:
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda path: client.get(path).status_code, paths))
        with pytest.raises(httpx.ReadTimeout):
            client.get("/hang", timeout=0.2)
        seen = client.get("/seen").json()
    assert sorted(statuses) == [200] * 301 + [503] * 2
    assert seen == {**{f"/ok?i={i}": 1 for i in range(300)}, "/flaky/k/2": 3, "/hang": 1}

    with httpx.Client(base_url=targets.url, trust_env=False, timeout=90) as client, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(client.get, "/hang?i=2")
        with httpx.Client(trust_env=False) as other:
            while "/hang?i=2" not in other.get(f"{targets.url}/seen").json():
                time.sleep(0.05)
        targets.process.send_signal(signal.SIGTERM)
        out, _ = targets.process.communicate(timeout=60)
        assert hanging.result().status_code == 503  # so that a check of it is tried again
    logged = [json.loads(line)["path"] for line in out.splitlines()]
    assert sorted(logged) == sorted([*paths, "/hang", "/hang?i=2"])
