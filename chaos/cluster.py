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

from chaos.plan import Part

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leveret-cluster" / "bin"
ASK_SECONDS = 60.0
TABLE = "leveret_chaos"  # nftables; ours alone, so that removing it removes all cuts

_CONSUMERS = frozenset({Part.BENCH, Part.URLS, Part.ODD})
_COMPONENTS = {
    Part.PRODUCER: "producer",
    Part.OPERATOR: "operator",
    Part.BROKER: "rabbitmq",
    Part.DATABASE: "postgresql",
}


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


def selector(part: Part) -> str:
    if part in _CONSUMERS:
        return f"leveret.dev/jobqueue={part}"
    return f"app.kubernetes.io/name=leveret,app.kubernetes.io/component={_COMPONENTS[part]}"


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
        said = await self.on_node("crictl", "inspect", pod.container.rpartition("/")[2])
        await self.on_node("kill", "-9", str(json.loads(said)["info"]["pid"]))

    async def cut(self, name: str, one: list[str], other: list[str]) -> None:
        """Let no packet pass between addresses, also of connections that exist."""
        there, back = ", ".join(one), ", ".join(other)
        rules = (
            f"add table inet {TABLE}\n"
            f"add chain inet {TABLE} {name} {{ type filter hook forward priority -10; policy accept; }}\n"
            f"add rule inet {TABLE} {name} ip saddr {{ {there} }} ip daddr {{ {back} }} drop\n"
            f"add rule inet {TABLE} {name} ip saddr {{ {back} }} ip daddr {{ {there} }} drop\n"
        )
        await self._nft(rules)

    async def mend(self, name: str) -> None:
        await self._nft(f"flush chain inet {TABLE} {name}\ndelete chain inet {TABLE} {name}\n")

    async def mend_all(self) -> None:
        """Remove every cut; a table that isn't there is made first, because nft refuses to delete what isn't there."""
        await self._nft(f"add table inet {TABLE}\ndelete table inet {TABLE}\n")

    async def _nft(self, rules: str) -> None:
        await command("docker", "exec", "-i", self.node, "nft", "-f", "-", stdin=rules)


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
