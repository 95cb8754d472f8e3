"""The oldest Kubernetes supported has every field that the chart, the operator and the examples write; e2e tests have a newer one."""

import json
import re
from pathlib import Path

import pytest
import yaml
from consumers import consumer
from kubernetes_fields import KINDS, unknown

from charts.render import CHART, ROOT

OLDEST = re.match(r">=(\d+\.\d+)\.0", yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"])[1]
EXAMPLES = [
    each
    for file in sorted((ROOT / "manifests/examples").glob("*.yaml"))
    for each in yaml.safe_load_all(file.read_text())
]
OF_OTHERS = {"JobQueue", "PodMonitor", "PrometheusRule"}
ON = (
    "image.pullSecrets[0]=x",
    "operator.priorityClassName=x",
    "producer.service.type=NodePort",
    "producer.service.nodePort=30080",
    "rabbitmq.persistence.storageClass=x",
    "grafana.dashboards.enabled=true",
    "monitoring.podMonitor.enabled=true",
    "monitoring.rules.enabled=true",
    "networkPolicy.enabled=true",
    "networkPolicy.from.metrics[0].podSelector.matchLabels.x=y",
    "rbac.aggregate=true",
)


@pytest.fixture(scope="module")
def known():
    return json.loads((Path(__file__).parent / f"kubernetes-{OLDEST}.json").read_text())


def strange(objects, known):
    assert {each["kind"] for each in objects} <= KINDS | OF_OTHERS
    return [
        f"{each['kind']}{path}"
        for each in objects
        if each["kind"] in KINDS
        for path in unknown(each, each["kind"], known)
    ]


def test_the_chart(chart, known):
    assert strange([*chart.render(*ON), *chart.render(only="templates/test/job.yaml")], known) == []


def test_the_examples_and_their_consumers(known):
    specs = [each["spec"] for each in EXAMPLES if each["kind"] == "JobQueue"]
    assert specs
    templates = [{"kind": "PodTemplate", "template": consumer(spec=spec)} for spec in specs]
    assert strange([*EXAMPLES, *templates], known) == []


@pytest.mark.parametrize(
    ("definition", "kind"),
    [
        ("podSecurityContext", "PodSecurityContext"),
        ("securityContext", "SecurityContext"),
        ("seccompProfile", "SeccompProfile"),
        ("affinity", "Affinity"),
        ("tolerations", "Toleration"),
        ("spread", "TopologySpreadConstraint"),
        ("env", "EnvVar"),
        ("volumes", "Volume"),
        ("volumeMounts", "VolumeMount"),
        ("claims", "ResourceClaim"),
        ("peers", "NetworkPolicyPeer"),
    ],
)
def test_the_values_may_have_each_of_its_fields(known, definition, kind):
    found = json.loads((CHART / "values.schema.json").read_text())["definitions"][definition]
    assert known[kind].keys() <= found.get("items", found)["properties"].keys()


def test_a_field_of_a_later_kubernetes_is_found(known):
    """`resources` of a whole pod came with 1.32."""
    template = {"containers": [{"name": "a", "resourcez": {}}], "resources": {}}
    pod = {"kind": "StatefulSet", "spec": {"template": {"spec": template}}}
    assert strange([pod], known) == [
        "StatefulSet.spec.template.spec.containers.resourcez",
        "StatefulSet.spec.template.spec.resources",
    ]
