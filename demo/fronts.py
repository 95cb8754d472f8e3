"""The examples around the burst: first only what it needs, afterwards all of them, with their fronts.

They start a good many pods, so the burst has the cluster to itself. Nothing here names an example but the burst's: the
others are found by their labels, and their addresses by the ports that the kind cluster has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from demo.cluster import Cluster
from demo.steps import wait_for

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "manifests" / "examples"
BURST = "app.kubernetes.io/name in (url-check, url-check-targets),app.kubernetes.io/component!=front"
ALL = "app.kubernetes.io/part-of=leveret-examples"
FRONTS = f"{ALL},app.kubernetes.io/component=front"
WAIT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Front:
    name: str
    url: str


def apply_all(cluster: Cluster, console: Console) -> None:
    """Apply all examples and wait until they are ready; raise NotThere with what isn't after five minutes."""
    console.print()
    console.print(f"Applying all of {EXAMPLES.relative_to(ROOT)} …")
    cluster.apply(EXAMPLES)
    fix = f"`{cluster.command()} get pods,jq` shows what keeps it; the rest works."
    wait_for(console, "The examples are ready", lambda: not_ready(_parts(cluster)), seconds=WAIT_SECONDS, fix=fix)


def fronts(cluster: Cluster) -> list[Front]:
    """Return the fronts there are, and where this machine reaches them."""
    ports = host_ports((ROOT / "kind-config.yaml").read_text())
    return addresses(cluster.listed("services", FRONTS), ports)


def not_ready(parts: Iterable[Mapping[str, Any]]) -> str | None:
    """Return None if each Deployment and StatefulSet has its pods and each JobQueue is Ready, else what isn't so."""
    return "; ".join(said for part in parts if (said := _lacks(part))) or None


def addresses(services: Iterable[Mapping[str, Any]], ports: Mapping[int, int]) -> list[Front]:
    """Return the services that a port of the host leads to, by their ports."""
    found = [
        (ports[port["nodePort"]], service["metadata"]["name"])
        for service in services
        for port in service["spec"]["ports"]
        if port.get("nodePort") in ports
    ]
    return [Front(name, f"http://127.0.0.1:{port}/") for port, name in sorted(found)]


def host_ports(kind_config: str) -> dict[int, int]:
    """Return the host's port for each of the node's."""
    nodes = yaml.safe_load(kind_config)["nodes"]
    return {one["containerPort"]: one["hostPort"] for node in nodes for one in node.get("extraPortMappings", ())}


def _parts(cluster: Cluster) -> list[dict[str, Any]]:
    return cluster.listed("deployments,statefulsets,jobqueues", ALL)


def _lacks(part: Mapping[str, Any]) -> str | None:
    what, status = f"{part['kind']} {part['metadata']['name']}", part.get("status", {})
    if part["kind"] == "JobQueue":
        ready = [one for one in status.get("conditions", ()) if one["type"] == "Ready"]
        return next((f"{what}: {one['message']}" for one in ready if one["status"] != "True"), None if ready else what)
    wanted, there = part["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    return None if there >= wanted else f"{what} has {there} of {wanted} pods ready"
