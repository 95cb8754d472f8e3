"""A fault that is there to show something proves that it could, and is taken back whether it could or not."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace

import pytest

from chaos.bursts import SOCKETS, Bursts, under_way
from chaos.cluster import Cluster, ClusterProblem, FarSide, Pod
from chaos.evidence import Presence
from chaos.faults import Faults
from chaos.jobs import BULK, Batch
from chaos.plan import SLOTS, Drops, Fault, Kind, Part

POD = Pod("chaos-few-1", "10.0.0.5", "c", 0, ready=True, going=False)
DELETED = replace(POD, container="d")
ALARM = Fault(1, 0, Kind.MEMORY, Part.BROKER, burst=SLOTS[Part.FEW])
RUN = Presence("0", 1, 0, "async", POD.name, "7-a", 2e10, 2e10 + 1, "returned")


def runs(count: int, last: str | None = "returned") -> list[Presence]:
    return [replace(RUN, job=str(number), last=last) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Acting(Cluster):
    """A cluster that does what it's told to at once, and whose witness saw these runs."""

    saw: Sequence[Presence] = ()
    cuts: bool = True
    done: list[str] = field(default_factory=list)

    async def kubectl(self, *words: str, stdin: str | None = None, seconds: float = 0) -> str:
        if "--runs" in words:
            return json.dumps([{"run": "00"} | asdict(run) for run in self.saw])
        self.done.append(" ".join(words[-2:]))
        return ""

    async def pods(self, part: Part | None = None) -> list[Pod]:
        return [DELETED if "--grace-period=0 --force" in self.done else POD]

    async def far_side(self, part: Part) -> FarSide:
        return FarSide(("10.0.0.7",))

    async def cut(self, name: str, near: str, far: FarSide, drops: Drops = Drops.ALL) -> None:
        self.done.append(f"cut {name}{drops}")
        if not self.cuts:
            raise ClusterProblem("nft: no")

    async def mend(self, name: str) -> None:
        self.done.append(f"mend {name}")


def faults(cluster: Cluster, is_final: Callable[[str], bool] = lambda job: False, told_within: float = 60.0) -> Faults:
    async def submit(batch: Batch) -> None:
        pass

    return Faults(cluster, Bursts(cluster, submit, is_final, told_within))


ENOUGH = SLOTS[Part.FEW] + 1
BULKY = replace(ALARM, burst=SLOTS[Part.BULK], bulky=True)


@pytest.mark.parametrize(
    ("fault", "saw", "final", "problem"),
    [
        pytest.param(ALARM, runs(ENOUGH), (), None, id="more than slots"),
        pytest.param(ALARM, runs(ENOUGH - 1), (), "only 10 attempts of chaos-few", id="as many as slots"),
        pytest.param(ALARM, runs(ENOUGH), ("3",), "only 10 attempts of chaos-few", id="one was told of"),
        pytest.param(ALARM, runs(ENOUGH, None), (), "only 0 attempts of chaos-few", id="they go on"),
        pytest.param(BULKY, [*runs(SOCKETS // BULK + 1), *runs(60, None)], (), None, id="more bytes than sockets hold"),
        pytest.param(
            BULKY,
            [*runs(SOCKETS // BULK), *runs(60, None)],
            (),
            f"only {SOCKETS // BULK} attempts of chaos-bulk",
            id="not more bytes than sockets hold",
        ),
    ],
)
async def test_an_alarm_proves_that_much_had_ended_and_was_not_told_of(
    fault: Fault, saw: list[Presence], final: Collection[str], problem: str | None
) -> None:
    cluster = Acting("kind-x", "ns", saw)

    def is_final(job: str) -> bool:
        return job in final or "set_vm_memory_high_watermark 0.6" in cluster.done  # told of once it's over

    happened = await faults(cluster, is_final).carry_out(fault)

    assert (happened.problem or "").startswith(problem or "")
    assert (happened.problem is None) == (problem is None) == ("had ended unconfirmed" in happened.seen)
    assert cluster.done[-1] == "set_vm_memory_high_watermark 0.6"


async def test_a_broker_dies_in_the_alarm_that_keeps_what_ended_from_being_confirmed() -> None:
    cluster = Acting("kind-x", "ns", runs(ENOUGH))

    happened = await faults(cluster).carry_out(replace(ALARM, kind=Kind.DELETE))

    assert (happened.problem, happened.seen) == (None, "11 attempts had ended unconfirmed")
    assert cluster.done == ["set_vm_memory_high_watermark 0.00001", "--grace-period=0 --force"]


async def test_what_nobody_is_told_of_a_while_after_an_alarm_is_a_problem() -> None:
    """With more results than its sockets held a consumer stood still for two minutes, until it gave its connection up."""
    happened = await faults(Acting("kind-x", "ns", runs(ENOUGH)), told_within=0.0).carry_out(ALARM)

    assert happened.problem == "11 attempts had ended in it and nobody was told, 0 s after it"


async def test_an_alarm_in_which_nobody_dies_is_over() -> None:
    cluster = Acting("kind-x", "ns", runs(ENOUGH, None))

    happened = await faults(cluster).carry_out(replace(ALARM, kind=Kind.KILL))

    assert "only 0 attempts" in (happened.problem or "")
    assert cluster.done == ["set_vm_memory_high_watermark 0.00001", "set_vm_memory_high_watermark 0.6"]


@pytest.mark.parametrize("drops", list(Drops))
async def test_a_short_cut_is_mended_and_has_nothing_to_prove(drops: Drops) -> None:
    cluster = Acting("kind-x", "ns")

    happened = await faults(cluster).carry_out(Fault(4, 0, Kind.CUT, Part.FEW, Part.BROKER, drops=drops))

    assert (happened.problem, happened.seen) == (None, "")
    assert cluster.done == [f"cut fault4{drops}", "mend fault4"]


async def test_a_fault_of_the_long_ones_waits_for_all_pods_of_their_part() -> None:
    """With one missing it would hit another one than it's planned to."""

    class Few(Acting):
        async def pods(self, part: Part | None = None) -> list[Pod]:
            names = [f"chaos-long-{number}" for number in range(5 if self.done else 4)]
            self.done.append("looked")
            return [replace(POD, name=name) for name in names]

    found = await faults(Few("kind-x", "ns"))._victims(Fault(1, 0, Kind.CUT, Part.LONG, Part.BROKER, pick=0.9))

    assert [pod.name for pod in found] == ["chaos-long-4"]


@pytest.mark.parametrize(
    ("began", "ended", "counts"),
    [
        pytest.param(90, None, True, id="it goes on"),
        pytest.param(90, 110, True, id="it ended in the cut"),
        pytest.param(90, 95, False, id="it had ended"),
        pytest.param(101, 120, False, id="it began later"),
    ],
)
async def test_a_long_cut_proves_that_jobs_were_under_way(began: float, ended: float | None, counts: bool) -> None:
    cluster = Acting("kind-x", "ns", [replace(RUN, began=began, ended=ended)])
    told = under_way(cluster, POD, 100)

    if counts:
        assert await told == "1 jobs were under way"
    else:
        with pytest.raises(ClusterProblem, match="nothing ran on chaos-few-1"):
            await told
