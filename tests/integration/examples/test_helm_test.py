"""What `helm test` brings along, on a real broker and store: its job goes to its handler in a consumer and comes back."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from containers import free_port
from kube import CHART
from processes import Start
from producers import TOKEN, operating, producing, ready

from leveret.settings import Broker, Database

QUEUE = "leveret.leveret-helm-test"


async def test_the_job_goes_there_and_back(broker: Broker, database: Database, start: Start, tmp_path: Path) -> None:
    (tmp_path / "helm_test").symlink_to(CHART / "test")  # as the ConfigMap is mounted in the consumer's /app
    async with operating(broker, QUEUE), producing(broker, database) as producer:
        await ready(producer)
        start("leveret_consumer", LEVERET_QUEUE=QUEUE, LEVERET_HANDLERS="helm_test.handlers:handlers", LEVERET_BROKER_URL=broker.url(),
              LEVERET_PROBE_PORT=str(free_port()), PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")  # fmt: skip
        variables = {"LEVERET_URL": str(producer.http.base_url), "LEVERET_TOKEN": TOKEN, "LEVERET_QUEUE": QUEUE}
        command = [sys.executable, str(CHART / "test" / "submit.py")]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert "succeeded, and its result is what was sent" in done.stdout
