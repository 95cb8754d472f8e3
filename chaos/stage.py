"""What a run stands on: the cluster and its connections opened, its JobQueues and witnesses prepared, and removed again."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from chaos import own_database
from chaos.bursts import Bursts
from chaos.cluster import ROOT, Cluster, ClusterProblem
from chaos.evidence import Happened
from chaos.faults import Faults
from chaos.jobqueues import CONFIG_MAP, clock_library, jobqueues, witness
from chaos.jobs import WITNESS
from chaos.plan import INSTALLED, PODS, Kind, Part
from chaos.pod_logs import PodLogs
from chaos.stretches import Size, beside, parts
from chaos.submit import Submitter
from chaos.witness import BROKER_ERRORS, WitnessQueue

TARGETS_MANIFEST = ROOT / "manifests" / "examples" / "url-check.yaml"
WITNESS_QUEUE = "chaos.witness"
PREPARE_SECONDS = 180.0
FRONT = "http://127.0.0.1:18082"  # of bulk-insert


class Broken(Exception):
    """The run could not be made; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    size: Size
    context: str
    namespace: str
    url: str
    amqp: str  # host:port
    folder: Path  # for what is kept
    own_cluster: bool = False  # it is made for the run and goes with it
    front: str = FRONT


@dataclass(slots=True)
class Chaos:
    """What the steps of one run share."""

    options: Options
    cluster: Cluster
    http: httpx.AsyncClient
    submitter: Submitter
    witness: WitnessQueue
    faults: Faults
    happened: list[Happened]
    began: float = 0.0

    def queue(self, part: Part) -> str:
        return f"{self.options.namespace}.{part}"

    @property
    def parts(self) -> tuple[Part, ...]:
        return parts(self.options.size)

    @property
    def queues(self) -> list[str]:
        return [self.queue(part) for part in self.parts]

    @property
    def to_go(self) -> int:
        """Count the accepted jobs that no event has told the end of; of one that is cancelled there may be none."""
        final = self.witness.final
        return sum(one.job.cancel is None and one.id not in final for one in self.submitter.accepted)

    @property
    def since(self) -> float:
        """When this run's jobs were made at the earliest: AMQP cuts a message's time to the second."""
        return self.began - 1.0

    def say(self, line: str) -> None:
        at = time.time() - self.began if self.began else 0.0
        print(f"{int(at // 60):02}:{int(at % 60):02}  {line}", flush=True)


@contextlib.asynccontextmanager
async def opened(options: Options) -> AsyncIterator[Chaos]:
    cluster = Cluster(options.context, options.namespace)
    token = (await cluster.secret("leveret-token"))["token"]
    broker = await cluster.secret("leveret-broker")
    amqp = f"amqp://{broker['username']}:{broker['password']}@{options.amqp}/"
    queues = [f"{options.namespace}.{part}" for part in parts(options.size)]
    # Each request has a connection of its own, so that the Service shares them out and a replica that is gone is not asked again.
    limits = httpx.Limits(max_keepalive_connections=0)
    headers = {"authorization": f"Bearer {token}"}
    with (options.folder / "submitted.jsonl").open("w") as journal:
        async with (
            httpx.AsyncClient(
                base_url=options.url, headers=headers, timeout=30, limits=limits, trust_env=False
            ) as http,
            PodLogs(cluster, options.folder / "pods"),
        ):
            submitter = Submitter(http, amqp, lambda part: f"{options.namespace}.{part}", journal)
            (options.folder / "events.jsonl").write_text("")
            events = WitnessQueue(amqp, WITNESS_QUEUE, queues, options.folder / "events.jsonl")
            bursts = Bursts(cluster, submitter.post, events.final.__contains__)
            yield Chaos(options, cluster, http, submitter, events, Faults(cluster, bursts), [])


async def prepare(chaos: Chaos) -> set[Kind]:
    """Apply what the run needs and wait until it works; return the faults that this machine can't make."""
    without: set[Kind] = set()
    cluster = chaos.cluster
    for manifest in yaml.safe_load_all(TARGETS_MANIFEST.read_text()):
        if manifest["metadata"]["name"] == "url-check-targets":  # the rest of the example has no part in a run
            await cluster.apply(manifest)
    if needed := beside(chaos.options.size):
        await own_database.prepare(cluster, needed)
    library = clock_library()
    if library:
        await cluster.kubectl("delete", "configmap", CONFIG_MAP, "--ignore-not-found")
        await cluster.kubectl("create", "configmap", CONFIG_MAP, f"--from-file={library}")
    else:
        chaos.say("no clock jumps: libfaketime is not on this machine (python3 cluster/kit.py packages libfaketime)")
        without.add(Kind.CLOCK)
    await cluster.kubectl("delete", "deployment", WITNESS, "--ignore-not-found")  # it knows of an earlier run
    queues = jobqueues(clock=library is not None)
    for manifest in (*witness(), *(queues[part] for part in chaos.parts)):
        await cluster.apply(manifest)
    await chaos.faults.put_back()
    for one in ("url-check-targets", WITNESS):
        await cluster.kubectl("rollout", "status", f"deployment/{one}", seconds=PREPARE_SECONDS)
    end = time.monotonic() + PREPARE_SECONDS
    while said := await _not_ready(chaos):
        if time.monotonic() > end:
            raise Broken(
                f"{said}, after {PREPARE_SECONDS:.0f} s; `kubectl -n {cluster.namespace} get pods,jq` tells more"
            )
        await asyncio.sleep(1.0)
    return without


async def _not_ready(chaos: Chaos) -> str | None:
    """Return what is missing: pods of every part, and an API that knows the queues."""
    for part in (*chaos.parts, *INSTALLED, *beside(chaos.options.size)):
        least = PODS[part][0] if part in PODS else 1
        ready = sum(pod.ready and not pod.going for pod in await chaos.cluster.pods(part))
        if ready < least:
            return f"{ready} of {least} pods of {part} are ready"
    for queue in chaos.queues:
        try:
            answer = await chaos.http.get(f"/v1/queues/{queue}")
        except httpx.TransportError as problem:
            return f"{chaos.options.url} does not answer ({type(problem).__name__})"
        if answer.status_code != 200:
            return f"GET /v1/queues/{queue} answers {answer.status_code}"
    return None


async def remove(chaos: Chaos) -> None:
    """Remove what the run brought; what is left over does no harm, and the next run uses it again."""
    with contextlib.suppress(ClusterProblem):
        await chaos.cluster.kubectl("delete", "jobqueue", *map(str, chaos.parts), "--wait=true", "--timeout=60s")
        await chaos.cluster.kubectl("delete", "configmap", CONFIG_MAP, "--ignore-not-found")
        await chaos.cluster.kubectl("delete", "deployment,service", WITNESS, "--ignore-not-found")
    with contextlib.suppress(*BROKER_ERRORS):
        await chaos.witness.remove()
