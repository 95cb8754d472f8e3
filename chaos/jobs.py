"""Which jobs a run submits, when, by which way, and what must become of each: drawn from the seed."""

import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from chaos.plan import Fault, Part

TARGETS = "http://url-check-targets"
WITNESS = "chaos-witness"  # what the other jobs hold a connection to
BENCH_ATTEMPTS, URL_ATTEMPTS = 4, 10  # what the run's JobQueues allow
EFFECT_ATTEMPTS = 100  # each in which a database is away is one
MOST_FAILURES = 2  # of a URL that works in the end: the other attempts are for cuts, and one of 15 s costs up to four
BULK = 250_000  # characters of a large result, of which 256 KiB are allowed
LONGEST_KEPT = 1_000  # characters
LATEST_START = 20.0  # s: the longest delay that is asked for
CRASH = "crash"  # the type whose jobs end the process that runs them; a fault submits it
EFFECT = "effect"
Json = dict[str, object]


class Way(StrEnum):
    ONE = "HTTP, one"
    LIST = "HTTP, a list"
    AMQP = "AMQP"


@dataclass(frozen=True, slots=True)
class Job:
    """A job with its right end."""

    part: Part  # the JobQueue
    type: str
    payload: Json
    dead: bool = False  # else it succeeds
    result: object = None  # of a success, for types other than check-url
    status: int | None = None  # what check-url must report
    path: str | None = None  # what the targets count its requests under
    mark: str = ""  # what makes the path its own
    attempts: int = 1  # that the targets must have seen at least
    delay: float | None = None  # s; AMQP has none
    cancel: float | None = None  # s after it was accepted; then it may also end as cancelled

    @property
    def end(self) -> str:
        return "dead" if self.dead else "succeeded"


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sent at once: one job, a list of them, or some messages. All are for one queue."""

    number: int
    at: float  # s after the start of the run
    way: Way
    jobs: tuple[Job, ...] = field(default_factory=tuple)

    @property
    def part(self) -> Part:
        return self.jobs[0].part


def crash(fault: Fault) -> Batch:
    """Return the job that ends the process which runs it: where it has a transaction, right before its COMMIT or after it."""
    one = Job(Part.ODD, CRASH, {"times": 1})
    if fault.part is Part.EFFECTS:
        ends: Json = {"value": CRASH, "follow_ups": 2, "ending": "crash after" if fault.size else "crash"}
        one = Job(Part.EFFECTS, EFFECT, ends, result=CRASH)
    return Batch(-1, 0.0, Way.ONE, (one,))


def burst(fault: Fault) -> Batch:
    """Return what a fault submits right before it hits, and what ends in it."""
    one = (
        Job(Part.BULK, "bulk", {"seconds": 8, "characters": BULK}, result=abridged("x" * BULK))
        if fault.bulky
        else Job(Part.FEW, "sleep", {"seconds": 0.02})
    )
    return Batch(-fault.number, 0.0, Way.LIST, (one,) * fault.burst)


def abridged(result: object) -> object:
    """Return a result as it's kept and compared: of a long text its length and its checksum."""
    if isinstance(result, str) and len(result) > LONGEST_KEPT:
        return f"{len(result)} characters, CRC {zlib.crc32(result.encode()):08x}"
    return result


def renamed(job: Job, suffix: str) -> Job:
    """Return the same job with a path of its own: what became of the first copy is not known."""
    if job.path is None:
        return job
    mark = f"{job.mark}{suffix}"
    path = job.path.replace(job.mark, mark)
    return replace(job, path=path, mark=mark, payload={"url": f"{TARGETS}{path}"})


def batches(
    seed: int, run: str, jobs: int, seconds: float, shares: Mapping[Part, int] | None = None
) -> tuple[Batch, ...]:
    """Return what is to be submitted in so many seconds: `jobs` in all. `run` keeps the paths of two runs apart.

    `shares` are the queues' (None: the mix's).
    """
    chance = random.Random(f"jobs {seed}")  # noqa: S311 - to be repeated, not to be secret
    sizes = _sizes(chance, jobs)
    found = []
    made = 0
    for number, (way, size) in enumerate(sizes):
        make = _MAKERS[_part(chance, shares or MIX)]
        group = tuple(_maybe_later(chance, way, make(chance, f"{run}-{mark}")) for mark in range(made, made + size))
        made += size
        found.append(Batch(number, round(seconds * number / len(sizes), 2), way, group))
    return tuple(found)


def _sizes(chance: random.Random, jobs: int) -> list[tuple[Way, int]]:
    """Lists carry most of the jobs; a third of the requests are single jobs and a third messages."""
    sizes: list[tuple[Way, int]] = []
    left = jobs
    while left > 0:
        way = chance.choice(tuple(Way))
        size = 1 if way is Way.ONE else chance.randint(2, 40) if way is Way.LIST else chance.randint(1, 10)
        sizes.append((way, min(size, left)))
        left -= sizes[-1][1]
    return sizes


def _part(chance: random.Random, shares: Mapping[Part, int]) -> Part:
    return chance.choices(tuple(shares), tuple(shares.values()))[0]


def _maybe_later(chance: random.Random, way: Way, job: Job) -> Job:
    if way is Way.AMQP:
        return replace(job, cancel=None)
    if chance.random() > 0.1:
        return job
    return replace(job, delay=round(chance.uniform(0.5, LATEST_START), 1))


def _bench(chance: random.Random, mark: str) -> Job:
    draw = chance.random()
    if draw < 0.30:
        return Job(Part.BENCH, "noop", {})
    if draw < 0.60:
        return Job(Part.BENCH, "echo", {"value": mark}, result=mark)
    if draw < 0.90:
        return Job(Part.BENCH, "sleep", {"seconds": round(chance.uniform(0.02, 1.5), 2)})
    if draw < 0.98:
        times = chance.randint(1, BENCH_ATTEMPTS - 1)
        return Job(Part.BENCH, "fail", {"times": times}, result=times + 1, attempts=times + 1)
    return Job(Part.BENCH, "fail", {"times": BENCH_ATTEMPTS + 5}, dead=True, attempts=BENCH_ATTEMPTS)


def _odd(chance: random.Random, mark: str) -> Job:
    draw = chance.random()
    if draw < 0.45:
        return Job(Part.ODD, "echo", {"value": mark}, result=mark)
    if draw < 0.85:
        return Job(Part.ODD, "sleep", {"seconds": round(chance.uniform(0.02, 0.5), 2)})
    return Job(Part.ODD, "fail", {"times": 1}, result=2, attempts=2)


def _url(chance: random.Random, mark: str) -> Job:
    draw = chance.random()
    if draw < 0.60:
        return _check(mark, f"/ok?{mark}")
    if draw < 0.75:
        return _check(mark, f"/slow/{chance.uniform(0.05, 1.0):.2f}?{mark}")
    if draw < 0.80:
        return _check(mark, f"/redirect/2?{mark}")
    if draw < 0.85:
        return _check(mark, f"/status/404?{mark}", status=404)
    if draw < 0.98:
        times = chance.randint(1, MOST_FAILURES)
        return _check(mark, f"/flaky/{mark}/{times}", attempts=times + 1)
    return replace(_check(mark, f"/status/503?{mark}"), dead=True, status=None)


def _check(mark: str, path: str, *, status: int = 200, attempts: int = 1) -> Job:
    url: Json = {"url": f"{TARGETS}{path}"}
    return Job(Part.URLS, "check-url", url, status=status, path=path, mark=mark, attempts=attempts)


def _effect(chance: random.Random, mark: str) -> Job:
    """One row in a transaction that lasts a moment, and in it up to two follow-ups."""
    written: Json = {
        "value": mark,
        "follow_ups": chance.choices((0, 1, 2), (60, 25, 15))[0],
        "seconds": round(chance.uniform(0.0, 0.4), 2),
        "after": round(chance.uniform(0.0, 0.1), 2),
    }
    job, draw = Job(Part.EFFECTS, EFFECT, written, result=mark), chance.random()
    if draw < 0.05:
        return replace(job, payload=written | {"ending": "reject"}, dead=True)
    if draw < 0.15:
        return replace(job, payload=written | {"fails": 1}, attempts=2)
    if draw < 0.20:
        return replace(job, payload=written | {"ending": "raise after"})
    if draw < 0.40:
        return replace(job, cancel=round(chance.uniform(0.0, 1.0), 2))
    return job


MIX = {Part.BENCH: 50, Part.URLS: 40, Part.ODD: 10}
_MAKERS: Mapping[Part, Callable[[random.Random, str], Job]] = {
    Part.BENCH: _bench,
    Part.URLS: _url,
    Part.ODD: _odd,
    Part.EFFECTS: _effect,
}
