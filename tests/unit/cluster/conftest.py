"""A machine of stand-ins: docker, kind, kubectl and helm that keep a cluster called `mended` in files."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from clusterkit.cache import HERE
from clusterkit.versions import HELM_MIN, KIND, KUBERNETES

DOCKER = """
case "$*" in
"info --format"*) echo a-runtime ;;
"version --format"*) echo 20.10 ;;
"inspect -f {{.Id}} mended-control-plane") cat node ;;
"exec mended-control-plane test ! -e /var/lib/kubelet/config.yaml") [ ! -e kubelet ] ;;
esac"""
TOOLS = {
    "kind": f"""
case "$1 $2" in
"version ") echo v{KIND} ;;
"get clusters") [ ! -e cluster ] || echo mended ;;
"create cluster") echo create >> done; touch cluster kubelet; echo new > node; . ./creation ;;
"delete cluster") echo delete >> done; rm -f cluster kubelet ;;
esac""",
    "kubectl": f"""
case "$*" in
*storageclasses*) cat storage ;;
*"get nodes"*) cat nodes ;;
*) echo v{KUBERNETES} ;;
esac""",
    "helm": f"echo v{HELM_MIN[0]}.{HELM_MIN[1]}",
}
NODE = '{"spec": {}}'


@dataclass(frozen=True)
class Machine:
    """A folder that holds the stand-ins, the kit's cache, and what is known of the cluster."""

    folder: Path

    def has(
        self,
        *,
        storage: str = "storageclass.storage.k8s.io/standard",
        nodes: str = NODE,
        kubelet: bool = True,
        record: str | None = "",
    ) -> None:
        """Have the cluster, as an earlier run left it, with what the kit noted of it; None: nothing."""
        (self.folder / "cluster").touch()
        (self.folder / "node").write_text("old")
        if record is not None:
            self.record().parent.mkdir(exist_ok=True)
            self.record().write_text(record)
        (self.folder / "storage").write_text(storage)
        (self.folder / "nodes").write_text(f'{{"items": [{nodes}]}}')
        if kubelet:
            (self.folder / "kubelet").touch()

    def kit(self, *words: str, creation: str = "") -> subprocess.CompletedProcess[str]:
        """Run kit.py; kind runs the line `creation` while it creates a cluster."""
        (self.folder / "creation").write_text(creation)
        env = os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(self.folder)}
        # Whoever runs the tests may ignore Ctrl-C, and that is inherited.
        argv = ["env", "--default-signal=INT", sys.executable, HERE / "kit.py", *words]
        return subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def done(self) -> list[str]:
        """List what was done to the cluster."""
        path = self.folder / "done"
        return path.read_text().split() if path.exists() else []

    def record(self) -> Path:
        """Name what the kit keeps of the cluster."""
        return self.folder / "leveret-cluster/clusters/mended"

    def tools(self) -> Path:
        """Name the folder that the kit fetches tools into."""
        return self.folder / "leveret-cluster/bin"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.tools().mkdir(parents=True)
    program(tmp_path / "docker", DOCKER)
    for name, script in TOOLS.items():
        program(made.tools() / name, script)
    return made


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
