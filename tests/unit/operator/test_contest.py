"""Somebody else who sets what the operator sets: put right once at once; then it is told, and answered after pauses."""

import contextlib
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from played import START, Scene

from leveret_operator.contest import NOBODY_KNOWN, Contest, Contests
from leveret_operator.jobqueue import Condition, JobQueue
from leveret_operator.kubernetes_api import ApiGone, ApiRefused
from leveret_operator.loop import CentralLoop
from leveret_operator.managed_fields import APPLIED, REPLICAS, other_manager
from leveret_operator.parsing import parse_recorded
from leveret_operator.queue_names import TAKEN, NoQueue

Does = Callable[[Scene], None]


@pytest.fixture
def scene(jobqueue: JobQueue) -> Scene:
    return Scene(replace(jobqueue, policy=replace(jobqueue.policy, min_replicas=1)))


def meddle(scene: Scene, **changes: Any) -> None:
    """Somebody changes the Deployment, and the watch tells it."""
    there = scene.registry.deployments["url-check"]
    scene.registry.deployment_is(replace(there, revision=there.revision + 1, **changes))


def scales(scene: Scene) -> None:
    meddle(scene, wanted=7, scaled_by="kubectl")


def edits(scene: Scene) -> None:
    meddle(scene, fingerprint="another image", shape="{}", changed_by="kubectl-edit")


def deletes(scene: Scene) -> None:
    scene.registry.deployment_is_gone(scene.registry.deployments["url-check"])


MEDDLERS = [
    pytest.param(scales, "ReplicasContested", "kubectl sets", id="scales"),
    pytest.param(edits, "TemplateContested", "kubectl-edit changes", id="edits"),
    pytest.param(deletes, "DeploymentContested", "somebody (", id="deletes"),
]


def written(scene: Scene) -> int:
    return len(scene.cluster.applied) + len(scene.cluster.sizes)


async def fight(scene: Scene, does: Does, seconds: range) -> list[int]:
    """Let it be done anew before each turn where it was put right; return the seconds of writes."""
    writes = []
    for second in seconds:
        before, there = written(scene), scene.registry.deployments.get("url-check")
        if there is not None and (there.wanted, there.changed_by) == (1, None):
            does(scene)
        await scene.turn(second)
        writes += [second] * (written(scene) - before)
    return writes


@pytest.mark.parametrize(("does", "reason", "says"), MEDDLERS)
async def test_what_somebody_does_once_is_put_right_at_once_and_no_contest(
    scene: Scene, does: Does, reason: str, says: str
) -> None:
    await scene.turn(0)
    for second in (5, 66, 127):
        assert await fight(scene, does, range(second, second + 1)) == [second]
        assert scene.cluster.condition("Contested") == ("", "")
    assert scene.cluster.warned == []


@pytest.mark.parametrize(("does", "reason", "says"), MEDDLERS)
async def test_a_fight_is_told_and_answered_after_pauses_that_grow(
    scene: Scene, does: Does, reason: str, says: str
) -> None:
    await scene.turn(0)
    assert await fight(scene, does, range(20, 300)) == [20, 30, 50, 90, 150, 210, 270]
    assert scene.cluster.condition("Contested") == ("True", reason)
    assert scene.message("Contested").startswith(says)
    assert scene.cluster.status["reason"] == reason
    ready = ("False", reason) if does is deletes else ("True", "Reconciled")
    assert scene.cluster.condition("Ready") == ready
    assert f"{reason} of url-check: {'Ready' if does is deletes else 'Contested'}: {says}" in scene.cluster.warned[0]
    assert does is deletes or len(scene.cluster.warned) == 1
    assert scene.cluster.writes["url-check"] - written(scene) <= 300 / 10, "a status is written every 10 s at most"


@pytest.mark.parametrize(("does", "reason", "says"), MEDDLERS)
async def test_a_contest_is_over_when_nobody_has_meddled_for_a_minute(
    scene: Scene, does: Does, reason: str, says: str
) -> None:
    await scene.turn(0)
    await fight(scene, does, range(20, 51))
    for second in range(51, 130):
        await scene.turn(second)
        there = scene.cluster.condition("Contested")
        assert there == (("True", reason) if second < 110 else ("", "")), second
    assert (scene.cluster.told.count("ContestOver"), reason in scene.cluster.told) == (1, True)
    assert await fight(scene, does, range(200, 212)) == [200, 210], "then it begins anew, with the shortest pause"


async def test_of_all_kinds_together_there_is_one_write_in_ten_seconds(scene: Scene) -> None:
    await scene.turn(0)
    writes = []
    for second in range(20, 200):
        before = written(scene)
        for does in (scales, edits):
            does(scene)
        await scene.turn(second)
        writes += [second] * (written(scene) - before)
    assert writes[:2] == [20, 20], "each of them once at once"
    assert min(after - before for before, after in itertools.pairwise(writes[1:])) >= 10
    assert len(writes) > 6


async def test_sizes_of_its_own_are_written_at_once_without_a_contest_and_every_ten_seconds_in_one(
    scene: Scene,
) -> None:
    await scene.turn(0)
    for second in (1, 2, 3):
        await scene.turn(second, bulk=(second * 200, 0))
    assert scene.cluster.sizes == [2, 4, 6]
    for second in range(10, 20):
        if second < 12:
            edits(scene)
        await scene.turn(second, bulk=(600 + 10 * second, 0))
    assert scene.cluster.condition("Contested") == ("True", "TemplateContested")
    assert scene.cluster.sizes == [2, 4, 6, 7], "with the correction, before it was a contest"
    await scene.turn(20, bulk=(900, 0))
    assert scene.cluster.sizes == [2, 4, 6, 7], "the template was first"
    await scene.turn(30, bulk=(900, 0))
    assert scene.cluster.sizes == [2, 4, 6, 7, 9]


async def test_a_new_spec_is_applied_at_once_in_a_contest_too(scene: Scene) -> None:
    await scene.turn(0)
    await fight(scene, edits, range(20, 25))
    scene.kept.jobqueue = replace(scene.kept.jobqueue, generation=4, timeout=timedelta(minutes=1))
    applied = len(scene.cluster.applied)
    await scene.turn(25)
    assert (len(scene.cluster.applied), scene.cluster.status["observedGeneration"]) == (applied + 1, 4)


def restarts(scene: Scene) -> None:
    """`kubectl rollout restart`, which adds an annotation."""
    there = scene.registry.deployments["url-check"]
    shape = json.loads(there.shape)
    shape["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = f"{scene.now:%M:%S}"
    text = json.dumps(shape)
    meddle(scene, fingerprint=text, shape=text, changed_by="kubectl-rollout")


async def test_what_somebody_only_adds_is_theirs_and_keeps_nothing_waiting(scene: Scene) -> None:
    await scene.turn(0)
    edits(scene)
    await scene.turn(20)
    for second in range(21, 40):
        restarts(scene)
        await scene.turn(second)
    assert len(scene.cluster.applied) == 2, "the first one, and what was edited"
    assert scene.cluster.condition("Contested") == ("", "")
    deletes(scene)
    await scene.turn(40)
    assert len(scene.cluster.applied) == 3, "at once"


async def test_what_somebody_takes_back_is_well_again_though_putting_it_right_was_refused(scene: Scene) -> None:
    await scene.turn(0)
    was = scene.registry.deployments["url-check"]
    edits(scene)
    scene.cluster.refuses["apply"] = ApiRefused(403, "Forbidden", "no")
    await scene.turn(1)
    assert scene.kept.states.deployment.reason == "DeploymentRefused"
    meddle(scene, fingerprint=was.fingerprint, shape=was.shape)
    await scene.turn(2)
    assert scene.kept.states.deployment.reason == "Applied"


async def test_what_others_added_hides_no_change(scene: Scene) -> None:
    await scene.turn(0)
    restarts(scene)
    await scene.turn(1)
    there = scene.registry.deployments["url-check"]
    text = there.shape.replace('"automountServiceAccountToken": false, ', "")
    assert text != there.shape
    meddle(scene, fingerprint=text, shape=text)
    await scene.turn(2)
    assert len(scene.cluster.applied) == 2


async def test_what_cannot_be_put_right_is_tried_after_pauses_and_no_contest(scene: Scene) -> None:
    """A webhook, for example: the answer to our apply is what was there."""
    await scene.turn(0)
    scene.cluster.answers = lambda made: replace(made, fingerprint=f"with annotation {scene.now:%M:%S}")
    applied = []
    for second in range(20, 140):
        scene.now = START + timedelta(seconds=second)
        meddle(scene, fingerprint=f"with annotation {scene.now:%M:%S}", shape="{}", changed_by="webhook")
        before = len(scene.cluster.applied)
        await scene.turn(second)
        applied += [second] * (len(scene.cluster.applied) - before)
    assert applied == [20, 21, 23, 27, 35, 51, 83]
    assert scene.cluster.condition("Contested") == ("", "")
    deletes(scene)
    await scene.turn(140)
    assert len(scene.cluster.applied) == 9, "what is missing is made at once"
    scene.cluster.refuses["apply"] = ApiRefused(403, "Forbidden", "no")
    deletes(scene)
    for second in range(300, 309):
        await scene.turn(second)
    assert scene.cluster.tried == 13, "at 300, 301, 303 and 307: it was refused"


async def test_what_the_answer_never_has_is_not_applied_again(scene: Scene) -> None:
    """A webhook that changes whatever is applied."""
    scene.cluster.answers = lambda made: replace(made, fingerprint="as the webhook has it")
    for second in range(30):
        await scene.turn(second)
    assert len(scene.cluster.applied) == 1
    assert scene.cluster.condition("Contested") == ("", "")


async def test_a_decision_says_that_somebody_else_had_set_it(scene: Scene) -> None:
    await scene.turn(0)
    await scene.turn(1, bulk=(200, 0))
    assert "had set" not in scene.cluster.status["decisions"][0]["message"]
    scales(scene)
    await scene.turn(2, bulk=(200, 0))
    decided = scene.cluster.status["decisions"][0]
    assert (decided["from"], decided["to"]) == (7, 2)
    assert decided["message"].endswith("; kubectl had set 7")


async def test_a_size_that_is_only_held_is_still_somebody_elses(scene: Scene) -> None:
    """Nothing is known, so nothing is taken away; later it is."""
    await scene.turn(0)
    scales(scene)
    await scene.turn(20, bulk=None)
    assert scene.cluster.sizes == []
    await scene.turn(30)
    assert scene.cluster.sizes == [1]
    assert "kubectl had set 7" in scene.cluster.status["decisions"][0]["message"]


async def test_consumers_of_anothers_queue_are_stopped_every_ten_seconds_at_most(scene: Scene) -> None:
    await scene.turn(0)
    scene.kept.no_queue = NoQueue(TAKEN, "it is another's")
    writes = []
    for second in range(20, 62):
        before = len(scene.cluster.sizes)
        meddle(scene, wanted=3, scaled_by="kubectl")
        await scene.turn(second)
        writes += [second] * (len(scene.cluster.sizes) - before)
    assert writes == [20, 21, 31, 51]  # stopped, put right at once, and then in a contest
    assert scene.cluster.condition("Contested") == ("True", "ReplicasContested")


async def test_consumers_of_anothers_queue_are_stopped_at_once_after_a_correction_and_their_0_is_this_operators(
    scene: Scene,
) -> None:
    await scene.turn(0)
    await scene.turn(1, bulk=(900, 0))
    meddle(scene, wanted=3, scaled_by="kubectl")
    await scene.turn(2, bulk=(900, 0))
    scene.kept.no_queue = NoQueue(TAKEN, "it is another's")
    await scene.turn(3)
    assert scene.cluster.sizes[-1] == 0
    scene.kept.no_queue = None
    await scene.turn(4, bulk=(900, 0))
    assert scene.cluster.condition("Contested") == ("", "")


@pytest.mark.parametrize("problem", [ApiGone("cut"), ApiRefused(500, "InternalError", "who knows")], ids=["cut", "500"])
async def test_a_size_whose_answer_was_lost_is_not_somebody_elses(scene: Scene, problem: Exception) -> None:
    await scene.turn(0)
    written = scene.cluster.scale

    async def lost(deployment: str, replicas: int, *, owned: bool = False) -> int:
        await written(deployment, replicas, owned=owned)
        raise problem

    for second, backlog in ((10, 200), (20, 400), (30, 600)):
        scene.cluster.scale = lost  # type: ignore[method-assign]
        with contextlib.suppress(ApiGone):
            await scene.turn(second, bulk=(backlog, 0))
        scene.cluster.scale = written  # type: ignore[method-assign]
        meddle(scene, wanted=scene.cluster.sizes[-1])  # the watch tells
        await scene.turn(second + 5, bulk=(backlog + 100, 0))
        assert scene.cluster.sizes[-1] == backlog // 100 + 1
    assert scene.cluster.condition("Contested") == ("", "")


async def test_a_size_that_is_refused_stays_told_until_it_is_written(scene: Scene) -> None:
    await scene.turn(0)
    scene.cluster.refuses["scale"] = ApiRefused(403, "Forbidden", "no")
    for second in range(1, 100):
        await scene.turn(second, bulk=(900, 0))
        assert scene.cluster.condition("ScalingActive") == ("False", "ScaleRefused")
    scene.cluster.refuses.clear()
    for second in range(100, 170):
        await scene.turn(second, bulk=(900, 0))
    assert scene.cluster.condition("ScalingActive") == ("True", "Deciding")


async def test_a_restart_shows_nowhere(scene: Scene, jobqueue: JobQueue) -> None:
    await scene.turn(0)
    await fight(scene, scales, range(20, 60))
    before = {one["type"]: one for one in scene.cluster.status["conditions"]}["Contested"]
    told = list(scene.cluster.warned)
    loop, recorded = CentralLoop(), parse_recorded({"status": scene.cluster.status})
    scene.registry.recorded[jobqueue.uid] = recorded
    scene.registry.jobqueue_is(scene.kept.jobqueue, recorded)
    loop._match_registry(scene.tools)
    (scene.kept,) = loop._kept.values()
    await fight(scene, scales, range(61, 90))
    assert {one["type"]: one for one in scene.cluster.status["conditions"]}["Contested"] == before
    assert scene.cluster.warned == told


@pytest.mark.parametrize(
    ("message", "manager"),
    [
        pytest.param("kubectl does", "kubectl", id="the-same-words"),
        pytest.param("kubectl does it in other words", NOBODY_KNOWN, id="other-words"),
        pytest.param("kubectl did", NOBODY_KNOWN, id="words-of-another-version"),
    ],
)
def test_who_it_was_is_read_from_the_words_of_this_version_alone(message: str, manager: str) -> None:
    contests = Contests(template=Contest("TemplateContested", "does"))
    contests.begin([Condition("Contested", "True", "TemplateContested", message, START, 1)], START)
    assert (contests.template.manager, contests.template.goes_on(START)) == (manager, True)


def test_who_it_is_is_kept_while_it_is_not_told() -> None:
    contest = Contest("R", "does")
    assert contest.may_correct("kubectl", START)
    contest.corrected(START)
    assert not contest.may_correct(None, START + timedelta(seconds=1))
    assert contest.manager == "kubectl"


def entry(manager: str, fields: Any, **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "fieldsV1": fields, **more}


SCALED: Any = {"f:spec": {"f:replicas": {}}}
EDITED: Any = {"f:spec": {"f:template": {"f:spec": {}}}}
LABELLED: Any = {**EDITED, "f:metadata": {"f:labels": {}}}
OURS = {**entry("leveret-operator", LABELLED, time="2026-01-01T00:00:09Z"), "operation": "Apply"}
OUR_SIZE = entry("leveret-operator", SCALED, time="2026-01-01T00:00:05Z")


@pytest.mark.parametrize(
    ("entries", "changed", "scaled"),
    [
        pytest.param(None, None, None, id="none-are-kept"),
        pytest.param([OURS], None, None, id="ours-alone"),
        pytest.param([OURS, entry("kubectl", SCALED, subresource="scale")], None, "kubectl", id="scaled"),
        pytest.param([OURS, entry("kubectl-edit", EDITED, time="2026-01-01T00:00:09Z")], "kubectl-edit", None, id="edited"),
        pytest.param([OURS, entry("kubectl", EDITED, time="2026-01-01T00:00:08Z")], None, None, id="edited-before-ours"),
        pytest.param(
            [OURS, OUR_SIZE, entry("a", SCALED, time="2026-01-01T00:00:06Z"), entry("b", EDITED, time="2026-01-01T00:00:06Z")],
            None, "a", id="each-since-the-same-kind-of-ours",
        ),
        pytest.param([OUR_SIZE, entry("a", SCALED, time="2026-01-01T00:00:04Z")], None, None, id="scaled-before-ours"),
        pytest.param(
            [entry("a", EDITED, time="2026-01-01T00:00:01Z"), entry("b", EDITED, time="2026-01-01T00:00:02Z")],
            "b", None, id="the-last-one",
        ),
        pytest.param([entry("a", {"f:metadata": {"f:labels": {"f:x": {}}}})], "a", None, id="labels"),
        pytest.param([entry("kube-controller-manager", {"f:status": {}}, subresource="status")], None, None, id="status"),
        pytest.param([entry("a", {"f:spec": {"f:template": 1}}), 7], None, None, id="nonsense"),
    ],
)  # fmt: skip
def test_who_set_a_field(entries: Any, changed: str | None, scaled: str | None) -> None:
    meta = {} if entries is None else {"managedFields": entries}
    assert (other_manager(meta, APPLIED), other_manager(meta, REPLICAS)) == (changed, scaled)
