"""Credentials: none is ever rendered; the operator is told which to make, and no more is made where a Secret is given."""

import subprocess

import pytest

from charts.render import CHART, helm
from leveret_operator.own_secrets import OwnSecret, read_own_secrets

OWN = {
    "broker": OwnSecret(
        "leveret-broker", {"host": "leveret-rabbitmq", "port": "5672", "username": "leveret", "vhost": "/"}
    ),
    "database": OwnSecret(
        "leveret-database", {"host": "leveret-postgresql", "port": "5432", "username": "leveret", "dbname": "leveret"}
    ),
    "token": OwnSecret("leveret-token"),
    "installation": OwnSecret("leveret-installation"),
}
ALL_GIVEN = [f"{key}.existingSecret=mine" for key in ("rabbitmq", "postgresql", "auth", "installation")]


def operator(objects):
    (found,) = [each for each in objects if each["kind"] == "Deployment" and "operator" in each["metadata"]["name"]]
    return found["spec"]["template"]["spec"]


def own(objects):
    """Return what the operator is told to make, as it reads it."""
    (container,) = operator(objects)["containers"]
    return read_own_secrets({each["name"]: each.get("value") for each in container["env"]}["LEVERET_OWN_SECRETS"])


def rights_on_secrets(objects):
    roles = [each for each in objects if each["kind"] == "Role"]
    return [(role["metadata"]["name"], rule) for role in roles for rule in role["rules"] if "secrets" in str(rule)]


def test_no_secret_is_rendered_and_the_operator_makes_all(objects):
    assert not [each for each in objects if each["kind"] == "Secret"]
    assert own(objects) == OWN


def test_each_render_is_the_same():
    command = [helm(), "template", "leveret", str(CHART)]
    first, second = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))
    assert first == second


def test_another_release_has_names_of_its_own(chart):
    told = {kind: secret.name for kind, secret in own(chart.render(release="jobs")).items()}
    assert told == {kind: f"jobs-{secret.name}" for kind, secret in OWN.items()}


@pytest.mark.parametrize(
    ("setting", "given", "users"),
    [
        ("rabbitmq.existingSecret=mine", "broker", {"operator", "producer", "rabbitmq"}),
        ("postgresql.existingSecret=mine", "database", {"producer", "postgresql"}),
        ("auth.existingSecret=mine", "token", {"producer"}),
        ("installation.existingSecret=mine", "installation", {"operator", "producer"}),
    ],
)
def test_a_given_secret_is_used_and_none_made(chart, setting, given, users):
    objects = chart.render(setting)
    assert own(objects) == {kind: secret for kind, secret in OWN.items() if kind != given}
    workloads = [each for each in objects if each["kind"] in {"Deployment", "StatefulSet"}]
    naming = {each["metadata"]["labels"]["app.kubernetes.io/component"] for each in workloads if "'mine'" in str(each)}
    assert naming == users
    assert rights_on_secrets(objects)


def test_where_all_are_given_no_right_is(chart):
    objects = chart.render(*ALL_GIVEN)
    assert own(objects) == {}
    assert rights_on_secrets(objects) == []


def test_secrets_are_created_and_never_read(objects):
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
    assert rights_on_secrets(objects) == [("leveret-operator", rule)]


def test_only_the_operator_starts_without_them(pods):
    optional = {
        component: {volume["secret"].get("optional", False) for volume in pod["spec"]["volumes"] if "secret" in volume}
        for component, pod in pods.items()
    }
    assert optional == {
        "operator": {True},
        "producer": {False},
        "rabbitmq": {False},
        "postgresql": {False},
        "prometheus": set(),
    }


def test_the_operator_waits_for_those_that_it_does_not_make(chart):
    spec = operator(chart.render("rabbitmq.existingSecret=mine", "auth.existingSecret=mine"))
    mounted = {each["name"]: each["secret"].get("optional", False) for each in spec["volumes"] if "secret" in each}
    assert mounted == {"broker": False, "database": True, "installation": True}


def test_a_broker_secret_may_lack_its_virtual_host(pods):
    (container,) = pods["rabbitmq"]["spec"]["containers"]
    read = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
    assert {each["key"]: each.get("optional", False) for each in read} == {
        "username": False,
        "password": False,
        "vhost": True,
    }


@pytest.mark.parametrize(
    ("settings", "component"),
    [
        (("rabbitmq.enabled=false", "rabbitmq.existingSecret=mine"), "rabbitmq"),
        (("postgresql.enabled=false", "postgresql.existingSecret=mine"), "postgresql"),
        (("prometheus.enabled=false",), "prometheus"),
    ],
)
def test_a_part_that_is_yours_leaves_nothing_of_ours(chart, settings, component):
    objects = chart.render(*settings, "grafana.dashboards.enabled=false")
    labels = {each["metadata"].get("labels", {}).get("app.kubernetes.io/component") for each in objects}
    assert component not in labels


def test_a_broker_of_yours_may_have_other_ports(chart):
    objects = chart.render("rabbitmq.enabled=false", "rabbitmq.existingSecret=mine", "rabbitmq.managementPort=443")
    (operator,) = [
        each for each in objects if each["kind"] == "Deployment" and each["metadata"]["name"] == "leveret-operator"
    ]
    variables = {
        each["name"]: each.get("value") for each in operator["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert variables["LEVERET_BROKER_MANAGEMENT_PORT"] == "443"
    assert variables["LEVERET_BROKER_SECRET"] == "mine"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (("prometheus.enabled=false",), None),
        (
            ("prometheus.enabled=false", "prometheus.url=http://prometheus.monitoring:9090"),
            "http://prometheus.monitoring:9090",
        ),
    ],
)
def test_where_the_producer_finds_prometheus(chart, settings, url):
    (producer,) = [
        each
        for each in chart.render(*settings)
        if each["kind"] == "Deployment" and "producer" in each["metadata"]["name"]
    ]
    variables = {
        each["name"]: each.get("value") for each in producer["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert variables.get("LEVERET_PROMETHEUS_URL") == url
