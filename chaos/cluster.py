"""The cluster under test: kubectl for what a person may do, and the node for what only a failing machine does."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.plan import CONSUMERS, Drops, Part

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leveret-cluster" / "bin"
ASK_SECONDS = 60.0
TABLE = "leveret_chaos"  # nftables; ours alone, so that removing it removes all cuts

_COMPONENTS = {
    Part.PRODUCER: "producer",
    Part.OPERATOR: "operator",
    Part.BROKER: "rabbitmq",
    Part.DATABASE: "postgresql",
}
_SELECTORS = {
    Part.TARGETS: "app.kubernetes.io/name=url-check-targets",
    Part.OWN_DATABASE: "app.kubernetes.io/name=bulk-insert-database",
    Part.FRONT: "app.kubernetes.io/name=bulk-insert,app.kubernetes.io/component=front",
}
_TRICKLE = "limit rate over 2 kbytes/second burst 3 kbytes "
_HOOKS = ("forward", "input", "output")  # packets between pods, and those between a pod and the node itself


class ClusterProblem(Exception):
    """kubectl or the node did not do what was asked; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    address: str
    container: str  # its id at containerd, empty before it started
    restarts: int
    ready: bool
    going: bool  # it was told to stop


@dataclass(frozen=True, slots=True)
class FarSide:
    """What pods are cut from."""

    addresses: tuple[str, ...]
    port: int | None = None  # the only one that is cut; None: all


@dataclass(frozen=True, slots=True)
class Socket:
    port: int
    peer: str
    peer_port: int


_ESTABLISHED = ("ss", "-Htn", "state", "established")


def selector(part: Part) -> str:
    if part in CONSUMERS or part is Part.INSERTS:
        return f"leveret.dev/jobqueue={part}"
    return _SELECTORS.get(part) or f"app.kubernetes.io/name=leveret,app.kubernetes.io/component={_COMPONENTS[part]}"


@dataclass(frozen=True, slots=True)
class Cluster:
    context: str  # kind-<name>
    namespace: str

    @property
    def node(self) -> str:
        return f"{self.context.removeprefix('kind-')}-control-plane"

    async def kubectl(self, *words: str, stdin: str | None = None, seconds: float = ASK_SECONDS) -> str:
        """Raise ClusterProblem with what kubectl says."""
        return await command(
            tool("kubectl"), "--context", self.context, "-n", self.namespace, *words, stdin=stdin, seconds=seconds
        )

    async def on_node(self, *words: str) -> str:
        return await command("docker", "exec", self.node, *words)

    async def apply(self, manifest: Mapping[str, object]) -> None:
        await self.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    async def secret(self, name: str) -> dict[str, str]:
        data = json.loads(await self.kubectl("get", "secret", name, "-o", "json"))["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    async def pods(self, part: Part | None = None) -> list[Pod]:
        """Return a part's pods that have not ended (None: all pods), sorted by name."""
        which = ("-l", selector(part)) if part else ()
        found = json.loads(await self.kubectl("get", "pods", *which, "-o", "json"))["items"]
        pods = [_pod(one) for one in found if one["status"].get("phase") in ("Pending", "Running")]
        return sorted(pods, key=lambda pod: pod.name)

    async def kill_process(self, pod: Pod) -> None:
        """SIGKILL the first process of a pod's container, as the kernel does when memory runs out."""
        await self.on_node("kill", "-9", await self._first_process(pod))

    async def established(self, pod: Pod) -> set[Socket]:
        """Return a pod's TCP connections that its kernel holds for established, seen from the pod."""
        said = await self.on_node("nsenter", "-t", await self._first_process(pod), "-n", *_ESTABLISHED)
        return sockets(said)

    async def _first_process(self, pod: Pod) -> str:
        said = await self.on_node("crictl", "inspect", pod.container.rpartition("/")[2])
        return str(json.loads(said)["info"]["pid"])

    async def far_side(self, part: Part) -> FarSide:
        """Return where a part is reached; raise ClusterProblem if it's nowhere."""
        if part is Part.API_SERVER:
            label = "kubernetes.io/service-name=kubernetes"
            said = await self.kubectl("get", "endpointslices", "-n", "default", "-l", label, "-o", "json")
            return _api_server(json.loads(said)["items"])
        found = tuple(pod.address for pod in await self.pods(part) if pod.address)
        if not found:
            raise ClusterProblem(f"{part} had no address to be cut from")
        return FarSide(found)

    async def cut(self, name: str, near: str, far: FarSide, drops: Drops = Drops.ALL) -> None:
        """Drop the packets between a pod's address and the far side, also of connections that exist."""
        await self._nft(cut_rules(name, near, far, drops))

    async def mend(self, name: str) -> None:
        chains = [f"inet {TABLE} {name}_{hook}" for hook in _HOOKS]
        await self._nft("".join(f"flush chain {chain}\ndelete chain {chain}\n" for chain in chains))

    async def mend_all(self) -> None:
        """Remove every cut; a table that isn't there is made first, because nft refuses to delete what isn't there."""
        await self._nft(f"add table inet {TABLE}\ndelete table inet {TABLE}\n")

    async def _nft(self, rules: str) -> None:
        await command("docker", "exec", "-i", self.node, "nft", "-f", "-", stdin=rules)


def cut_rules(name: str, near: str, far: FarSide, drops: Drops = Drops.ALL) -> str:
    """Return what nft is told to make a cut."""
    there = ", ".join(far.addresses)
    to, back = (f" tcp dport {far.port}", f" tcp sport {far.port}") if far.port else ("", "")
    rest = _TRICKLE if drops is Drops.MOST else ""
    sent = f"ip saddr {near} ip daddr {{ {there} }}{to} {rest}drop"
    received = f"ip saddr {{ {there} }} ip daddr {near}{back} {rest}drop"
    dropped = {Drops.SENT: (sent,), Drops.RECEIVED: (received,)}.get(drops, (sent, received))
    lines = [f"add table inet {TABLE}"]
    for hook in _HOOKS:
        chain = f"inet {TABLE} {name}_{hook}"
        lines.append(f"add chain {chain} {{ type filter hook {hook} priority -10; policy accept; }}")
        lines += [f"add rule {chain} {rule}" for rule in dropped]
    return "\n".join(lines) + "\n"


def sockets(said: str) -> set[Socket]:
    """Read what `ss` says, a line for each connection: two queues, here, there. IPv4 may be written as IPv6."""
    found = set()
    for line in said.splitlines():
        here, there = line.split()[-2:]
        peer, _, peer_port = there.rpartition(":")
        port = int(here.rpartition(":")[2])
        found.add(Socket(port, peer.strip("[]").removeprefix("::ffff:"), int(peer_port)))
    return found


def _api_server(slices: list[dict[str, Any]]) -> FarSide:
    """Its port alone, because its address is the node's, from which the kubelet asks the pods whether they live."""
    for found in slices:
        addresses = tuple(address for one in found["endpoints"] for address in one["addresses"])
        if found["addressType"] == "IPv4" and addresses:
            return FarSide(addresses, found["ports"][0]["port"])
    raise ClusterProblem("the Service `kubernetes` has no address to be cut from")


def _pod(found: dict[str, Any]) -> Pod:
    statuses = found["status"].get("containerStatuses") or [{}]
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in found["status"].get("conditions", []))
    return Pod(
        name=found["metadata"]["name"],
        address=found["status"].get("podIP", ""),
        container=statuses[0].get("containerID", ""),
        restarts=statuses[0].get("restartCount", 0),
        ready=ready,
        going="deletionTimestamp" in found["metadata"],
    )


def tool(name: str) -> str:
    """Return the program that the cluster kit fetched, else the one on PATH."""
    found = shutil.which(name, path=str(TOOLS)) or shutil.which(name)
    if found is None:
        raise ClusterProblem(f"{name} is neither in {TOOLS} nor on PATH: `python3 cluster/kit.py tools` fetches it")
    return found


async def command(*words: str, stdin: str | None = None, seconds: float = ASK_SECONDS) -> str:
    """Run a program and return what it writes; raise ClusterProblem if it fails or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate(None if stdin is None else stdin.encode())
    except TimeoutError as problem:
        raise ClusterProblem(f"{_short(words)} gave no answer within {seconds:.0f} s") from problem
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        last = err.decode(errors="replace").strip().splitlines()
        raise ClusterProblem(f"{_short(words)}: {last[-1] if last else f'exit code {process.returncode}'}")
    return out.decode(errors="replace")


def _short(words: tuple[str, ...]) -> str:
    return " ".join([Path(words[0]).name, *words[1:]])[:160]
