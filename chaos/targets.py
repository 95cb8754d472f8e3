"""What the targets counted: the servers that chaos-urls asks, and that every run of the other jobs tells that it begins.

A job is believed to have run because of them, so nothing is done to them during a run.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from urllib.parse import parse_qs

from chaos.cluster import Cluster
from chaos.evidence import Asked

# Inside their pod: what counts must not depend on a port that somebody opened.
_READ = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/seen').read().decode())"


async def counted(cluster: Cluster) -> dict[str, int]:
    """Return their requests by path; raise ClusterProblem."""
    found: dict[str, int] = json.loads(
        await cluster.kubectl("exec", "deployment/url-check-targets", "--", "python", "-c", _READ)
    )
    return found


def asked(paths: Mapping[str, int]) -> Asked:
    """Read out of the paths which runs began. A run that asks again, for want of an answer, asks for the same path."""
    begun: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for path in paths:
        told = parse_qs(path.partition("?")[2])
        match told:
            case {"job": [job], "attempt": [attempt], "run": [_]}:
                begun[job][int(attempt)] += 1
    return Asked(paths, begun)
