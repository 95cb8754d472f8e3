"""Stops of inserts: the table changes by all rows or none, as the status says, and what is not so is found."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from chaos import plan
from chaos.cluster import selector
from chaos.inserts import STOPS_PER_FAULT, VICTIMS, Stopped, faults
from chaos.own_database import NAME, RATE, manifests
from chaos.plan import Part
from chaos.stopped_inserts import Asker, Found, stop_inserts

ROWS = 100
WORKLOADS = ("Deployment", "StatefulSet")


@dataclass
class Service:
    """A front, and Leveret's API behind it: every second insert is done when it is stopped."""

    flaw: str = ""
    late: int = 0  # so many, the first ones, are over when they are stopped
    jobs: dict[str, tuple[str, int]] = field(default_factory=dict)
    asked: int = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        _, verb, *rest = request.url.path.split("/")
        status = getattr(self, f"_{verb}")(request, rest[-1])
        return httpx.Response(202 if verb in ("insert", "stop") else 200, json=status)

    def _insert(self, request: httpx.Request, _: str) -> Any:
        id = f"i{len(self.jobs)}"  # noqa: A001
        self.jobs[id] = ("running", 0)
        if self.flaw == "lost answer" and len(self.jobs) == 3:
            self.jobs[id] = ("succeeded", ROWS)
            raise httpx.ReadError("gone", request=request)
        return {"id": id}

    def _stop(self, _: httpx.Request, id: str) -> Any:
        number = int(id[1:])
        end = ("succeeded", ROWS) if (number < self.late if self.late else number % 2) else ("cancelled", 0)
        flawed = {"half": ("cancelled", ROWS // 2), "stays": ("cancelled", ROWS), "dead": ("dead", 0)}
        self.jobs[id] = flawed.get(self.flaw, end) if id == "i4" else end
        return {}

    def _status(self, _: httpx.Request, id: str) -> Any:
        state, rows = self.jobs[id]
        return {"state": state, "rows": rows}

    def _get_data(self, _: httpx.Request, __: str) -> Any:
        more = ROWS if self.flaw == "nobody's" and len(self.jobs) > 5 else 0
        return {"count": 700 + more + sum(rows for _, rows in self.jobs.values())}

    def _v1(self, _: httpx.Request, __: str) -> Any:
        return {"progress": {"done": 1}}


async def stopped(service: Service, kills: list[int] | None = None, share: float = 0.0) -> Found:
    async def all_ids() -> list[str]:
        return list(service.jobs)

    async def kill() -> None:
        assert kills is not None
        kills.append(len(service.jobs))

    async with httpx.AsyncClient(transport=httpx.MockTransport(service.answer), base_url="http://f") as http:
        return await stop_inserts(
            Asker(http), Asker(http), stops=12, rows=ROWS, at_once=3, seed=1, took=0.3, all_ids=all_ids,
            kill=None if kills is None else kill, kill_every=0.01, share=share,
        )  # fmt: skip


async def test_all_rows_or_none_is_right() -> None:
    kills: list[int] = []

    found = await stopped(Service(), kills)

    assert (found.wrong, found.stops, found.unanswered) == ([], 12, {})
    assert found.states == Counter(succeeded=6, cancelled=6)
    assert found.met == 6
    assert kills


@pytest.mark.parametrize(
    ("late", "stops", "met"), [pytest.param(12, 18, 6, id="until-enough"), pytest.param(99, 24, 0, id="as-many-again")]
)
async def test_where_stops_came_too_late_more_are_stopped(late: int, stops: int, met: int) -> None:
    found = await stopped(Service(late=late), share=1 / 3)

    assert (found.wrong, found.stops, found.met) == ([], stops, met)


async def test_an_insert_whose_answer_was_lost_is_found_and_judged() -> None:
    found = await stopped(Service("lost answer"))

    assert found.unanswered == {"i2": ("succeeded", ROWS)}
    assert (found.wrong, found.stops) == ([], 12)


@pytest.mark.parametrize(
    ("flaw", "says"),
    [
        pytest.param("half", "i4 had 50 rows when it was cancelled", id="some rows"),
        pytest.param("stays", "i4 is cancelled and has 100 rows", id="rows of a cancelled one"),
        pytest.param("dead", "i4 is dead and has 0 rows", id="another end"),
        pytest.param("nobody's", "the inserts have 600 rows, and the table 700", id="rows of nobody"),
    ],
)
async def test_what_is_not_so_is_found(flaw: str, says: str) -> None:
    found = await stopped(Service(flaw))

    assert says in found.wrong
    group = Stopped((found,))
    assert not group.good
    assert group.line.startswith("stops 12, met ")


def test_stops_that_met_few_transactions_prove_nothing() -> None:
    ends = {str(number): ("cancelled", 0) for number in range(10)}

    few, enough = (Stopped((Found(ROWS, ends=ends, met=met, counts=[0]),)) for met in (1, 2))

    assert few.wrong == {"wrong stops": ["only 1 of 10 stops met rows"]}
    assert enough.good
    assert enough.line == "stops 10, met 2, wrong stops 0"


def test_every_victim_is_killed_as_often_and_no_more_than_once_in_40_stops() -> None:
    found = list(faults(3, 1_000, since=36))

    assert found == list(faults(3, 1_000, since=36))
    assert [fault.number for fault in found] == list(range(37, 37 + 1_000 // STOPS_PER_FAULT))
    assert {fault.part for fault in found} == set(VICTIMS)
    assert max(Counter(fault.part for fault in found).values()) == 5
    assert {fault.kind for fault in found} == set(plan.HARD)
    assert not list(faults(3, STOPS_PER_FAULT - 1, since=0))


def test_of_the_example_what_is_needed_is_had() -> None:
    assert {one["metadata"]["name"] for one in manifests((Part.OWN_DATABASE,))} == {NAME}
    (jobqueue,) = [one for one in manifests((Part.OWN_DATABASE, Part.INSERTS)) if one["kind"] == "JobQueue"]
    assert jobqueue["spec"]["scaling"]["minReplicas"] == 2
    (container,) = jobqueue["spec"]["consumer"]["template"]["spec"]["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert env == {RATE: "50000", "PGHOST": NAME, "PGUSER": "front", "PGDATABASE": "front", "PGPASSWORD": None}


@pytest.mark.parametrize("part", [Part.OWN_DATABASE, Part.FRONT])
def test_a_part_of_the_example_is_found_by_the_labels_of_its_pods(part: Part) -> None:
    pods = [
        one["spec"]["template"]["metadata"]["labels"] for one in manifests((Part.INSERTS,)) if one["kind"] in WORKLOADS
    ]

    wanted = dict(label.split("=") for label in selector(part).split(","))
    assert sum(wanted.items() <= labels.items() for labels in pods) == 1
