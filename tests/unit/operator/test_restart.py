"""An operator that starts anew beside JobQueues that are served: what it doesn't know yet stays as it was recorded."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from played import START, Scene

from leveret.scaling.backlog import Depth
from leveret.scaling.demand import Beat, hear_beat
from leveret_operator.broker import NOT_TRIED
from leveret_operator.jobqueue import Consumer, Deployment, JobQueue, QueueSpec, Recorded
from leveret_operator.loop import CentralLoop
from leveret_operator.parsing import parse_recorded
from leveret_operator.registry import Registry
from leveret_operator.turn import take_turn

SERVED = 20
TEN_MINUTES = timedelta(minutes=10)


class Operator:
    """One process: what it keeps is its own, the cluster and the broker stay when it goes."""

    def __init__(self, scene: Scene, jobqueues: list[JobQueue]) -> None:
        self.scene, self.loop = scene, CentralLoop()
        for jobqueue in jobqueues:
            recorded = parse_recorded({"status": scene.cluster.statuses.get(jobqueue.name, {})})
            scene.registry.recorded[jobqueue.uid] = recorded
            scene.registry.jobqueue_is(jobqueue, recorded)
        self.loop._match_registry(scene.tools)

    async def works(self, *, numbers: timedelta = timedelta(0), broker: timedelta = timedelta(0)) -> None:
        """For ten minutes; the numbers and the broker's session come after so long."""
        scene, start = self.scene, self.scene.now
        scene.broker.session, scene.broker.problem = None, NOT_TRIED
        for after in ticks():
            scene.now = start + after
            if after >= broker:
                scene.broker.session = 1
            scene.broker.bulk = Depth(scene.now, 0, 0) if after >= numbers else None
            for kept in self.loop._kept.values():
                if after.total_seconds() % 5 == 3:  # their consumers heed no operator's restart
                    said = Beat(scene.now, 0, 100, "0.2.0", 5.0)
                    kept.hear(hear_beat(kept.memory.signals, "a consumer", said, scene.now))
                await take_turn(kept, scene.tools)


def ticks() -> Iterator[timedelta]:
    """A turn each second at first, then every ten."""
    yield from (timedelta(seconds=second) for second in range(30))
    yield from (timedelta(seconds=second) for second in range(33, 610, 5))


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["lastTransitionTime"]) for one in status["conditions"]}


@pytest.fixture
def jobqueues(jobqueue: JobQueue) -> list[JobQueue]:
    policy = replace(jobqueue.policy, min_replicas=1)
    return [replace(jobqueue, name=f"q{n}", uid=f"uid of q{n}", policy=policy) for n in range(SERVED)]


LATE = [
    pytest.param({}, id="all-is-known-at-once"),
    pytest.param({"broker": timedelta(seconds=1)}, id="the-broker-comes-last"),
    pytest.param({"numbers": timedelta(seconds=5)}, id="the-numbers-come-last"),
    pytest.param({"broker": timedelta(seconds=15), "numbers": timedelta(seconds=9)}, id="both-are-late"),
]


@pytest.mark.parametrize("late", LATE)
async def test_a_restart_moves_no_transition_time_and_warns_of_nothing(
    jobqueues: list[JobQueue], late: dict[str, timedelta]
) -> None:
    scene = Scene(jobqueues[0])
    await Operator(scene, jobqueues).works()
    before = {name: conditions(status) for name, status in scene.cluster.statuses.items()}
    assert {status for one in before.values() for status, _ in one.values()} == {"True"}
    scene.cluster.told.clear()
    scene.cluster.warned.clear()
    scene.cluster.writes.clear()
    numbers = {name: status["queue"] for name, status in scene.cluster.statuses.items()}

    await Operator(scene, jobqueues).works(**late)

    assert {name: conditions(status) for name, status in scene.cluster.statuses.items()} == before
    assert {name: status["queue"] for name, status in scene.cluster.statuses.items()} == numbers
    assert scene.cluster.told == []
    assert len(scene.cluster.applied) == SERVED, "what would change nothing is not applied again"
    assert len(scene.cluster.writes) == SERVED
    assert max(scene.cluster.writes.values()) <= 3, [*scene.cluster.writes.values()]


@pytest.mark.parametrize("late", LATE)
async def test_what_is_not_known_of_a_new_jobqueue_is_unknown_and_never_false(
    jobqueue: JobQueue, late: dict[str, timedelta]
) -> None:
    scene, written = Scene(jobqueue), list[dict[str, tuple[str, str]]]()
    write = scene.cluster.write_status

    async def kept(one: JobQueue, status: dict[str, Any]) -> None:
        written.append(conditions(status))
        await write(one, status)

    scene.cluster.write_status = kept  # type: ignore[assignment, method-assign]
    await Operator(scene, [jobqueue]).works(**late)
    assert "False" not in {status for one in written for status, _ in one.values()}
    assert scene.cluster.warned == []


@pytest.mark.parametrize("session", [pytest.param(None, id="still-away"), pytest.param(1, id="back")])
async def test_what_was_wrong_before_a_restart_is_said_until_it_is_known_to_be_well(
    jobqueue: JobQueue, session: int | None
) -> None:
    scene = Scene(jobqueue)
    scene.broker.session, scene.broker.problem = None, "refused"
    await scene.turn(0, bulk=None)
    await scene.turn(60, bulk=None)
    first = conditions(scene.cluster.status)
    assert first["Ready"] == ("False", "2026-01-01T00:00:00.000Z")

    operator = Operator(scene, [jobqueue])
    (kept,) = operator.loop._kept.values()
    scene.broker.problem = NOT_TRIED
    scene.now = START + timedelta(seconds=70)
    await take_turn(kept, scene.tools)
    assert conditions(scene.cluster.status) == first
    assert scene.cluster.status["reason"] == "NotConnected"
    scene.broker.session, scene.broker.problem = session, "refused"
    scene.now = START + timedelta(seconds=71)
    await take_turn(kept, scene.tools)
    ready = conditions(scene.cluster.status)["Ready"]
    assert ready == (first["Ready"] if session is None else ("True", "2026-01-01T00:01:11.000Z"))


@pytest.mark.parametrize("replicas", [pytest.param(3, id="with-consumers"), pytest.param(0, id="at-zero")])
async def test_one_that_an_upgrade_no_longer_understands_keeps_queue_and_size_over_restarts(
    jobqueue: JobQueue, replicas: int
) -> None:
    scene = Scene(jobqueue)
    scene.cluster.replicas = replicas
    await Operator(scene, [jobqueue]).works()
    scene.cluster.replicas = replicas
    scene.cluster.sizes.clear()
    bad = replace(jobqueue, consumer=Consumer("", "", 10), generation=4, problem="timeout: 'soon' is no duration")
    later = replace(jobqueue, name="later", uid="l", queue_spec=QueueSpec(jobqueue.queue))
    since = scene.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for _ in range(2):
        scene.registry = Registry(lambda name: None)
        scene.registry.deployment_is(
            Deployment("url-check-consumer", "url-check", "d1", 1, replicas, replicas, "f", ready=replicas)
        )
        scene.tools = replace(scene.tools, registry=scene.registry)
        created = replace(bad, created=START)
        operator = Operator(scene, [later, created])
        await operator.works()
        assert scene.cluster.sizes == []
        assert scene.cluster.condition("TopologyReady", "later") == ("False", "QueueNameTaken")
        assert scene.cluster.condition("SpecInvalid", "url-check") == ("True", "SpecInvalid")
        assert scene.cluster.condition("Ready", "url-check") == ("False", "SpecInvalid")
        assert scene.cluster.statuses["url-check"]["observedGeneration"] == 4
        said = conditions(scene.cluster.statuses["url-check"])["SpecInvalid"]
        assert said == ("True", since), "since the first of them, whatever restarted"
    scene.broker.bulk = Depth(scene.now, 900, 0)
    await take_turn(operator.loop._kept["url-check"], scene.tools)
    assert scene.cluster.sizes == [9], "it is served all the same"
    assert len(scene.cluster.applied) == 1, "by what ran before"


async def test_a_spec_that_changed_while_no_operator_ran_is_told_when_it_is_applied(jobqueue: JobQueue) -> None:
    scene = Scene(jobqueue)
    await scene.turn(0)
    changed = replace(jobqueue, generation=9, timeout=jobqueue.timeout * 2)
    operator = Operator(scene, [changed])
    scene.registry.recorded[jobqueue.uid] = Recorded()
    (kept,) = operator.loop._kept.values()
    scene.broker.session, scene.broker.problem = None, NOT_TRIED
    await take_turn(kept, scene.tools)
    assert (len(scene.cluster.applied), scene.cluster.status["observedGeneration"]) == (2, 9)
    generations = {one["type"]: one["observedGeneration"] for one in scene.cluster.status["conditions"]}
    assert (generations["ConsumersAvailable"], generations["BrokerReachable"]) == (9, 3)
