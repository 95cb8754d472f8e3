"""The values: closed, commented, and refused with a sentence where they contradict each other."""

import json
import subprocess

import jsonschema
import pytest
import yaml

from charts.reference import WHOLE, value_rows
from charts.render import CHART, helm

SAME = {
    "image", "replicas", "resources", "podSecurityContext", "securityContext", "nodeSelector", "tolerations", "affinity",
    "topologySpreadConstraints", "extraEnv", "extraVolumes", "extraVolumeMounts", "podAnnotations", "podLabels",
    "priorityClassName", "serviceAccount",
}  # fmt: skip
SLIP = "slip"


@pytest.fixture(scope="module")
def schema():
    return json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize("values", ["values.yaml", "values-kind.yaml"])
def test_lint(values):
    command = [helm(), "lint", "--strict", str(CHART), "--values", str(CHART / values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_object_of_the_schema_is_closed(schema):
    jsonschema.Draft7Validator.check_schema(schema)
    open_ones = []

    def walk(node, path):
        if isinstance(node, dict):
            if node.get("type") == "object" and not node.keys() & {"additionalProperties", "propertyNames"}:
                open_ones.append(path)
            for key, value in node.items():
                walk(value, f"{path}.{key}")

    walk(schema, "")
    assert open_ones == [".properties.global"]


def test_every_value_of_the_schema_is_listed_and_commented(schema):
    def leaves(node, path=""):
        node = schema["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        if "properties" not in node or path.rpartition(".")[2] in WHOLE:
            return {path.removeprefix(".")}
        return set().union(*(leaves(value, f"{path}.{key}") for key, value in node["properties"].items()))

    rows = list(value_rows((CHART / "values.yaml").read_text()))
    assert {key for key, _, _ in rows} == leaves(schema) - {"global"}
    assert [key for key, _, words in rows if not words] == []


@pytest.mark.parametrize("component", ["operator", "producer", "rabbitmq", "postgresql", "prometheus"])
def test_components_have_the_same_keys(component):
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values[component]) >= SAME


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["producer.replica=3"], "producer: Additional property replica is not allowed"),
        (["rabbit.enabled=false"], "Additional property rabbit is not allowed"),
        (["rabbitmq.image.name=x"], "rabbitmq.image: Additional property name is not allowed"),
        (["producer.outboxLimit=0"], "producer.outboxLimit: Must be greater than or equal to 1"),
        (["producer.retention.jobs=30d"], "producer.retention.jobs: Does not match pattern"),
        (["producer.retention.payloads=721h"], "a payload goes with its job at the latest; lower the first or raise"),
        (["producer.retention.decisions=9000h"], "producer.retention.decisions is 9000h, and can be 8784h at most"),
        (["operator.replicas=2"], "operator.replicas: Must be less than or equal to 1"),
        (["operator.queueNames[0]=shop mails"], "operator.queueNames.0: Does not match pattern"),
        (["operator.queueNames[0]=a*b"], "operator.queueNames.0: Does not match pattern"),
        (["operator.queueNames=mails"], "operator.queueNames: Invalid type. Expected: array"),
        (["image.pullSecret=x"], "image: Additional property pullSecret is not allowed"),
        (["image.pullSecrets=x"], "image.pullSecrets: Invalid type. Expected: array"),
        (["image.pullSecrets[0].name=x"], "image.pullSecrets.0: Invalid type. Expected: string"),
        (["image.pullSecrets[0]=one\\,two"], "image.pullSecrets.0: Does not match pattern"),
        (["consumer.resource.x=1"], "consumer: Additional property resource is not allowed"),
        (["consumer.resources.request.cpu=1"], "consumer.resources: Additional property request is not allowed"),
        (["producer.resources.limit.cpu=1"], "producer.resources: Additional property limit is not allowed"),
        (["producer.replicas=two"], "producer.replicas: Invalid type. Expected: "),
        (["producer.podDisruptionBudget.minAvailable=1"], "Additional property minAvailable is not allowed"),
        (["rabbitmq.serviceAccount.name=x"], "rabbitmq.serviceAccount: Additional property name is not allowed"),
        (["image.pullPolicy=Sometimes"], "image.pullPolicy must be one of"),
        (["rabbitmq.image.tag="], "rabbitmq.image.tag: String length must be greater than or equal to 1"),
        (
            ["rabbitmq.enabled=false"],
            "set rabbitmq.existingSecret to a Secret with the keys host, port, username and password, and vhost unless it is /.",
        ),
        (
            ["postgresql.enabled=false"],
            "set postgresql.existingSecret to a Secret with the keys host, port, username, password and dbname.",
        ),
        (
            ["producer.replicas=6"],
            "postgresql.maxConnections is 100: raise it to at least 115, or run fewer producers.",
        ),
        (["producer.replicas=5", "postgresql.maxConnections=98"], "raise it to at least 99"),
        (["rabbitmq.resources.limits.memory=512m"], "is 512m, which is no amount of memory that RabbitMQ can be told"),
        (["rabbitmq.resources.limits.memory=1E"], "or one with k, M, G, T, Ki, Mi, Gi or Ti, such as 1.5Gi."),
        (["prometheus.url=http://mine"], "set prometheus.enabled to false, or leave prometheus.url empty."),
        (
            ["monitoring.podMonitor.enabled=true", "monitoring.serviceMonitor.enabled=true"],
            "sums would count everything twice: enable only one of them.",
        ),
        (
            ["networkPolicy.enabled=true", "monitoring.podMonitor.enabled=true"],
            "name its pods in networkPolicy.from.metrics.",
        ),
        (
            ["networkPolicy.enabled=true", "prometheus.enabled=false", "prometheus.url=http://mine"],
            "name its pods in networkPolicy.from.metrics.",
        ),
        (
            ["monitoring.labels.app\\.kubernetes\\.io/version=x"],
            "monitoring.labels sets app.kubernetes.io/version, which the chart sets itself: choose another label.",
        ),
        (["fullnameOverride=Mine"], "fullnameOverride: Does not match pattern"),
        (["fullnameOverride=" + "a" * 41], "fullnameOverride: Does not match pattern"),
        (["consumer.resources.limits.memory=1 GB"], "consumer.resources.limits.memory: Does not match pattern"),
        (["consumer.resources.limits.memory=-1"], "memory: Must be greater than or equal to 0"),
        (["consumer.resources.limits.mem=1Gi"], 'consumer.resources.limits: Property name of "mem" does not match'),
        (["rabbitmq.persistence=null"], "rabbitmq: persistence is required"),
        (["monitoring.interval=1m"], "monitoring.interval: Does not match pattern"),
        (["monitoring.rules.runbookUrl=runbooks/"], "monitoring.rules.runbookUrl: Does not match pattern"),
        (["networkPolicy.from.producer=all"], "networkPolicy.from.producer: Invalid type. Expected: array"),
        (["rabbitmq.managementPort=443"], "remove them, or set rabbitmq.enabled to false."),
        (["producer.service.nodePort=30080"], "set producer.service.type to NodePort, or remove the port."),
        (["rabbitmq.service.managementNodePort=31672"], "set rabbitmq.service.type to NodePort, or remove the port."),
        (
            ["operator.podLabels.app\\.kubernetes\\.io/component=x"],
            "by which the chart finds its own pods: choose another label.",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_refused_and_how(chart, settings, says):
    assert says in chart.refusal(*settings)


@pytest.mark.parametrize(
    ("setting", "component", "expected"),
    [
        ("operator.extraEnv[0].name=A,operator.extraEnv[0].value=b", "operator", "{'name': 'A', 'value': 'b'}"),
        (
            "operator.queueNames[0]=shop.*,operator.queueNames[1]=mails",
            "operator",
            "{'name': 'LEVERET_QUEUE_NAMES', 'value': 'shop.*,mails'}",
        ),
        ("producer.nodeSelector.disk=fast", "producer", "'nodeSelector': {'disk': 'fast'}"),
        ("rabbitmq.tolerations[0].key=k", "rabbitmq", "'tolerations': [{'key': 'k'}]"),
        ("postgresql.priorityClassName=high", "postgresql", "'priorityClassName': 'high'"),
        ("prometheus.affinity.podAffinity.x=y", "prometheus", "'affinity': {'podAffinity': {'x': 'y'}}"),
        (
            "producer.topologySpreadConstraints[0].maxSkew=2",
            "producer",
            "'topologySpreadConstraints': [{'maxSkew': 2}]",
        ),
        ("operator.extraVolumes[0].name=v", "operator", "{'name': 'v'}"),
        ("operator.extraVolumeMounts[0].name=v", "operator", "{'name': 'v'}"),
        ("rabbitmq.podAnnotations.note=n", "rabbitmq", "'note': 'n'"),
        ("prometheus.podLabels.team=t", "prometheus", "'team': 't'"),
        ("postgresql.persistence.storageClass=ssd", "postgresql", "'storageClassName': 'ssd'"),
        ("image.registry=r.example/x", "rabbitmq", "r.example/x/rabbitmq:4.3-management"),
        (
            "image.registry=r.example/x,rabbitmq.image.registry=other.example",
            "rabbitmq",
            "'other.example/rabbitmq:4.3-management'",
        ),
        ("image.tag=9.9", "producer", "leveret/producer:9.9"),
        ("rabbitmq.replicas=0", "rabbitmq", "'replicas': 0"),
        (
            "consumer.resources.limits.memory=1Gi",
            "operator",
            '{"limits":{"memory":"1Gi"},"requests":{"cpu":"20m","memory":"96Mi"}}',
        ),
        ("consumer.resources.requests=null", "operator", "{'name': 'LEVERET_CONSUMER_RESOURCES', 'value': '{}'}"),
        ("operator.podSecurityContext.runAsUser=5", "operator", "'runAsUser': 5"),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" in value else "",
)
def test_what_is_set_arrives(chart, setting, component, expected):
    (workload,) = [
        each
        for each in chart.render(*setting.split(","))
        if each["kind"] in {"Deployment", "StatefulSet"} and each["metadata"]["name"] == f"leveret-{component}"
    ]
    assert expected in str(workload)


@pytest.mark.parametrize("amount", ["1", "0.5", "500m", "1.5Gi", "100k", "2E", "1e3", "12E2", ".5", "1.", "20u", "7n"])
@pytest.mark.parametrize("name", ["cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "example.com/gpu"])
def test_quantities_of_kubernetes_are_taken(schema, name, amount):
    jsonschema.validate({"consumer": {"resources": {"limits": {name: amount}}}}, schema | {"required": []})


def test_dashboards_are_shipped_where_they_are_asked_for(chart):
    def dashboards(*settings):
        return [
            each
            for each in chart.render(*settings)
            if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        ]

    (shipped,) = dashboards("grafana.dashboards.enabled=true")
    assert set(shipped["data"]) == {file.name for file in (CHART / "dashboards").glob("*.json")}
    assert dashboards() == []


def test_a_slip_is_refused_at_every_level(chart, schema):
    """A word that is no key, put into each object of the schema, also of Kubernetes': of those its API server only warns Helm."""

    def objects(node, path):
        node = schema["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        if "items" in node:
            yield from objects(node["items"], f"{path}[0]")
        if "propertyNames" in node:
            yield path, f'Property name of "{SLIP}" does not match'
        elif "properties" in node:
            yield path, f"Additional property {SLIP} is not allowed"
        for key, value in node.get("properties", {}).items():
            yield from objects(value, f"{path}.{key}")

    found = list(objects(schema, ""))
    assert len(found) > 90
    everywhere = chart.refusal(*(f"{path}.{SLIP}=1".removeprefix(".") for path, _ in found))
    lines = [f"- {path.removeprefix('.').replace('[0]', '.0') or '(root)'}: {says}" for path, says in found]
    assert [line for line in lines if line not in everywhere] == []
