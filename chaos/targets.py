"""What the witnesses saw: the servers that chaos-urls asks, and the one that every run of the other jobs is connected to.

A job is believed to have run because of them, so nothing is done to them during a run. Both are asked inside their pod:
what counts must not depend on a port that somebody opened.
"""

import json

from chaos.cluster import Cluster
from chaos.evidence import Presence
from chaos.jobs import WITNESS

_READ = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/seen').read().decode())"


async def counted(cluster: Cluster) -> dict[str, int]:
    """Return the targets' requests by path; raise ClusterProblem."""
    found: dict[str, int] = json.loads(
        await cluster.kubectl("exec", "deployment/url-check-targets", "--", "python", "-c", _READ)
    )
    return found


async def presences(cluster: Cluster, pods: str = "chaos-") -> list[Presence]:
    """Return the runs in pods whose names begin so; raise ClusterProblem."""
    words = ("python", "-m", "examples.bench.witness_server", "--runs", pods)
    told = json.loads(await cluster.kubectl("exec", f"deployment/{WITNESS}", "--", *words))
    return [Presence(**{key: value for key, value in run.items() if key != "run"}) for run in told]
