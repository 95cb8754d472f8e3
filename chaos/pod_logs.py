"""Keep what every pod says, from its first line to its last: a pod that is deleted takes its log with it."""

import asyncio
import contextlib
from pathlib import Path

from chaos.cluster import Cluster, ClusterProblem, tool

LOOK_EVERY = 3.0  # s


class PodLogs:
    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster, self._folder = cluster, folder
        self._followed: dict[str, asyncio.subprocess.Process] = {}  # by container
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "PodLogs":
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob("*.log"):
            old.unlink()
        self._task = asyncio.create_task(self._follow_all())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for process in self._followed.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await asyncio.gather(*(process.wait() for process in self._followed.values()))

    async def _follow_all(self) -> None:
        while True:
            with contextlib.suppress(ClusterProblem):
                for pod in await self._cluster.pods():
                    if pod.container and pod.container not in self._followed:
                        await self._follow(pod.name, pod.restarts, pod.container)
            await asyncio.sleep(LOOK_EVERY)

    async def _follow(self, pod: str, restarts: int, container: str) -> None:
        words = ["--context", self._cluster.context, "-n", self._cluster.namespace, "logs", "--follow", pod]
        with (self._folder / f"{pod}.{container[-8:]}.{restarts}.log").open("w") as file:
            self._followed[container] = await asyncio.create_subprocess_exec(
                tool("kubectl"), *words, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=asyncio.subprocess.STDOUT
            )
