"""A cluster of the run's own: that of `make e2e`, with the release installed; a running demo is left alone."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chaos.cluster import ROOT, ClusterProblem, tool

CLUSTER = "leveret-test"
PORT_OFFSET = 10_000
CHART = "charts/leveret"
KIT = (sys.executable, "cluster/kit.py")
HAVE = (
    (*KIT, "images"),
    (*KIT, "up", "--name", CLUSTER, "--config", "kind-config.yaml", "--port-offset", str(PORT_OFFSET)),
    (*KIT, "load", "--name", CLUSTER, "--restart", "leveret"),
)
LIBRARY = (*KIT, "packages", "libfaketime")
DOWN = (*KIT, "down", "--name", CLUSTER)


@asynccontextmanager
async def own_cluster(*, keep: bool, library: bool) -> AsyncIterator[None]:
    """Have the cluster, and delete it at the end unless it is to be kept; raise ClusterProblem.

    `library` asks for libfaketime, too; a machine that can't have it makes a run without clock jumps.
    """
    os.environ["KUBECONFIG"] = str(ROOT / "build" / f"{CLUSTER}.kubeconfig")  # the user's own stays as it is
    if library:
        await _succeeds(*LIBRARY)
    try:
        for words in HAVE:
            if not await _succeeds(*words):
                raise ClusterProblem(f"`{' '.join(words[1:])}` failed: its output above tells why")
        await _install()
        yield
    finally:
        if keep:
            print(f"cluster {CLUSTER} is kept: python3 {' '.join(DOWN[1:])} deletes it", file=sys.stderr)
        else:
            await _succeeds(*DOWN)


async def _install() -> None:
    context = ("--kube-context", f"kind-{CLUSTER}", "-n", "leveret")
    values = f"{CHART}/values-kind.yaml"
    words = ("upgrade", "--install", "leveret", CHART, "--create-namespace", "-f", values, "--wait", "--timeout", "5m")
    if not await _succeeds(tool("helm"), *context, *words):
        raise ClusterProblem(f"the chart could not be installed in {CLUSTER}: helm's output above tells why")


async def _succeeds(*words: str) -> bool:
    """Run a command where its output can be seen, on stderr: the last line on stdout is the run's."""
    process = await asyncio.create_subprocess_exec(
        *words, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr
    )
    try:
        return await process.wait() == 0
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
