"""kubectl and helm as the tests use them: one cluster, one namespace at a time."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "leveret"
FETCHED = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leveret-cluster" / "bin"


def tool(name: str) -> str:
    """Return the path of kind, kubectl or helm: the one that the cluster kit fetched, else the one on PATH."""
    if (FETCHED / name).exists():
        return str(FETCHED / name)
    found = shutil.which(name)
    if not found:
        raise RuntimeError(f"there is no {name}: `python3 cluster/kit.py tools` fetches it")
    return found


def run(
    *words: str, stdin: str | None = None, check: bool = True, seconds: float = 450
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, timeout=seconds)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done


@dataclass(frozen=True)
class Change:
    """One value of a watched field, and when it was seen (time.monotonic)."""

    at: float
    value: str


@dataclass(frozen=True)
class Namespace:
    """One namespace of one cluster."""

    context: str
    name: str

    def command(self, *words: str) -> list[str]:
        return [tool("kubectl"), "--context", self.context, "-n", self.name, *words]

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True, seconds: float = 450) -> str:
        return run(*self.command(*words), stdin=stdin, check=check, seconds=seconds).stdout.strip()

    def refused(self, *words: str, stdin: str | None = None) -> str:
        """Return what kubectl says when it fails, as it must."""
        done = run(*self.command(*words), stdin=stdin, check=False)
        assert done.returncode, f"{words} was accepted: {done.stdout}"
        return done.stderr

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def all(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"]
        return found

    def pods(self, selector: str) -> list[str]:
        return [
            pod["metadata"]["name"] for pod in self.all("pods", selector) if "deletionTimestamp" not in pod["metadata"]
        ]

    def apply(self, manifest: dict[str, Any] | Path) -> None:
        text = manifest.read_text() if isinstance(manifest, Path) else json.dumps(manifest)
        self.kubectl("apply", "-f", "-", stdin=text)

    def helm(self, *words: str) -> str:
        return run(tool("helm"), "--kube-context", self.context, "-n", self.name, *words, seconds=400).stdout

    @contextlib.contextmanager
    def watch(self, resource: str, jsonpath: str) -> Iterator[list[Change]]:
        """Record every value of a field while the context lasts; each line of kubectl's watch is one change of the object."""
        words = self.command("get", resource, "-w", "-o", f"jsonpath={{{jsonpath}}}{{'\\n'}}")
        seen: list[Change] = []
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = process.stdout

            def read() -> None:
                seen.extend(Change(time.monotonic(), line.strip()) for line in lines)

            reader = Thread(target=read, daemon=True)
            reader.start()
            try:
                yield seen
            finally:
                process.terminate()
                reader.join(5)


def make_namespace(context: str, name: str) -> Namespace:
    """A namespace that enforces the restricted pod security standard from the start, as an installation of its users may."""
    namespace = Namespace(context, name)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    return namespace
