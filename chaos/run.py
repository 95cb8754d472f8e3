"""A run from beginning to end: prepare, submit under faults, let it settle, close the account, put everything back."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import yaml

from chaos import jobs, plan, report, store
from chaos.cluster import ROOT, Cluster, ClusterProblem
from chaos.evidence import Happened
from chaos.faults import Faults
from chaos.jobqueues import CONFIG_MAP, clock_library, jobqueues
from chaos.jobs import CRASH, Batch, Job, Way
from chaos.ledger import Ledger, settle
from chaos.plan import Fault, Kind, Part
from chaos.pod_logs import PodLogs
from chaos.submit import Submitter
from chaos.witness import BROKER_ERRORS, WitnessQueue

TARGETS_MANIFEST = ROOT / "manifests" / "examples" / "url-check.yaml"
WITNESS = "chaos.witness"
QUEUES = (Part.BENCH, Part.URLS, Part.ODD)
PREPARE_SECONDS = 180.0
SETTLE_SECONDS = 180.0
LATEST_ACCEPTED = 300.0  # s after the time in which all should be
LINE_EVERY = 5.0
READ_AGAIN_AFTER = 10.0  # s: a final state must be the same then


class Broken(Exception):
    """The run could not be made; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    jobs: int
    faults: int
    context: str
    namespace: str
    url: str
    amqp: str  # host:port
    folder: Path  # for what is kept
    own_cluster: bool = False  # it is made for the run and goes with it


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
    def queues(self) -> list[str]:
        return [self.queue(part) for part in QUEUES]

    @property
    def since(self) -> float:
        """When this run's jobs were made at the earliest: AMQP cuts a message's time to the second."""
        return self.began - 1.0

    def say(self, line: str) -> None:
        at = time.time() - self.began if self.began else 0.0
        print(f"{int(at // 60):02}:{int(at % 60):02}  {line}", flush=True)


async def run(options: Options) -> Ledger:
    """Make a run and return its ledger; raise Broken, ClusterProblem or NotAccepted if it can't be made."""
    name = f"{options.seed}-{secrets.token_hex(3)}"
    options.folder.mkdir(parents=True, exist_ok=True)
    async with _opened(options) as chaos:
        without = await _prepare(chaos)
        seconds = plan.length(options.jobs, options.faults)
        faults = plan.faults(options.seed, options.faults, seconds, without)
        batches = jobs.batches(options.seed, name, options.jobs, seconds)
        (options.folder / "plan.json").write_text(json.dumps([asdict(fault) for fault in faults], indent=1))
        return await _under_faults(chaos, faults, batches)


async def _under_faults(chaos: Chaos, faults: tuple[Fault, ...], batches: tuple[Batch, ...]) -> Ledger:
    await chaos.witness.declare()
    chaos.began = time.time()
    reading = asyncio.create_task(chaos.witness.read())
    telling = asyncio.create_task(_tell(chaos))
    try:
        await _submit_and_disturb(chaos, faults, batches)
        ledger = await _account(chaos)
    finally:
        for task in (telling, reading):
            task.cancel()
        ends = await asyncio.gather(telling, reading, return_exceptions=True)
        await chaos.faults.put_back()
    for problem in ends:
        if isinstance(problem, Exception):  # then the account has no witness
            raise problem
    print(f"\n{report.table(ledger, chaos.began, chaos.witness.gaps)}\n\n{report.account(ledger)}", flush=True)
    if ledger.good:
        await _remove(chaos)
    return ledger


async def _submit_and_disturb(chaos: Chaos, faults: tuple[Fault, ...], batches: tuple[Batch, ...]) -> None:
    began = time.monotonic()
    longest = plan.length(chaos.options.jobs, chaos.options.faults) + LATEST_ACCEPTED
    try:
        async with asyncio.timeout(longest), asyncio.TaskGroup() as tasks:
            tasks.create_task(chaos.submitter.run(batches, began))
            for fault in faults:
                tasks.create_task(_disturb(chaos, fault, began))
    except TimeoutError as problem:
        raise Broken(
            f"after {longest:.0f} s only {len(chaos.submitter.accepted):,} jobs are accepted and {len(chaos.happened)} faults over; "
            f"{chaos.options.folder}/submitted.jsonl tells what was refused last, and why"
        ) from problem
    chaos.happened.sort(key=lambda one: one.began)
    chaos.say(f"{len(chaos.submitter.accepted):,} jobs are accepted and all faults are over")


async def _disturb(chaos: Chaos, fault: Fault, began: float) -> None:
    await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
    chaos.say(f"fault {fault.number}: {fault.title}")
    happened = await chaos.faults.carry_out(fault)
    chaos.happened.append(happened)
    lasted = happened.ended - happened.began
    chaos.say(
        f"fault {fault.number} is over after {lasted:.1f} s" + (f": {happened.problem}" if happened.problem else "")
    )


async def _tell(chaos: Chaos) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY)
        accepted = chaos.submitter.accepted
        final = sum(one.id in chaos.witness.final for one in accepted)
        chaos.say(
            f"{len(accepted):,} accepted, {final:,} final, {len(accepted) - final:,} to go; "
            f"{chaos.submitter.refused:,} answers were refusals, {chaos.submitter.unknown:,} jobs not answered for"
        )


async def _account(chaos: Chaos) -> Ledger:
    """Wait until everything is final, as the witness and the store say, and no longer than the settle time."""
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        missing = sum(one.id not in chaos.witness.final for one in chaos.submitter.accepted)
        if not missing and not await store.not_final(chaos.http, chaos.queues, chaos.since):
            break
        await asyncio.sleep(2.0)
    rows = await store.read(chaos.http, chaos.queues, chaos.since)
    await asyncio.sleep(READ_AGAIN_AFTER)
    later = await store.read(chaos.http, chaos.queues, chaos.since)
    requests = await _requests(chaos.cluster)
    ledger = settle(chaos.submitter.accepted, rows, later, chaos.witness, requests, chaos.happened, chaos.options.seed)
    if not ledger.good:
        rows_of = {job: asdict(row) for job, row in later.items()}
        (chaos.options.folder / "rows.json").write_text(json.dumps(rows_of, indent=1))
        (chaos.options.folder / "requests.json").write_text(json.dumps(requests, indent=1))
        (chaos.options.folder / "faults.json").write_text(json.dumps([asdict(one) for one in chaos.happened], indent=1))
    return ledger


async def _requests(cluster: Cluster) -> dict[str, int]:
    """What the servers that were asked counted, read inside their pod."""
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/seen').read().decode())"
    said = await cluster.kubectl("exec", "deployment/url-check-targets", "--", "python", "-c", code)
    found: dict[str, int] = json.loads(said)
    return found


@contextlib.asynccontextmanager
async def _opened(options: Options) -> AsyncIterator[Chaos]:
    cluster = Cluster(options.context, options.namespace)
    token = (await cluster.secret("leveret-token"))["token"]
    broker = await cluster.secret("leveret-broker")
    amqp = f"amqp://{broker['username']}:{broker['password']}@{options.amqp}/"
    queues = [f"{options.namespace}.{part}" for part in QUEUES]
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
            witness = WitnessQueue(amqp, WITNESS, queues, options.folder / "events.jsonl")
            crash = Batch(-1, 0.0, Way.ONE, (Job(Part.ODD, CRASH, {"times": 1}),))
            faults = Faults(cluster, lambda: submitter.post(crash))
            yield Chaos(options, cluster, http, submitter, witness, faults, [])


async def _prepare(chaos: Chaos) -> set[Kind]:
    """Apply what the run needs and wait until it works; return the faults that this machine can't make."""
    without: set[Kind] = set()
    cluster = chaos.cluster
    for manifest in yaml.safe_load_all(TARGETS_MANIFEST.read_text()):
        if manifest["kind"] != "JobQueue":
            await cluster.apply(manifest)
    library = clock_library()
    if library:
        await cluster.kubectl("delete", "configmap", CONFIG_MAP, "--ignore-not-found")
        await cluster.kubectl("create", "configmap", CONFIG_MAP, f"--from-file={library}")
    else:
        chaos.say("no clock jumps: libfaketime is not on this machine (python3 cluster/kit.py packages libfaketime)")
        without.add(Kind.CLOCK)
    for manifest in jobqueues(clock=library is not None):
        await cluster.apply(manifest)
    await chaos.faults.put_back()
    await cluster.kubectl("rollout", "status", "deployment/url-check-targets", seconds=PREPARE_SECONDS)
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
    for part in Part:
        if not any(pod.ready for pod in await chaos.cluster.pods(part)):
            return f"no pod of {part} is ready"
    for queue in chaos.queues:
        try:
            answer = await chaos.http.get(f"/v1/queues/{queue}")
        except httpx.TransportError as problem:
            return f"{chaos.options.url} does not answer ({type(problem).__name__})"
        if answer.status_code != 200:
            return f"GET /v1/queues/{queue} answers {answer.status_code}"
    return None


async def _remove(chaos: Chaos) -> None:
    """Remove what the run brought; what is left over does no harm, and the next run uses it again."""
    with contextlib.suppress(ClusterProblem):
        await chaos.cluster.kubectl("delete", "jobqueue", *map(str, QUEUES), "--wait=true", "--timeout=60s")
        await chaos.cluster.kubectl("delete", "configmap", CONFIG_MAP, "--ignore-not-found")
    with contextlib.suppress(*BROKER_ERRORS):
        await chaos.witness.remove()
