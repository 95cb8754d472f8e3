"""The demonstration from beginning to end: see that all is there, submit, watch, sum up, and leave the examples running."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from rich.console import Console
from rich.live import Live
from rich.text import Text

from demo import fronts, inserts, plain, summary, view
from demo.api import Api, Unanswered, connect
from demo.cluster import Cluster
from demo.follow import Follower
from demo.snapshot import JobSeen, Snapshot
from demo.steps import wait_for
from demo.urls import EXPECTED, Url, mix

JOBQUEUE = "url-check"
TARGETS = "url-check-targets"
LIST = 1000  # URLs in one request
LOOK_EVERY_SECONDS = 1.0
LINE_EVERY_SECONDS = 5.0  # without a terminal
WAIT_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Options:
    jobs: int
    context: str
    namespace: str
    url: str
    until_zero: bool  # watch on until the last consumer pod is gone


def demonstrate(options: Options, console: Console) -> None:
    """Run the demonstration; raise NotThere with a sentence if something isn't there."""
    cluster = Cluster.find(options.context, options.namespace)
    api = connect(options.url, cluster.token(), f"{options.namespace}.{JOBQUEUE}")
    _prepare(cluster, api, console)
    began = datetime.now(UTC)
    follower = Follower(api, api.queue, time.monotonic, began=began)
    urls = mix(options.jobs, began.strftime("%Y%m%d-%H%M%S"))
    for start in range(0, len(urls), LIST):
        _submit(api, follower, urls[start : start + LIST])
    console.print(f"{len(urls):,} URLs are accepted after {(datetime.now(UTC) - began).total_seconds():.1f} s.")
    last = _watch(follower, console, until_zero=options.until_zero)
    _sum_up(last, follower.jobs, api, console)
    try:
        fronts.apply_all(cluster, console)
        _insert(cluster, console)
    finally:
        _farewell(options, cluster, console)


def _prepare(cluster: Cluster, api: Api, console: Console) -> None:
    console.print(f"Applying JobQueue {JOBQUEUE} and the servers to check …")
    cluster.apply(fronts.EXAMPLES, fronts.BURST)
    pods = f"`{cluster.command()} get pods` shows what keeps it."
    wait_for(console, "The API is ready", api.ready, seconds=WAIT_SECONDS, fix=pods)
    wait_for(
        console,
        "The servers to check are ready",
        lambda: cluster.not_rolled_out(TARGETS),
        seconds=WAIT_SECONDS,
        fix=pods,
    )

    def known() -> str | None:
        said = api.knows_queue()
        return said and "; ".join([said, *cluster.conditions(JOBQUEUE)])

    describe = f"`{cluster.command()} describe jq {JOBQUEUE}` tells more."
    wait_for(console, f"The queue {api.queue} is known", known, seconds=WAIT_SECONDS, fix=describe)


def _submit(api: Api, follower: Follower, urls: list[Url]) -> None:
    ids = api.submit([one.url for one in urls])
    follower.add(ids, [one.kind for one in urls])


def _watch(follower: Follower, console: Console, *, until_zero: bool) -> Snapshot:
    """Show what happens until every job is final (and, if asked for, no pod is left); return the last snapshot."""
    said_at = float("-inf")
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    with live or nullcontext():
        while True:
            now = follower.look()
            if live is not None:
                live.update(view.frame(now, console.width), refresh=True)
            elif now.done or now.elapsed - said_at >= LINE_EVERY_SECONDS:
                console.print(plain.line(now), soft_wrap=True, highlight=False)
                said_at = now.elapsed
            if now.done and (not until_zero or now.last.replicas == 0):
                return now
            time.sleep(LOOK_EVERY_SECONDS)


def _sum_up(now: Snapshot, jobs: dict[str, JobSeen], api: Api, console: Console) -> None:
    console.print()
    found = summary.outcomes(jobs.values())
    console.print(summary.summary(now, found, EXPECTED))
    of_each = {seen.kind: job for job, seen in reversed(jobs.items())}
    try:
        words = [(one.kind, summary.in_words(api.job(of_each[one.kind]))) for one in found]
    except Unanswered:
        return  # the tables above say what matters
    console.print()
    console.print(summary.examples(words))


def _insert(cluster: Cluster, console: Console) -> None:
    for front in fronts.fronts(cluster):
        if front.name == inserts.NAME:
            with httpx.Client(base_url=front.url, timeout=60, trust_env=False) as client:
                inserts.show(client, console)


def _farewell(options: Options, cluster: Cluster, console: Console) -> None:
    kubectl = cluster.command()

    def secret(name: str, key: str) -> str:
        return f"{kubectl} get secret leveret-{name} -o jsonpath='{{.data.{key}}}' | base64 -d"

    lines = (
        ("The page with the curves", f"{options.url}/"),
        ("The API's documentation", f"{options.url}/docs"),
        ("The token for both", secret("token", "token")),
        *((f"Example {front.name}", front.url) for front in fronts.fronts(cluster)),
        ("What the examples do", "docs/examples/README.md"),
        ("Prometheus", "http://127.0.0.1:9090"),
        ("RabbitMQ's management", "http://127.0.0.1:15672"),
        ("  its user", secret("broker", "username")),
        ("  its password", secret("broker", "password")),
        ("The queues, their pods", f"{kubectl} get jq"),
        ("Why so many pods", f"{kubectl} describe jq {JOBQUEUE}"),
        ("Once more", "make demo"),
        ("Remove all of it", "make down"),
    )
    console.print()
    for what, where in lines:
        console.print(Text(f"{what:<24}  ", style="bright_black").append(where, style="default"), soft_wrap=True)
