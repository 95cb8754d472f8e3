"""What a consumer's pod has by default, from the chart or from Leveret, and a template may have otherwise."""

from dataclasses import replace
from typing import Any

import pytest

from leveret_operator.deployment import Surroundings, build_deployment
from leveret_operator.jobqueue import JobQueue
from leveret_operator.template import EVICTABLE

AROUND = Surroundings("leveret-broker", "IfNotPresent", "json")


def build(jobqueue: JobQueue, template: dict[str, object], around: Surroundings = AROUND) -> Any:
    consumer = replace(jobqueue.consumer, template=template)
    return build_deployment(replace(jobqueue, consumer=consumer), around)


def pod(jobqueue: JobQueue, template: dict[str, object], around: Surroundings) -> Any:
    return build(jobqueue, template, around)["spec"]["template"]["spec"]


def of_container(**fields: object) -> dict[str, object]:
    return {"spec": {"containers": [{"name": "consumer", **fields}]}}


def test_a_container_has_the_charts_resources_unless_its_template_names_some(jobqueue: JobQueue) -> None:
    small = {"requests": {"cpu": "20m", "memory": "96Mi"}}

    def resources(template: dict[str, object], around: Surroundings) -> Any:
        return pod(jobqueue, template, around)["containers"][0].get("resources")

    around = replace(AROUND, resources=small)
    assert resources({}, around) == small
    own = {"limits": {"memory": "64Mi"}}  # less than ours request: together they would be refused
    assert resources(of_container(resources=own), around) == own
    assert resources(of_container(resources=None), around) is None
    assert resources({}, AROUND) is None


def test_pull_secrets_are_the_installations_and_the_templates(jobqueue: JobQueue) -> None:
    own: dict[str, object] = {"spec": {"imagePullSecrets": [{"name": "mine"}]}}
    around = replace(AROUND, pull_secrets=("ours",))

    def secrets(template: dict[str, object], around: Surroundings) -> Any:
        return pod(jobqueue, template, around).get("imagePullSecrets")

    assert secrets({}, around) == [{"name": "ours"}]
    assert secrets(own, around) == [{"name": "ours"}, {"name": "mine"}]
    assert secrets(own, AROUND) == [{"name": "mine"}]
    assert secrets({}, AROUND) is None


@pytest.mark.parametrize(
    ("metadata", "left"),
    [
        pytest.param({}, {EVICTABLE: "leveret-tmp"}, id="ours"),
        pytest.param({"annotations": None}, {EVICTABLE: "leveret-tmp"}, id="written empty"),
        pytest.param({"annotations": {"a": "b"}}, {EVICTABLE: "leveret-tmp", "a": "b"}, id="beside another"),
        pytest.param({"annotations": {EVICTABLE: "cache"}}, {EVICTABLE: "cache"}, id="theirs"),
        pytest.param({"annotations": {EVICTABLE: None}}, {}, id="none"),
    ],
)
def test_the_scratch_folder_keeps_no_node(jobqueue: JobQueue, metadata: dict[str, object], left: object) -> None:
    made = build(jobqueue, {"metadata": metadata})
    assert made["spec"]["template"]["metadata"]["annotations"] == left


def test_two_former_versions_are_kept(jobqueue: JobQueue) -> None:
    assert build(jobqueue, {})["spec"]["revisionHistoryLimit"] == 2
