"""Jobs that a fault submits right before it hits, and the proof that it met what it is there for: attempts that had ended.

An attempt that has ended, and whose confirm does not come, is known to the witness and to no event.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos.cluster import Cluster, ClusterProblem, Pod
from chaos.jobs import BULK, Batch, burst
from chaos.plan import SLOTS, Fault
from chaos.targets import presences

LOOK_EVERY = 1.0  # s
BURST_SECONDS = 60.0
TOLD_SECONDS = 60.0  # after an alarm; a connection that is lost and made again for it takes twice as long
SOCKETS = 37_000_000  # bytes that the two sides' buffers of one connection were seen to hold


@dataclass(frozen=True, slots=True)
class Bursts:
    cluster: Cluster
    submit: Callable[[Batch], Awaitable[object]]
    is_final: Callable[[str], bool]  # whether the witness queue has an end of a job
    told_within: float = TOLD_SECONDS

    async def run(self, fault: Fault) -> None:
        """Submit its jobs, and return once as many run as there are slots: an alarm stops those that are under way, too."""
        jobs = burst(fault)
        since = time.time()
        await self.submit(jobs)
        end = time.monotonic() + BURST_SECONDS
        while time.monotonic() < end:
            runs = await presences(self.cluster, jobs.part)
            if sum(run.began >= since for run in runs) >= SLOTS[jobs.part]:
                return
        raise ClusterProblem(f"{jobs.part} did not have {SLOTS[jobs.part]} jobs within {BURST_SECONDS:.0f} s")

    async def unconfirmed(self, fault: Fault) -> str:
        """Tell how many attempts of a burst have ended that nobody was told of; raise ClusterProblem if so few prove nothing."""
        part, ended = burst(fault).part, await self._untold(fault)
        least = SOCKETS // BULK if fault.bulky else SLOTS[part]
        if ended <= least:
            raise ClusterProblem(
                f"only {ended} attempts of {part} had ended unconfirmed, and it takes more than {least}"
            )
        return f"{ended:,} attempts had ended unconfirmed"

    async def _untold(self, fault: Fault) -> int:
        runs = await presences(self.cluster, burst(fault).part)
        return sum(run.last == "returned" and not self.is_final(run.job) for run in runs)

    async def all_told(self, fault: Fault) -> None:
        """Wait until all that ended in an alarm was told of: a connection that is full must get going again by itself."""
        end = time.monotonic() + self.told_within
        while untold := await self._untold(fault):
            if time.monotonic() > end:
                raise ClusterProblem(
                    f"{untold} attempts had ended in it and nobody was told, {self.told_within:.0f} s after it"
                )
            await asyncio.sleep(LOOK_EVERY)


async def under_way(cluster: Cluster, pod: Pod, since: float) -> str:
    """Tell what ran there as the cut came; raise ClusterProblem if nothing did that could have twins."""
    runs = await presences(cluster, pod.name)
    count = sum(run.began < since and (run.ended or since) >= since for run in runs)
    if not count:
        raise ClusterProblem(f"nothing ran on {pod.name} as it was cut off")
    return f"{count} jobs were under way"
