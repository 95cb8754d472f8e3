"""Clusters: created, started again, deleted; one that this kit has not made is never deleted."""

import json
from dataclasses import dataclass
from pathlib import Path

from . import docker, kind_config, node, runtime, tools
from .cache import CACHE
from .console import Fail, say
from .shell import Word, output, run, until, works

CONTROL_PLANE_ONLY = "node-role.kubernetes.io/control-plane"  # the taint that kind takes away from a lone node


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cluster as asked for: its configuration file, what to add to host ports, its node image; None: the kit's."""

    name: str
    config: Path | None = None
    port_offset: int = 0
    image: str | None = None


def names() -> list[str]:
    """List the clusters of this machine."""
    return output(tools.need("kind"), "get", "clusters").split()


def up(wanted: Wanted) -> None:
    """Have a cluster with a Ready node and DNS; one that is half made is made anew; raises Fail."""
    if wanted.config and not wanted.config.is_file():
        raise Fail(f"there is no file {wanted.config}")
    docker.ensure()
    tools.ensure()
    restarted = wanted.name in names() and have_again(wanted.name)
    if wanted.name not in names():
        create(wanted)
    wait(wanted.name, restarted=restarted)
    tools.say_path()
    say(f"kubectl --context kind-{wanted.name} get nodes")


def create(wanted: Wanted) -> None:
    """Create a cluster that is not there; raises Fail."""
    config, text = wanted.config, ""
    if config:
        if wanted.port_offset:
            config = kind_config.derive(config, wanted.name, wanted.port_offset)
        text = config.read_text()
    if busy := kind_config.taken(kind_config.host_ports(text)):
        ports = ", ".join(map(str, busy))
        raise Fail(f"cluster {wanted.name} needs ports on 127.0.0.1 that something else listens on: {ports}")
    image = wanted.image or node.choose(several_nodes=len(kind_config.roles(text)) > 1)
    argv: list[Word] = [tools.need("kind"), "create", "cluster", "--name", wanted.name, "--image", image]
    argv += ["--config", config] if config else []
    record = record_of(wanted.name)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text("")  # before there is anything, so that what an interrupted run leaves is known to be the kit's
    try:
        run(f"cluster {wanted.name}: kind create cluster, image {image}", argv, log="kind")
    except BaseException:  # Ctrl-C too: what is there already would pass for a cluster
        say(f"cluster {wanted.name}: not made; what there is of it is deleted")
        if works(tools.need("kind"), "delete", "cluster", "--name", wanted.name, timeout=120):
            record.unlink()
        raise
    record.write_text(container_of(wanted.name))


def record_of(name: str) -> Path:
    """Name the file that says which cluster of this name the kit made: its first node's container, '' in the making."""
    return CACHE / "clusters" / name


def container_of(name: str) -> str:
    """Give the id of a cluster's first node; raises Fail."""
    return output("docker", "inspect", "-f", "{{.Id}}", f"{name}-control-plane")


def refuse_a_strangers(name: str, why: str) -> None:
    """Raise Fail unless the kit made the cluster that has this name now."""
    record = record_of(name)
    if not record.exists() or record.read_text() not in ("", container_of(name)):
        raise Fail(
            f"cluster {name}: {why}, and this kit has not made it, so it is left as it is: "
            f"`kind delete cluster --name {name}` deletes it, or choose another name by --name"
        )


def have_again(name: str) -> bool:
    """Start a cluster that was stopped, or delete it if it is half made; says whether it was stopped; raises Fail."""
    restarted = start_again(name)
    lack = lacking(name)
    if not lack:
        return restarted
    refuse_a_strangers(name, f"it is without {lack}")
    say(f"cluster {name}: it is half made, without {lack}, as by an interrupted run: it is made anew")
    delete(name)
    return False


def lacking(name: str) -> str | None:
    """Say what an interrupted creation left out; None: nothing that is known to be missing; raises Fail.

    Silence is no answer here, because a cluster that lacks something is deleted.
    """
    # kubeadm writes it last of what the node needs to start: without it no API server will ever answer.
    if works("docker", "exec", f"{name}-control-plane", "test", "!", "-e", "/var/lib/kubelet/config.yaml"):
        return "Kubernetes"
    output(tools.need("kind"), "export", "kubeconfig", "--name", name)
    kubectl = _kubectl(name)
    ready: list[Word] = [*kubectl, "get", "--raw", "/readyz", "--request-timeout=5s"]
    until(f"cluster {name}: its API server (`kit.py down --name {name}` removes it)", lambda: works(*ready), 180)
    if "/standard" not in output(*kubectl, "get", "storageclasses", "-o", "name"):  # kind's last step
        return "the StorageClass `standard`"
    nodes = json.loads(output(*kubectl, "get", "nodes", "-o", "json"))["items"]
    taints = {taint["key"] for node in nodes for taint in node["spec"].get("taints", [])}
    return "a node that takes pods" if len(nodes) == 1 and CONTROL_PLANE_ONLY in taints else None


def start_again(name: str) -> bool:
    """Start the nodes of a cluster that was stopped (a reboot, say); says whether it was."""
    ours = ["--filter", f"label=io.x-k8s.kind.cluster={name}"]
    stopped = output("docker", "ps", "-aq", *ours, "--filter", "status=exited").split()
    if stopped:
        say(f"cluster {name}: it is stopped: starting it")
        output("docker", "start", *stopped)
    return bool(stopped)


def wait(name: str, *, restarted: bool) -> None:
    """Wait for a Ready node and for DNS; raises Fail."""
    kubectl = _kubectl(name)
    ready: list[Word] = [*kubectl, "wait", "--for=condition=Ready", "node", "--all", "--timeout=5s"]
    until(f"cluster {name}: a Ready node (`kit.py down --name {name}` removes it)", lambda: works(*ready), 180)
    rollout: list[Word] = [*kubectl, "-n", "kube-system", "rollout"]
    if restarted:  # what the API says of the pods is from before: new ones tell that the kubelet works
        output(*rollout, "restart", "deployment/coredns")
    dns: list[Word] = [*rollout, "status", "deployment/coredns", "--timeout=5s"]
    until(f"cluster {name}: cluster DNS", lambda: works(*dns), 120)
    say(f"cluster {name}: its node is Ready and its DNS answers")


def down(name: str) -> None:
    """Delete a cluster; one that is not there is fine; raises Fail."""
    if not docker.runs():
        raise Fail("docker is not running: there is no cluster to delete")
    if name not in names():
        say(f"cluster {name}: not there")
        return
    refuse_a_strangers(name, "it is there")
    delete(name)
    say(f"cluster {name}: deleted")
    if docker.default_runtime() == runtime.MACHINE.wrapper.name:
        say("docker: its default runtime is still the kit's; `kit.py undo` takes that back")


def delete(name: str) -> None:
    """Delete a cluster that is there; raises Fail."""
    run(f"cluster {name}: deleting", [tools.need("kind"), "delete", "cluster", "--name", name], log="kind")
    record_of(name).unlink(missing_ok=True)


def _kubectl(name: str) -> list[Word]:
    return [tools.need("kubectl"), "--context", f"kind-{name}"]
