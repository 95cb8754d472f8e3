"""Whole turns, with a cluster and a broker that are played: what is written, in which order, and what is not."""

from dataclasses import replace
from typing import Any

import pytest
from aiormq.exceptions import ConnectionInternalError
from played import START, Scene
from prometheus_client import CollectorRegistry

from leveret.events import QueueObserved
from leveret.scaling.gathering import Gathering
from leveret_operator.broker import NotDeclared
from leveret_operator.conditions import States, conditions
from leveret_operator.dead_letter_sources import NoSource, Source
from leveret_operator.jobqueue import JobQueue
from leveret_operator.kubernetes_api import ApiRefused
from leveret_operator.metrics import Metrics
from leveret_operator.parsing import parse_recorded
from leveret_operator.pods import Told
from leveret_operator.queue_names import NoQueue


@pytest.fixture
def scene(jobqueue: JobQueue) -> Scene:
    return Scene(jobqueue)


async def test_a_new_jobqueue_gets_its_queue_and_its_deployment_once(scene: Scene) -> None:
    for second in range(5):
        await scene.turn(second)
    assert (scene.broker.declared, len(scene.cluster.applied), scene.cluster.sizes) == (["leveret.url-check"], 1, [])
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    assert scene.cluster.status["desiredReplicas"] == 1


async def test_nobody_is_told_of_a_new_queue_before_the_broker_has_written_it_down(scene: Scene) -> None:
    scene.broker.missing = True
    said = []
    for second in (0.0, 1.0, 1.9, 2.0, 3.0):
        await scene.turn(second)
        said.append(scene.tools.announcements.defined(scene.kept.jobqueue.queue))
    assert said == [False, False, False, True, True]
    assert scene.broker.declared == ["leveret.url-check"]


async def test_a_queue_that_is_there_is_told_of_at_once(scene: Scene) -> None:
    await scene.turn(0)
    assert scene.tools.announcements.defined(scene.kept.jobqueue.queue)


async def test_a_hint_is_answered_in_one_write(scene: Scene) -> None:
    scene.cluster.replicas = 0
    await scene.turn(0)
    scene.hint(5_000)
    scene.broker.ready = 700
    await scene.turn(0.15)
    scene.broker.ready = 5_000
    await scene.turn(1)
    assert scene.cluster.sizes == [10]
    decided = scene.cluster.status["decisions"][0]
    assert (decided["from"], decided["to"], decided["reason"]) == (0, 10, "MaxReplicas")
    assert "ScaledUp" in scene.cluster.told


async def test_how_long_a_scale_up_took_is_measured_where_it_is_known(scene: Scene) -> None:
    registry = CollectorRegistry()
    scene.tools = replace(scene.tools, metrics=Metrics(registry))

    def measured(what: str) -> float | None:
        return registry.get_sample_value(f"leveret_scaling_reaction_seconds_{what}", {"queue": "leveret.url-check"})

    await scene.turn(0)
    await scene.turn(1, bulk=(200, 0))  # came over AMQP: nobody said since when
    assert (scene.cluster.sizes, measured("count")) == ([2], 0)
    scene.kept.work_since = scene.now
    await scene.turn(1.25, bulk=(500, 0))
    assert (scene.cluster.sizes, measured("count"), measured("sum")) == ([2, 5], 1, 0.25)


async def test_a_template_that_cannot_be_merged_is_told(scene: Scene) -> None:
    consumer = replace(scene.kept.jobqueue.consumer, template={"spec": {"containers": [{"name": {}}]}})
    scene.kept.jobqueue = replace(scene.kept.jobqueue, consumer=consumer)
    await scene.turn(0)
    assert scene.cluster.condition("Ready") == ("False", "TemplateInvalid")
    assert scene.message("Ready").endswith("; no Deployment is made until it is mended")
    assert scene.cluster.condition("SpecInvalid") == ("True", "TemplateInvalid")
    assert len(scene.cluster.warned) == 1, "Ready has told it"


@pytest.mark.parametrize("refused", [pytest.param(False, id="applied"), pytest.param(True, id="refused")])
@pytest.mark.parametrize(
    ("whose", "call"),
    [
        pytest.param("broker", "declare", id="declare"),
        pytest.param("cluster", "apply_deployment", id="apply"),
        pytest.param("broker", "live", id="live"),
        pytest.param("cluster", "scale", id="scale"),
        pytest.param("cluster", "tell", id="event"),
        pytest.param("cluster", "write_status", id="status"),
    ],
)
async def test_no_status_speaks_of_a_spec_that_changed_in_its_turn(
    scene: Scene, whose: str, call: str, refused: bool
) -> None:
    """Whatever the turn waits for meanwhile."""
    tried: list[int] = []  # generations
    told: list[tuple[int, list[int]]] = []
    there, real = getattr(scene, whose), getattr(getattr(scene, whose), call)
    apply, write = scene.cluster.apply_deployment, scene.cluster.write_status

    async def applied(manifest: Any, name: str) -> Any:
        tried.append(int(manifest["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]))
        return await apply(manifest, name)

    async def written(jobqueue: JobQueue, status: Any) -> None:
        told.append((status["observedGeneration"], [one["observedGeneration"] for one in status["conditions"]]))
        assert max(told[-1][1]) == told[-1][0]
        assert {told[-1][0], *told[-1][1]} <= set(tried)
        await write(jobqueue, status)

    scene.cluster.apply_deployment, scene.cluster.write_status = applied, written  # type: ignore[method-assign]
    real = {"apply_deployment": applied, "write_status": written}.get(call, real)

    def changes(generation: int) -> None:
        consumer = replace(scene.kept.jobqueue.consumer, image=f"shop:{generation}")
        scene.kept.jobqueue = replace(scene.kept.jobqueue, consumer=consumer, generation=generation)

    async def meanwhile(*args: Any, **more: Any) -> Any:
        changes(4)
        setattr(there, call, real)
        return await real(*args, **more)

    changes(3)
    if refused:
        scene.cluster.refuses["apply"] = ApiRefused(422, "Invalid", "no")
    else:
        await scene.turn(0)
    setattr(there, call, meanwhile)
    scene.broker.missing = call == "declare" and not refused
    await scene.turn(1, bulk=(900, 0))
    await scene.turn(1.1, bulk=(900, 0))
    await scene.turn(2, bulk=(900, 0))
    assert told[-1][0] == tried[-1] == scene.kept.jobqueue.generation


async def test_another_objects_deployment_is_not_scaled(scene: Scene) -> None:
    await scene.turn(0)
    there = scene.registry.deployments["url-check"]
    scene.registry.deployment_is(replace(there, controller="of something else", revision=50))
    scene.cluster.refuses["apply"] = ApiRefused(422, "Invalid", "Only one reference can have Controller set to true")
    await scene.turn(1, bulk=(900, 0))
    assert scene.cluster.sizes == []
    assert scene.cluster.condition("Ready") == ("False", "DeploymentRefused")
    assert scene.cluster.condition("ScalingActive") == ("False", "NoDeployment")


async def test_the_last_check_keeps_the_last_replica(scene: Scene) -> None:
    scene.broker.empty = False
    for second in range(0, 400, 5):
        await scene.turn(second)
    assert scene.cluster.sizes == []
    scene.broker.empty = True
    for second in range(400, 800, 5):
        await scene.turn(second)
    assert scene.cluster.sizes == [0]
    assert scene.cluster.status["decisions"][0]["reason"] == "ProvenZero"


@pytest.mark.parametrize("check", ["is_empty", "has_none_ready"])
async def test_a_hint_during_the_last_check_keeps_the_last_replica(scene: Scene, check: str) -> None:
    scene.kept.source = Source("leveret.other")
    for second in range(0, 120, 5):
        await scene.turn(second)
    asked = getattr(scene.broker, check)

    async def hinted_meanwhile(queue: str) -> bool:
        scene.hint(900)
        return bool(await asked(queue))

    setattr(scene.broker, check, hinted_meanwhile)
    await scene.turn(120)
    await scene.turn(120.15)
    assert scene.cluster.sizes == [9]
    assert scene.cluster.status["decisions"][0]["from"] == 1


async def test_the_last_replica_stays_while_no_consumer_was_ever_ready(scene: Scene) -> None:
    scene.cluster.ready = 0
    for second in range(0, 600, 10):
        await scene.turn(second)
    assert scene.cluster.sizes == []
    assert scene.cluster.condition("Ready") == ("Unknown", "Starting")
    for second in range(600, 630, 10):
        await scene.turn(second)
    assert scene.cluster.sizes == [0]
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    assert scene.cluster.condition("ConsumersAvailable") == ("True", "NoneWanted")


async def test_consumers_that_cannot_run_are_told_in_every_place(scene: Scene) -> None:
    scene.cluster.ready = 0
    await scene.turn(0)
    quota = Told("FailedCreate", "exceeded quota: q", scene.now)
    there = scene.registry.deployments["url-check"]
    scene.registry.deployment_is(replace(there, revision=50, failures=(quota,)))
    await scene.turn(1)
    for condition in ("Ready", "ConsumersAvailable"):
        assert scene.cluster.condition(condition) == ("False", "FailedCreate")
        assert "exceeded quota: q" in scene.message(condition)
    assert scene.cluster.status["reason"] == "FailedCreate"
    assert "FailedCreate" in scene.cluster.told
    scene.registry.deployment_is(replace(there, revision=51, there=1, ready=1))
    await scene.turn(2)
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    assert (scene.cluster.status["replicas"], scene.cluster.status["readyReplicas"]) == (1, 1)


async def test_a_start_from_zero_is_no_event_of_its_own(scene: Scene) -> None:
    await scene.turn(0)
    for second, (wanted, ready) in enumerate([(0, 0), (2, 0), (2, 1), (0, 0)], 1):
        there = scene.registry.deployments["url-check"]
        scene.registry.deployment_is(replace(there, revision=50 + second, wanted=wanted, ready=ready))
        scene.cluster.told.clear()
        await scene.turn(second, bulk=(wanted * 100, 0))
        assert scene.cluster.condition("Ready") == ("True", "Reconciled")
        assert {"NoneWanted", "Starting", "Available"}.isdisjoint(scene.cluster.told)


async def test_numbers_that_are_missing_take_nothing_away_and_are_told(scene: Scene) -> None:
    scene.cluster.replicas = 4
    for second in range(0, 600, 10):
        await scene.turn(second, bulk=None)
    assert scene.cluster.sizes == []
    assert scene.cluster.condition("MetricsFresh") == ("False", "SignalsStale")
    assert scene.cluster.status["queue"]["backlog"] is None


async def test_the_oldest_version_of_the_consumers_is_told(scene: Scene) -> None:
    await scene.turn(0)
    told, said = [], []
    for second in range(10, 50, 10):
        scene.beat("new", "0.3.0")
        if second == 20:
            scene.beat("old", "0.2.0")
        await scene.turn(second)
        told.append(scene.cluster.status["leveretVersion"])
        observed = scene.tools.announcements._waiting["queue.leveret.url-check", QueueObserved]
        said.append(observed.leveret_version if isinstance(observed, QueueObserved) else "")
    assert told == said == ["0.3.0", "0.2.0", "0.3.0", "0.3.0"]


async def test_without_a_broker_the_deployment_is_made_all_the_same(scene: Scene) -> None:
    scene.broker.session = None
    await scene.turn(0, bulk=None)
    assert len(scene.cluster.applied) == 1
    assert scene.cluster.condition("BrokerReachable") == ("False", "NotConnected")
    assert scene.cluster.condition("Ready") == ("False", "NotConnected")
    scene.broker.session = 1
    await scene.turn(1)
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")


async def test_what_one_cause_changes_is_one_event(scene: Scene) -> None:
    await scene.turn(0)
    for times in (1, 2):
        scene.cluster.told.clear()
        scene.broker.session = None
        await scene.turn(100 * times, bulk=None)
        assert sorted(scene.cluster.told) == ["NotConnected", "SignalsStale"], (
            "Ready, BrokerReachable, and the numbers' two"
        )
        scene.broker.session = 1
        await scene.turn(100 * times + 20)


async def test_what_was_deleted_by_hand_is_made_again(scene: Scene) -> None:
    await scene.turn(0)
    scene.broker.missing = True
    scene.registry.deployment_is_gone(scene.registry.deployments["url-check"])
    await scene.turn(1)
    assert (len(scene.broker.declared), len(scene.cluster.applied)) == (2, 2)
    assert scene.cluster.warned == [
        "QueueMissing of url-check: leveret.url-check: it was gone, and what was in it; declared again"
    ]
    changed = replace(scene.registry.deployments["url-check"], fingerprint="edited by hand", shape="{}", revision=50)
    scene.registry.deployment_is(changed)
    await scene.turn(2)
    assert len(scene.cluster.applied) == 3


async def test_a_binding_or_a_queue_of_dead_letters_that_is_missing_is_declared_again(scene: Scene) -> None:
    await scene.turn(0)
    scene.broker.unbound = True
    await scene.turn(1)
    await scene.turn(2)
    assert scene.broker.declared == ["leveret.url-check", "leveret.url-check"]
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    (told,) = scene.cluster.warned
    assert "dead letters' queue, or what it is bound to, was gone; declared again" in told


async def test_a_template_that_changes_ours_leaves_the_last_good_deployment(scene: Scene) -> None:
    await scene.turn(0)
    consumer = replace(scene.kept.jobqueue.consumer, template={"spec": {"hostNetwork": True}})
    scene.kept.jobqueue = replace(scene.kept.jobqueue, consumer=consumer, generation=4)
    await scene.turn(1)
    assert len(scene.cluster.applied) == 1
    assert scene.cluster.condition("Ready") == ("False", "TemplateInvalid")
    assert scene.message("Ready").endswith("; the last good Deployment stays")
    assert scene.cluster.condition("SpecInvalid") == ("True", "TemplateInvalid")
    assert scene.cluster.condition("ScalingActive") == ("True", "Deciding")


async def test_one_that_is_no_longer_understood_holds_its_size_until_it_is_mended(scene: Scene) -> None:
    scene.cluster.replicas = 3
    await scene.turn(0)
    assert scene.cluster.condition("SpecInvalid") == ("", "")
    good = scene.kept.jobqueue
    scene.kept.jobqueue = replace(good, generation=4, problem="timeout: 'soon' is not a duration")
    for second in range(1, 900, 5):
        await scene.turn(second)
    assert (scene.cluster.sizes, len(scene.cluster.applied)) == ([], 1)
    for condition, status in (("Ready", "False"), ("SpecInvalid", "True")):
        assert scene.cluster.condition(condition) == (status, "SpecInvalid")
        assert scene.message(condition) == "timeout: 'soon' is not a duration; the last good Deployment stays"
    assert scene.cluster.status["observedGeneration"] == 4
    assert scene.cluster.status["reason"] == "SpecInvalid"
    await scene.turn(900, bulk=(900, 0))
    assert scene.cluster.sizes == [9], "more is given all the same"
    scene.kept.jobqueue = good
    await scene.turn(901, bulk=(900, 0))
    assert len(scene.cluster.applied) == 1, "it is as the last good spec says"
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    assert scene.cluster.condition("SpecInvalid") == ("", "")


async def test_what_is_taken_in_place_of_the_spec_is_said_and_told_once(scene: Scene) -> None:
    good = scene.kept.jobqueue
    scene.kept.jobqueue = replace(good, adjusted=("spec.timeout is 0ms and is taken as 1ms", "another"))
    for second in range(3):
        await scene.turn(second)
    assert scene.cluster.condition("SpecAdjusted") == ("True", "SpecAdjusted")
    assert scene.message("SpecAdjusted") == "spec.timeout is 0ms and is taken as 1ms; another"
    assert scene.cluster.condition("Ready") == ("True", "Reconciled"), "it runs"
    assert scene.cluster.status["reason"] == "SpecAdjusted"
    assert [text.partition(" of ")[0] for text in scene.cluster.warned] == ["SpecAdjusted"]
    scene.kept.jobqueue = replace(good, generation=4)
    await scene.turn(4)
    assert scene.cluster.condition("SpecAdjusted") == ("", "")
    assert len(scene.cluster.warned) == 1


async def test_one_that_is_being_deleted_gets_nothing_new(scene: Scene) -> None:
    await scene.turn(0)
    before = (list(scene.broker.declared), dict(scene.cluster.writes), scene.tools.announcements.waiting)
    scene.kept.jobqueue = replace(scene.kept.jobqueue, going=True, generation=4)
    scene.broker.missing = scene.broker.unbound = True  # as by hand
    scene.registry.deployment_is_gone(scene.registry.deployments["url-check"])  # as the garbage collector does first
    for second in range(1, 200, 5):
        await scene.turn(second, bulk=(900, 0))
    assert (scene.broker.declared, scene.cluster.writes, scene.tools.announcements.waiting) == before


async def test_one_without_a_queue_that_is_being_deleted_gets_nothing_new(scene: Scene) -> None:
    scene.kept.jobqueue, scene.kept.no_queue = replace(scene.kept.jobqueue, going=True), TAKEN_BY_OTHER
    await scene.turn(0)
    assert not scene.cluster.writes


@pytest.mark.parametrize("going", [pytest.param(True, id="deleted"), pytest.param(False, id="without-a-queue")])
async def test_one_that_is_not_scaled_gathers_nothing(scene: Scene, going: bool) -> None:
    await scene.turn(0)
    scene.kept.jobqueue = replace(scene.kept.jobqueue, going=going)
    scene.kept.no_queue = None if going else TAKEN_BY_OTHER
    scene.kept.gathering = Gathering(START, 0)
    await scene.turn(1, bulk=(900, 0))
    assert scene.kept.gathering is None, "or the loop would look again each 300 ms"


async def test_what_the_api_server_refuses_is_a_condition_and_tried_again_later(scene: Scene) -> None:
    scene.cluster.refuses["apply"] = ApiRefused(422, "Invalid", "spec.x: no")
    await scene.turn(0)
    assert scene.cluster.condition("Ready") == ("False", "DeploymentRefused")
    scene.cluster.refuses.clear()
    await scene.turn(0.5)
    assert scene.cluster.applied == []  # not before a second is over
    await scene.turn(1)
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    scene.cluster.refuses["scale"] = ApiRefused(403, "Forbidden", "may not")
    await scene.turn(2, bulk=(900, 0))
    assert scene.cluster.condition("ScalingActive") == ("False", "ScaleRefused")


async def test_a_queue_of_other_arguments_is_told(scene: Scene) -> None:
    scene.broker.differs = True
    await scene.turn(0)
    assert scene.cluster.condition("TopologyReady") == ("False", "QueueDiffers")
    assert scene.cluster.condition("Ready") == ("False", "QueueDiffers")


async def test_a_shared_queue_that_can_not_be_made_is_told_and_keeps_nothing_from_being_ready(scene: Scene) -> None:
    scene.broker.unmade = {"leveret.delay.0": "the broker can't make leveret.delay.0; a restart mends it"}
    await scene.turn(0)
    assert scene.cluster.condition("TopologyReady") == ("True", "QueueNotMade")
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    assert scene.message("Ready").endswith("QueueNotMade: " + scene.message("TopologyReady"))
    assert scene.message("TopologyReady").endswith("; the broker can't make leveret.delay.0; a restart mends it")
    assert scene.cluster.status["reason"] == "QueueNotMade"
    scene.broker.unmade = {}
    await scene.turn(1)
    assert scene.cluster.condition("TopologyReady") == ("True", "Declared")


async def test_a_job_queue_that_can_not_be_made_is_told_with_what_mends_it(scene: Scene) -> None:
    scene.broker.cannot = NotDeclared("ConnectionInternalError: cluster_not_formed")
    scene.broker.cannot.__cause__ = ConnectionInternalError("cluster_not_formed")
    await scene.turn(0)
    assert scene.cluster.condition("TopologyReady") == ("False", "QueueNotMade")
    assert scene.cluster.condition("Ready") == ("False", "QueueNotMade")
    assert "restart of the broker's node mends it" in scene.message("TopologyReady")
    scene.broker.cannot = None
    await scene.turn(1)
    assert scene.cluster.condition("TopologyReady") == ("True", "Declared")


async def test_a_broker_that_is_too_old_is_named(scene: Scene) -> None:
    scene.broker.session, scene.broker.unfit = None, "BrokerTooOld"
    scene.broker.problem = "the broker is RabbitMQ 3.13.7, and Leveret needs 4.3 or later"
    await scene.turn(0, bulk=None)
    assert scene.cluster.condition("BrokerReachable") == ("False", "BrokerTooOld")
    assert scene.cluster.condition("Ready") == ("False", "BrokerTooOld")
    (ready,) = [entry for entry in scene.cluster.status["conditions"] if entry["type"] == "Ready"]
    assert "3.13.7" in ready["message"]


async def test_a_broker_that_is_another_installations_is_a_condition_of_its_own_that_goes_with_it(scene: Scene) -> None:
    await scene.turn(0)
    assert scene.cluster.condition("BrokerShared") == ("", "")
    session, scene.broker.session = scene.broker.session, None
    scene.broker.unfit, scene.broker.problem = "BrokerShared", "the virtual host '/' is the installation other's"
    await scene.turn(1, bulk=None)
    assert scene.cluster.condition("BrokerShared") == ("True", "BrokerShared")
    assert scene.cluster.condition("BrokerReachable") == ("False", "BrokerShared")
    assert scene.cluster.condition("Ready") == ("False", "BrokerShared")
    recorded = parse_recorded({"status": scene.cluster.status}).conditions
    anew = conditions(States(), recorded, generation=1, now=scene.now)  # as one that has just started knows it
    assert ("BrokerShared", "True") in [(one.type, one.status) for one in anew]
    scene.broker.session, scene.broker.unfit = session, None
    await scene.turn(2)
    assert scene.cluster.condition("BrokerShared") == ("", "")
    assert scene.cluster.condition("Ready")[0] == "True"


async def test_refused_credentials_are_named_with_what_to_do(scene: Scene) -> None:
    scene.broker.session, scene.broker.refused = None, True
    scene.broker.problem = "ProbableAuthenticationError: ACCESS_REFUSED - Login was refused"
    await scene.turn(0, bulk=None)
    assert scene.cluster.condition("BrokerReachable") == ("False", "AccessRefused")
    assert scene.cluster.condition("Ready") == ("False", "AccessRefused")
    assert "the Secret leveret-broker right" in scene.message("Ready")
    assert "everything goes on" not in scene.message("Ready")


TAKEN_BY_OTHER = NoQueue(
    "QueueNameTaken", "the queue leveret.url-check belongs to the JobQueue other, which claimed it first"
)


async def test_a_jobqueue_without_a_queue_touches_nothing_and_says_why(scene: Scene) -> None:
    scene.kept.no_queue = TAKEN_BY_OTHER
    for second in range(3):
        await scene.turn(second, bulk=(5_000, 0))
    assert (scene.broker.declared, scene.cluster.applied, scene.cluster.sizes) == ([], [], [])
    assert scene.tools.announcements.waiting == 0
    assert scene.cluster.condition("TopologyReady") == ("False", "QueueNameTaken")
    assert scene.cluster.condition("Ready") == ("False", "QueueNameTaken")
    assert scene.cluster.status["queue"]["ready"] is None
    assert not [sample for family in scene.tools.metrics.collect() for sample in family.samples]
    scene.kept.no_queue = None  # the other one is gone
    await scene.turn(3)
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    assert (scene.broker.declared, len(scene.cluster.applied)) == (["leveret.url-check"], 1)


async def test_consumers_of_a_queue_that_turns_out_to_be_anothers_are_stopped_once(scene: Scene) -> None:
    scene.cluster.replicas = 3
    await scene.turn(0, bulk=(300, 0))
    scene.kept.no_queue = TAKEN_BY_OTHER
    for second in range(1, 4):
        await scene.turn(second, bulk=(300, 0))
    assert scene.cluster.sizes == [0]
    assert len(scene.cluster.applied) == 1


async def test_consumers_of_a_name_that_is_no_longer_allowed_go_on_as_they_are(scene: Scene) -> None:
    scene.cluster.replicas = 3
    await scene.turn(0, bulk=(300, 0))
    scene.kept.no_queue = NoQueue("QueueNameNotAllowed", "…")
    await scene.turn(1, bulk=(0, 0))
    assert scene.cluster.sizes == []
    assert scene.cluster.condition("Ready") == ("False", "QueueNameNotAllowed")


def variable(scene: Scene, name: str) -> str | None:
    env = scene.cluster.applied[-1]["spec"]["template"]["spec"]["containers"][0]["env"]
    return next((entry["value"] for entry in env if entry["name"] == name), None)


async def test_the_consumers_are_told_of_a_source_when_it_is_there(scene: Scene) -> None:
    scene.kept.source = NoSource("SourceMissing", "the dead letters of the JobQueue other are taken once it is there")
    await scene.turn(0)
    assert scene.cluster.condition("TopologyReady") == ("True", "SourceMissing")
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    assert variable(scene, "LEVERET_SOURCE_QUEUE") == ""
    scene.kept.source = Source("shop.other")
    await scene.turn(1)
    await scene.turn(2)
    assert scene.cluster.condition("TopologyReady") == ("True", "Declared")
    assert variable(scene, "LEVERET_SOURCE_QUEUE") == "shop.other.dead"
    assert len(scene.cluster.applied) == 2


async def test_dead_letters_of_the_source_are_work(scene: Scene) -> None:
    scene.cluster.replicas, scene.kept.source = 0, Source("leveret.other")
    await scene.turn(0)
    scene.broker.dead = (250, 0)
    await scene.turn(1)
    assert scene.cluster.sizes == [1]  # the broker gives them to one consumer at a time
    assert scene.cluster.status["queue"]["backlog"] == 250
    assert (
        scene.cluster.status["queue"]["deadLetters"] == 250
    )  # of its own, which the played broker gives the same number


@pytest.mark.parametrize(
    "dead",
    [pytest.param((1, 0), id="one-waits"), pytest.param((0, 1), id="one-runs"), pytest.param(None, id="unknown")],
)
async def test_a_source_that_is_not_empty_keeps_the_last_replica(scene: Scene, dead: tuple[int, int] | None) -> None:
    scene.kept.source, scene.broker.dead = Source("leveret.other"), dead
    for second in range(0, 400, 5):
        await scene.turn(second)
    assert scene.cluster.sizes == []
    scene.broker.dead = (0, 0)
    for second in range(400, 800, 5):
        await scene.turn(second)
    assert scene.cluster.sizes == [0]
