"""The example bulk-insert as runs use it: its PostgreSQL, asked inside its pod, and its front and consumers where they are needed."""

from collections.abc import Sequence
from typing import Any

import yaml

from chaos.cluster import ROOT, Cluster
from chaos.plan import PODS, Part
from examples.bench.effects import TABLE
from leveret.marks import DDL

MANIFEST = ROOT / "manifests" / "examples" / "bulk-insert.yaml"
NAME = "bulk-insert-database"
RATE = "BULK_INSERT_ROWS_PER_SECOND"
ROWS_PER_SECOND = 50_000  # of one insert: it goes on when it's seen that it has rows, which takes up to a second
ROLLOUT_SECONDS = 180.0
_PSQL = ("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "front", "-d", "front")


def manifests(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return what these parts are made of; consumers are there all the time, and the connections of two stretches fit."""
    found = list(yaml.safe_load_all(MANIFEST.read_text()))
    for one in found:
        if one["kind"] == "JobQueue":
            one["spec"]["scaling"]["minReplicas"] = PODS[Part.INSERTS][0]
            (container,) = one["spec"]["consumer"]["template"]["spec"]["containers"]
            next(one for one in container["env"] if one["name"] == RATE)["value"] = str(ROWS_PER_SECOND)
        if one["kind"] == "StatefulSet":
            one["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": "512Mi"}}
    return [one for one in found if one["metadata"]["name"] == NAME or Part.INSERTS in parts]


async def prepare(cluster: Cluster, parts: Sequence[Part]) -> None:
    """Have it, with an empty table of effects; raise ClusterProblem."""
    for one in manifests(parts):
        await cluster.apply(one)
    await cluster.kubectl("rollout", "status", f"statefulset/{NAME}", seconds=ROLLOUT_SECONDS)
    await ask(cluster, f"DROP TABLE IF EXISTS effects;\n{TABLE}\n{DDL}")


async def ask(cluster: Cluster, statements: str) -> str:
    """Return what psql says: a line a row, with `|` between columns; raise ClusterProblem."""
    return await cluster.kubectl("exec", "-i", f"{NAME}-0", "-c", "postgresql", "--", *_PSQL, stdin=statements)
