"""What the witnesses are, and what is read out of them."""

import json
from dataclasses import dataclass, field

import pytest

from chaos.cluster import Cluster
from chaos.evidence import Presence
from chaos.jobqueues import jobqueues, witness
from chaos.plan import CONSUMERS, Part
from chaos.targets import presences


@pytest.mark.parametrize("clock", [True, False], ids=["with libfaketime", "without"])
def test_every_jobqueue_with_the_bench_handlers_names_their_witness(clock: bool) -> None:
    queues = jobqueues(clock=clock)

    told = {
        part: [
            variable["value"]
            for variable in queue["spec"]["consumer"]["template"]["spec"]["containers"][0]["env"]  # type: ignore[index]
            if variable["name"] == "BENCH_WITNESS"
        ]
        for part, queue in queues.items()
    }
    assert told == {part: ["chaos-witness:8090"] if part is not Part.URLS else [] for part in CONSUMERS}
    assert [queue["metadata"]["name"] for queue in queues.values()] == list(CONSUMERS)  # type: ignore[index]
    assert witness()[1]["spec"]["ports"] == [{"port": 8090}]  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class Answering(Cluster):
    """A cluster whose witness saw two runs."""

    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def kubectl(self, *words: str, stdin: str | None = None, seconds: float = 0) -> str:
        self.asked.append(words)
        run = {"run": "00", "job": "a", "attempt": 1, "delivery": 0, "kind": "async", "pod": "p", "process": "7-a"}
        return json.dumps(
            [run | {"began": 1.5, "ended": 2.5, "last": "gone"}, run | {"began": 3, "ended": None, "last": None}]
        )


async def test_the_runs_are_read_inside_the_witness() -> None:
    cluster = Answering("kind-x", "ns")

    assert await presences(cluster, Part.FEW) == [
        Presence("a", 1, 0, "async", "p", "7-a", 1.5, 2.5, "gone"),
        Presence("a", 1, 0, "async", "p", "7-a", 3, None, None),
    ]
    assert cluster.asked[0][:2] == ("exec", "deployment/chaos-witness")
    assert cluster.asked[0][-2:] == ("--runs", "chaos-few")
