"""Images from Docker into a cluster's nodes; what runs an older image of the same name can be restarted."""

import json
from collections.abc import Collection, Iterator
from typing import Any

from . import clusters, images, project, tools
from .console import Fail, say
from .shell import Word, output, run
from .versions import BASES

IN_PODS = ("postgres", "rabbitmq", "prometheus")  # python is only what ours are built upon


def default_images() -> list[str]:
    """List what the chart and the examples run."""
    return [*map(project.tag, project.SERVICES), *(BASES[name].tag for name in IN_PODS)]


def load(name: str, wanted: list[str], restart_in: str | None = None) -> None:
    """Load images that the cluster has not or has in another build; raises Fail."""
    tools.ensure()
    if name not in clusters.names():
        raise Fail(f"there is no cluster {name}: run `kit.py up --name {name}` first")
    for image in wanted:
        if images.image_key(image) is None:
            raise Fail(f"Docker has no image {image}: `kit.py images` makes the project's and the base images")
    before = {image: in_node(name, image) for image in wanted}
    stale = [image for image in wanted if before[image] != images.image_id(image)]
    if stale:
        argv: list[Word] = [tools.need("kind"), "load", "docker-image", "--name", name, *stale]
        run(f"cluster {name}: loading {', '.join(stale)}", argv, log="kind")
    say(f"cluster {name}: {len(stale)} images loaded, {len(wanted) - len(stale)} were there")
    replaced = [image for image in stale if before[image]]
    if restart_in and replaced:
        restart(name, restart_in, replaced)


def in_node(name: str, image: str) -> str | None:
    """Give the digest of an image in the cluster's first node; None where it has none."""
    told = output("docker", "exec", f"{name}-control-plane", "crictl", "inspecti", "-o", "json", image, check=False)
    return str(json.loads(told)["status"]["id"]) if told else None


def restart(name: str, namespace: str, replaced: Collection[str]) -> None:
    """Restart the Deployments of a namespace that run one of the images; raises Fail."""
    kubectl: list[Word] = [tools.need("kubectl"), "--context", f"kind-{name}", "-n", namespace]
    found = json.loads(output(*kubectl, "get", "deployments", "-o", "json", check=False) or '{"items": []}')
    for deployment in found["items"]:
        if set(image_names(deployment)) & set(replaced):
            what = f"deployment/{deployment['metadata']['name']}"
            say(f"cluster {name}: {what} has a new image: restarting it")
            output(*kubectl, "rollout", "restart", what)


def image_names(deployment: dict[str, Any]) -> Iterator[str]:
    """List the images of a Deployment's containers."""
    pod = deployment["spec"]["template"]["spec"]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        yield container["image"]
