"""Carry out one fault: hit, wait until what was hit is ready again, tell when that was.

What a fault changes is put back by the fault itself, and `put_back` does it once more at the end of the run, in case
the run was broken off in between.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from chaos.bursts import Bursts, under_way
from chaos.cluster import Cluster, ClusterProblem, Pod
from chaos.evidence import Happened
from chaos.hang_ups import ports_to, watch
from chaos.jobs import crash
from chaos.plan import PODS, Fault, Kind, Part

LOOK_EVERY = 1.0  # s
RECOVERY_SECONDS = 180.0
CLOCK_FILE = "/chaos/clock"  # in the pods of ODD: how far libfaketime moves their clock
_BROKER_POD = "leveret-rabbitmq-0"
# What the chart sets; the command-line tools can't read it back in the form in which they take it.
_MEMORY_LIMIT, _DISK_LIMIT = "0.6", "1GB"
_NO_MEMORY, _NO_DISK = "0.00001", "1000000GB"  # what there is is too little


@dataclass(slots=True)
class Faults:
    cluster: Cluster
    bursts: Bursts
    _locks: dict[Part, asyncio.Lock] = field(default_factory=lambda: {part: asyncio.Lock() for part in Part})

    async def carry_out(self, fault: Fault) -> Happened:
        """Carry out a fault, after an earlier one of the same part is over. Raises nothing of the cluster's."""
        # The long ones each have a pod of their own, and are all at once.
        async with contextlib.nullcontext() if fault.part is Part.LONG else self._locks[fault.part]:
            began = time.time()
            pods: list[Pod] = []
            problem, seen = None, ""
            try:
                pods = await self._victims(fault)
                began = time.time()
                seen = await self._hit(fault, pods)
                await self._recovered(fault, pods)
            except ClusterProblem as said:
                problem = str(said)
            return Happened(fault, began, time.time(), tuple(pod.name for pod in pods), problem, seen)

    async def put_back(self) -> None:
        """Undo what a run that was broken off left: cuts, alarms, a wrong clock."""
        undo: list[Awaitable[object]] = [
            self.cluster.mend_all(),
            self._set_memory(_MEMORY_LIMIT),
            self._set_disk(_DISK_LIMIT),
        ]
        for doing in undo:
            with contextlib.suppress(ClusterProblem):  # a broker that is away comes back with the chart's settings
                await doing
        with contextlib.suppress(ClusterProblem):
            for pod in await self.cluster.pods(Part.ODD):
                await self._set_clock(pod, 0)

    async def _victims(self, fault: Fault) -> list[Pod]:
        """Wait for a pod that can be hit: of those that are ready the one that the plan picks, or all of them."""
        end = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < end:
            pods = [pod for pod in await self.cluster.pods(fault.part) if pod.ready and not pod.going]
            if fault.part is Part.LONG and len(pods) < PODS[Part.LONG][0]:
                pods = []  # each fault would hit another one than it is planned to
            if pods and fault.kind in (Kind.ROLLOUT, Kind.SCALE, Kind.CRASH, Kind.CLOCK):
                return pods
            if pods:
                return [pods[min(int(fault.pick * len(pods)), len(pods) - 1)]]
            await asyncio.sleep(LOOK_EVERY)
        raise ClusterProblem(f"no pod of {fault.part} was ready within {RECOVERY_SECONDS:.0f} s")

    async def _hit(self, fault: Fault, pods: list[Pod]) -> str:
        """Return what proves that it did what it's there for, if that is not plain."""
        if fault.burst:
            await self.bursts.run(fault)
        match fault.kind:
            case Kind.KILL | Kind.DELETE:
                seen = await self._alarm_before_death(fault) if fault.burst else ""
                await self._kill(fault, pods[0])
                return seen
            case Kind.STOP:
                await self.cluster.kubectl("delete", "pod", pods[0].name, "--wait=false")
            case Kind.CUT:
                return await self._cut(fault, pods[0])
            case Kind.MEMORY | Kind.DISK:
                return await self._alarm(fault)
            case Kind.CLOCK:
                pod = pods[0]
                await self._for(fault.seconds, self._set_clock(pod, fault.size), lambda: self._set_clock(pod, 0))
            case Kind.ROLLOUT:
                await self.cluster.kubectl("rollout", "restart", f"deployment/{fault.part}-consumer")
                await self.cluster.kubectl(
                    "rollout", "status", f"deployment/{fault.part}-consumer", seconds=RECOVERY_SECONDS
                )
            case Kind.SCALE:
                await self.cluster.kubectl("scale", f"deployment/{fault.part}-consumer", f"--replicas={fault.size}")
            case Kind.CRASH:
                await self.bursts.submit(crash(fault))
                await self._restarted(fault.part, pods, "a job was to end its process")
        return ""

    async def _kill(self, fault: Fault, pod: Pod) -> None:
        if fault.kind is Kind.KILL:
            await self.cluster.kill_process(pod)
        else:
            await self.cluster.kubectl("delete", "pod", pod.name, "--grace-period=0", "--force")

    async def _cut(self, fault: Fault, pod: Pod) -> str:
        assert fault.other is not None
        far, name = await self.cluster.far_side(fault.other), f"fault{fault.number}"
        if not fault.is_given_up:
            await self._for(
                fault.seconds,
                self.cluster.cut(name, pod.address, far, fault.drops),
                lambda: self.cluster.mend(name),
            )
            return ""
        broker = (await self.cluster.pods(fault.other))[0]
        ports = await ports_to(self.cluster, pod, broker)
        since = time.time()
        await self.cluster.cut(name, pod.address, far, fault.drops)
        try:
            seen = await watch(self.cluster, pod, broker, ports, fault.seconds)
            return f"{seen}; {await self.bursts.unconfirmed(fault) if fault.burst else await under_way(self.cluster, pod, since)}"
        finally:
            await self.cluster.mend(name)

    async def _alarm(self, fault: Fault) -> str:
        begin, end = self._limits(fault.kind)
        await begin()
        try:
            await asyncio.sleep(fault.seconds)
            seen = await self.bursts.unconfirmed(fault) if fault.burst else ""
        finally:
            await end()
        if fault.burst:
            await self.bursts.all_told(fault)
        return seen

    async def _alarm_before_death(self, fault: Fault) -> str:
        """Have an alarm, so that what ends is not confirmed; the broker's death will end it."""
        await self._set_memory(_NO_MEMORY)
        try:
            await asyncio.sleep(fault.seconds)
            return await self.bursts.unconfirmed(fault)
        except BaseException:  # then nobody dies
            await self._set_memory(_MEMORY_LIMIT)
            raise

    async def _for(self, seconds: float, begin: Awaitable[object], end: Callable[[], Awaitable[object]]) -> None:
        await begin
        try:
            await asyncio.sleep(seconds)
        finally:
            await end()

    async def _recovered(self, fault: Fault, hit: list[Pod]) -> None:
        """Wait until the part has as many ready pods as it had at least, and none that is older than the fault."""
        if fault.kind is Kind.KILL:
            await self._restarted(fault.part, hit, "its process was killed")
        names = {pod.name for pod in hit} if fault.kind is Kind.CUT else None  # others may be cut off still
        end = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < end:
            pods = await self.cluster.pods(fault.part)
            gone = fault.kind not in (Kind.DELETE, Kind.STOP) or not {pod.container for pod in hit} & {
                pod.container for pod in pods
            }
            waited_for = [pod for pod in pods if not pod.going and (names is None or pod.name in names)]
            if gone and any(pod.ready for pod in pods) and all(pod.ready for pod in waited_for):
                return
            await asyncio.sleep(LOOK_EVERY)
        raise ClusterProblem(f"{fault.part} was not ready again within {RECOVERY_SECONDS:.0f} s")

    async def _restarted(self, part: Part, hit: list[Pod], why: str) -> None:
        """Wait until one of the pods that were hit has a new container, or is gone."""
        containers = {pod.name: pod.container for pod in hit}
        end = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < end:
            pods = {pod.name: pod for pod in await self.cluster.pods(part)}
            if any(name not in pods or pods[name].container != container for name, container in containers.items()):
                return
            await asyncio.sleep(LOOK_EVERY)
        raise ClusterProblem(f"{', '.join(containers)} did not end although {why}")

    def _limits(self, kind: Kind) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
        if kind is Kind.MEMORY:
            return lambda: self._set_memory(_NO_MEMORY), lambda: self._set_memory(_MEMORY_LIMIT)
        return lambda: self._set_disk(_NO_DISK), lambda: self._set_disk(_DISK_LIMIT)

    async def _set_memory(self, limit: str) -> None:
        await self._rabbitmqctl("set_vm_memory_high_watermark", limit)

    async def _set_disk(self, limit: str) -> None:
        await self._rabbitmqctl("set_disk_free_limit", limit)

    async def _rabbitmqctl(self, *words: str) -> None:
        await self.cluster.kubectl("exec", _BROKER_POD, "-c", "rabbitmq", "--", "rabbitmqctl", "-q", *words)

    async def _set_clock(self, pod: Pod, seconds: int) -> None:
        # One write of a few bytes: the process that reads it sees the old or the new line.
        await self.cluster.kubectl(
            "exec", pod.name, "-c", "consumer", "--", "sh", "-c", f"echo '{seconds:+d}' > {CLOCK_FILE}"
        )
