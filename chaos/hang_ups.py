"""Who gave a connection up in a cut, and when, as the kernels of the two sides tell: not assumed from any heartbeat.

A side that gives a connection up closes its socket, which can't be told to the other one, but is not established any more.
"""

import asyncio
import contextlib
import time

from chaos.cluster import Cluster, ClusterProblem, Pod

LOOK_EVERY = 3.0  # s


async def ports_to(cluster: Cluster, near: Pod, far: Pod) -> frozenset[int]:
    """Return the ports of a pod from which it's connected to the far one; raise ClusterProblem if there are none."""
    found = frozenset(one.peer_port for one in await cluster.established(far) if one.peer == near.address)
    if not found:
        raise ClusterProblem(f"{near.name} was not connected to {far.name}: there was nothing to cut")
    return found


async def watch(
    cluster: Cluster, near: Pod, far: Pod, ports: frozenset[int], seconds: float, every: float = LOOK_EVERY
) -> str:
    """Watch a cut for as long as it lasts; tell when each side gave up, raise ClusterProblem if one did not."""
    began = time.monotonic()
    gave_up: dict[str, float] = {}
    while (passed := time.monotonic() - began) < seconds:
        with contextlib.suppress(ClusterProblem):  # a look that fails is made up for by the next one
            held = {
                far.name: {one.peer_port for one in await cluster.established(far) if one.peer == near.address},
                near.name: {one.port for one in await cluster.established(near)},
            }
            for side, its_ports in held.items():
                if not ports & its_ports:
                    gave_up.setdefault(side, passed)
        await asyncio.sleep(every)
    if missing := [name for name in (far.name, near.name) if name not in gave_up]:
        raise ClusterProblem(f"{' and '.join(missing)} had not given the connection up after {seconds:.0f} s")
    return ", ".join(f"{name} gave up after {after:.0f} s" for name, after in gave_up.items())
