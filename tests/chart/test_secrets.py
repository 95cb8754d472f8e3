"""Credentials: random, of the right keys, kept, and never made where a Secret is given."""

import base64

import pytest

SECRETS = {"leveret-broker", "leveret-database", "leveret-token"}


def secrets(objects):
    found = {each["metadata"]["name"]: each for each in objects if each["kind"] == "Secret"}
    return {
        name: {key: base64.b64decode(value).decode() for key, value in each["data"].items()}
        for name, each in found.items()
    }


def test_keys_and_addresses(objects):
    found = secrets(objects)
    assert set(found) == SECRETS
    password = found["leveret-broker"].pop("password")
    assert found["leveret-broker"] == {"host": "leveret-rabbitmq", "port": "5672", "username": "leveret", "vhost": "/"}
    assert len(password) >= 32
    password = found["leveret-database"].pop("password")
    assert found["leveret-database"] == {
        "host": "leveret-postgresql",
        "port": "5432",
        "username": "leveret",
        "dbname": "leveret",
    }
    assert len(password) >= 32
    assert set(found["leveret-token"]) == {"token"}
    assert len(found["leveret-token"]["token"]) >= 32


def test_no_two_installs_have_a_credential_in_common(chart):
    first, second = (secrets(chart.render(f"grafana.dashboards.enabled={value}")) for value in ("true", "false"))
    for name, key in [("leveret-broker", "password"), ("leveret-database", "password"), ("leveret-token", "token")]:
        assert first[name][key] != second[name][key]


def test_they_stay_with_the_volumes_that_know_them(objects):
    kept = [each for each in objects if each["kind"] == "Secret"]
    assert all(each["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for each in kept)


def test_no_credential_is_in_anything_else(objects):
    known = {value for data in secrets(objects).values() for key, value in data.items() if key in {"password", "token"}}
    assert not [each for each in objects if each["kind"] != "Secret" for value in known if value in str(each)]


@pytest.mark.parametrize(
    ("setting", "made", "users"),
    [
        ("rabbitmq.existingSecret=mine", SECRETS - {"leveret-broker"}, {"operator", "producer", "rabbitmq"}),
        ("postgresql.existingSecret=mine", SECRETS - {"leveret-database"}, {"producer", "postgresql"}),
        ("auth.existingSecret=mine", SECRETS - {"leveret-token"}, {"producer"}),
    ],
)
def test_a_given_secret_is_used_and_none_made(chart, setting, made, users):
    objects = chart.render(setting)
    assert set(secrets(objects)) == made
    workloads = [each for each in objects if each["kind"] in {"Deployment", "StatefulSet"}]
    naming = {each["metadata"]["labels"]["app.kubernetes.io/component"] for each in workloads if "'mine'" in str(each)}
    assert naming == users


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
