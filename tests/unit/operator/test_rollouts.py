"""What a new operator would make otherwise is rolled out a few at a time; what an author changes, at once."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from played import START, Cluster, Scene

from leveret_operator.deployment import Surroundings, build_deployment
from leveret_operator.jobqueue import Deployment, JobQueue
from leveret_operator.kubernetes_api import ApiRefused
from leveret_operator.loop import CentralLoop
from leveret_operator.parsing import parse_deployment, parse_recorded
from leveret_operator.rollouts import AT_ONCE, LONGEST, Rollouts, is_as_applied
from leveret_operator.turn import take_turn

NEVER = 10**9


class Rolling(Cluster):
    """One whose Deployments take a while to be rolled out."""

    async def apply_deployment(self, manifest: Any, name: str) -> Deployment:
        made = await super().apply_deployment(manifest, name)
        return replace(made, revision=1000 * len(self.applied), observed=False, there=1)


class World:
    """JobQueues that an older operator has served, and the one that comes now."""

    def __init__(self, jobqueue: JobQueue, count: int) -> None:
        self.scene = Scene(jobqueue)
        self.names = [f"q{n}" for n in range(count)]
        for name in self.names:
            made = replace(jobqueue, name=name, uid=f"uid of {name}")
            self.scene.registry.jobqueue_is(made, parse_recorded({}))
        self.second = 0

    async def older(self) -> None:
        self.start(log="text")
        await self.passes(3)
        assert len(self.scene.cluster.applied) == len(self.names)
        self.scene.cluster.applied.clear()

    def start(self, *, log: str) -> None:
        """An operator of its own; what it has to do with Deployments follows from its settings."""
        for name, status in self.scene.cluster.statuses.items():
            uid = self.scene.registry.jobqueues[name].uid
            self.scene.registry.recorded[uid] = parse_recorded({"status": status})
        around = Surroundings("leveret-broker", None, log)
        self.tools = replace(self.scene.tools, around=around, rollouts=Rollouts())
        self.loop = CentralLoop()

    async def passes(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.tick()

    async def tick(self) -> None:
        self.second += 1
        self.scene.now = START + timedelta(seconds=self.second)
        self.loop._match_registry(self.tools)
        for kept in self.loop._kept.values():
            await take_turn(kept, self.tools)

    def applied(self) -> list[str]:
        return [one["metadata"]["labels"]["leveret.dev/jobqueue"] for one in self.scene.cluster.applied]

    def there(self, name: str, **changes: Any) -> Deployment:
        """The Deployment changes, or is as the newest template says."""
        found = self.scene.registry.deployments[name]
        changed = replace(found, revision=found.revision + 1, **changes)
        self.scene.registry.deployment_is(changed)
        return changed

    def ready(self, name: str) -> None:
        self.there(name, observed=True, there=1, updated=1, ready=1)


@pytest.fixture
async def world(jobqueue: JobQueue) -> World:
    world = World(jobqueue, 12)
    await world.older()
    world.scene.tools = replace(world.scene.tools, api=(cluster := Rolling()))  # type: ignore[arg-type]
    cluster.statuses = world.scene.cluster.statuses
    world.scene.cluster = cluster
    return world


async def test_a_new_operator_rolls_out_a_few_at_a_time_and_says_who_waits(world: World) -> None:
    world.start(log="json")
    await world.passes(10)
    assert world.applied() == world.names[:AT_ONCE]
    last = world.loop._kept["q11"]
    assert "is updated in its turn" in last.states.ready.message
    assert (last.states.ready.good, last.states.ready.reason) == (True, "Reconciled")
    world.ready("q1")
    await world.passes(3)
    assert world.applied() == world.names[: AT_ONCE + 1]
    for name in world.names * 3:
        world.ready(name)
        await world.passes(3)
    assert sorted(world.applied()) == sorted(world.names)
    assert "is applied" in last.states.ready.message


async def test_an_operator_that_would_change_nothing_writes_nothing(world: World) -> None:
    world.start(log="text")
    await world.passes(5)
    assert world.applied() == []
    assert world.loop._kept["q0"].states.deployment.message == "Deployment q0-consumer is applied"


async def test_what_an_author_changed_meanwhile_does_not_wait(world: World) -> None:
    world.start(log="json")
    changed = world.scene.registry.jobqueues["q11"]
    await world.passes(2)
    world.scene.registry.jobqueue_is(
        replace(changed, generation=4, consumer=replace(changed.consumer, concurrency=3)), parse_recorded({})
    )
    await world.passes(1)
    assert world.applied() == [*world.names[:AT_ONCE], "q11"]


async def test_what_an_author_changed_while_no_operator_ran_does_not_wait(world: World) -> None:
    changed = world.scene.registry.jobqueues["q11"]
    world.scene.registry.jobqueue_is(
        replace(changed, generation=4, consumer=replace(changed.consumer, concurrency=3)), parse_recorded({})
    )
    world.start(log="json")
    await world.passes(2)
    assert world.applied() == [*world.names[:AT_ONCE], "q11"]


async def test_what_is_missing_and_what_was_changed_by_hand_is_repaired_at_once(world: World) -> None:
    world.scene.registry.deployment_is_gone(world.scene.registry.deployments["q10"])
    there = world.scene.registry.deployments["q11"]
    shape = json.loads(there.shape)
    shape["template"]["spec"]["containers"][0]["image"] = "example/another:1"
    world.there("q11", shape=json.dumps(shape), fingerprint="another")
    world.start(log="text")
    await world.passes(1)
    assert world.applied() == ["q10", "q11"]


async def test_one_that_cannot_be_changed_keeps_nobody_waiting(world: World) -> None:
    world.scene.cluster.refuses["apply"] = ApiRefused(403, "Forbidden", "no")
    world.start(log="json")
    await world.passes(2)
    reasons = {kept.states.deployment.reason for kept in world.loop._kept.values()}
    assert reasons == {"DeploymentRefused"}


async def test_one_that_never_gets_ready_gives_its_turn_away_in_the_end(world: World) -> None:
    world.start(log="json")
    await world.passes(int(LONGEST.total_seconds()) - 5)
    assert len(world.applied()) == AT_ONCE
    await world.passes(10)
    assert world.applied() == world.names[: 2 * AT_ONCE]


async def test_what_an_earlier_operator_began_counts(world: World) -> None:
    world.start(log="json")
    await world.passes(2)
    world.start(log="json")
    await world.passes(10)
    assert world.applied() == world.names[:AT_ONCE]


@given(lengths=st.lists(st.one_of(st.integers(0, 40), st.just(NEVER)), min_size=1, max_size=30))
def test_never_more_than_a_few_and_all_get_their_turn(lengths: list[int]) -> None:
    rollouts, names = Rollouts(), [f"q{n}" for n in range(len(lengths))]
    old = Deployment("x-consumer", "x", "u", 1, 1, 1, "", ready=1, updated=1, mark="old")
    deployments = dict.fromkeys(names, old)
    began = dict[str, int]()
    for second in range(30 * int(LONGEST.total_seconds())):
        for name in names:
            length = lengths[names.index(name)]
            if name in began and second - began[name] >= length:
                deployments[name] = replace(old, mark="new")
            if name not in began and rollouts.begin(name, deployments, START + timedelta(seconds=second)):
                began[name], deployments[name] = second, replace(old, mark="new", observed=False)
        rolling = [name for name, since in began.items() if second - since < min(lengths[names.index(name)], 300)]
        assert len(rolling) <= AT_ONCE
        if len(began) == len(names):
            return
    pytest.fail(f"only {len(began)} of {len(names)} began")


def changes() -> Iterator[Any]:
    def template(**field: Any) -> dict[str, Any]:
        return {"template": {"spec": field}}

    yield pytest.param({}, True, id="as-it-was-applied")
    yield pytest.param(template(dnsPolicy="ClusterFirst"), True, id="what-others-added-stays")
    yield pytest.param(template(enableServiceLinks=True), False, id="another-value")
    yield pytest.param(template(enableServiceLinks=None), True, id="what-is-false-is-left-out")
    yield pytest.param(template(volumes=[]), False, id="a-volume-is-gone")
    yield pytest.param({"labels": {}}, False, id="labels-are-gone")


@pytest.mark.parametrize(("change", "same"), list(changes()))
def test_whether_an_apply_would_change_anything(jobqueue: JobQueue, change: dict[str, Any], same: bool) -> None:
    manifest: Any = build_deployment(jobqueue, Surroundings("leveret-broker", None, "json"))
    body = {**manifest, "metadata": {**manifest["metadata"], "uid": "d"}}
    there = parse_deployment(body)
    shape = json.loads(there.shape)
    shape["template"]["spec"] |= change.get("template", {}).get("spec", {})
    shape |= {key: value for key, value in change.items() if key != "template"}
    assert is_as_applied(replace(there, shape=json.dumps(shape)), manifest) is same
    other: Any = build_deployment(jobqueue, Surroundings("leveret-broker", "Always", "json"))
    assert not is_as_applied(there, other), "another manifest is not as applied, whatever is there"
