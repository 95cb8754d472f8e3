"""Clusters: created, started again, deleted."""

from dataclasses import dataclass
from pathlib import Path

from . import docker, kind_config, node, tools
from .console import Fail, say
from .shell import Word, output, run, until, works


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
    """Have a cluster with a Ready node and DNS; raises Fail."""
    if wanted.config and not wanted.config.is_file():
        raise Fail(f"there is no file {wanted.config}")
    docker.ensure()
    tools.ensure()
    restarted = False
    if wanted.name in names():
        restarted = start_again(wanted.name)
        output(tools.need("kind"), "export", "kubeconfig", "--name", wanted.name)
    else:
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
    run(f"cluster {wanted.name}: kind create cluster, image {image}", argv, log="kind")


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
    kubectl: list[Word] = [tools.need("kubectl"), "--context", f"kind-{name}"]
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
    kind = tools.need("kind")
    if name not in names():
        say(f"cluster {name}: not there")
        return
    run(f"cluster {name}: deleting", [kind, "delete", "cluster", "--name", name], log="kind")
    say(f"cluster {name}: deleted")
