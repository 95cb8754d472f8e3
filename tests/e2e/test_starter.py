"""The starter as it is: its four targets, one after the other, and a job on what they made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from api import Api, eventually
from kube import ROOT, Namespace


def test_the_starter_is_copied_tested_built_loaded_and_runs_a_job(
    namespace: Namespace, api: Api, tmp_path: Path
) -> None:
    copy = shutil.copytree(
        ROOT / "examples/starter", tmp_path / "my-jobs", ignore=shutil.ignore_patterns("__pycache__")
    )
    words = ["make", "test", "image", "load", "apply", f"PYTHON={sys.executable}", f"NAMESPACE={namespace.name}"]
    words += [f"CLUSTER={namespace.context.removeprefix('kind-')}", "IMAGE=starter"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    queue = f"{namespace.name}.my-jobs"
    try:
        eventually("the API knows the queue", lambda: api.get(f"/v1/queues/{queue}")["name"] == queue, 120)
        ids = api.submit(queue, [{"type": "greet", "payload": {"name": "Ada", "times": 2}}])
        [job] = api.wait_final(queue, ids, 180).values()
        assert api.get(f"/v1/jobs/{job['id']}")["result"] == ["Hello, Ada!", "Hello, Ada!"]
    finally:
        namespace.kubectl("delete", "jobqueue", "my-jobs", "--ignore-not-found")
        eventually("the API knows it no more", lambda: api.call("GET", f"/v1/queues/{queue}").status == 404, 60)
