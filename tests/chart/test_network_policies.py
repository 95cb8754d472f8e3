"""Who reaches whom with NetworkPolicies: exactly what the parts need, and who is named."""

import pytest
from consumers import consumer

PORTS = {
    "operator": {9000},
    "consumer": {9000},
    "producer": {8080, 9000},
    "rabbitmq": {5672, 15672, 15692},
    "postgresql": {5432},
    "prometheus": {9090},
}
NEEDED = {
    ("operator", "rabbitmq", 5672),
    ("operator", "rabbitmq", 15672),
    ("operator", "rabbitmq", 15692),
    ("producer", "rabbitmq", 5672),
    ("producer", "postgresql", 5432),
    ("producer", "prometheus", 9090),
    ("consumer", "rabbitmq", 5672),
    ("consumer", "producer", 8080),
    *(("prometheus", part, 9000) for part in ("operator", "producer", "consumer")),
    ("prometheus", "rabbitmq", 15692),
}
FRIEND = {"team": "shop"}
NAMED = "podSelector.matchLabels.team=shop"


def selects(selector, labels):
    assert set(selector) == {"matchLabels"}
    return selector["matchLabels"].items() <= labels.items()


def reached(objects, everybody):
    """Return (who, whom, port) for all that may connect, of pods as {name: labels}; nobody is restricted whom no policy selects."""
    policies = [each["spec"] for each in objects if each["kind"] == "NetworkPolicy"]
    for policy in policies:
        assert policy["policyTypes"] == ["Ingress"]
        assert all(rule.get("from", True) for rule in policy["ingress"])  # an empty list lets in everybody
    for whom, ports in PORTS.items():
        own = [policy for policy in policies if selects(policy["podSelector"], everybody[whom])]
        rules = [rule for policy in own for rule in policy["ingress"]]
        for port in ports:
            for who, labels in everybody.items():
                allowing = [rule for rule in rules if {"protocol": "TCP", "port": port} in rule["ports"]]
                if not own or any(lets_in(rule, labels) for rule in allowing):
                    yield who, whom, port


def lets_in(rule, labels):
    return "from" not in rule or any(selects(peer["podSelector"], labels) for peer in rule["from"])


@pytest.fixture(scope="module")
def everybody(pods, chart):
    (test,) = [each for each in chart.render(only="templates/test/job.yaml") if each["kind"] == "Pod"]
    return {name: pod["metadata"]["labels"] for name, pod in pods.items()} | {
        "consumer": consumer()["metadata"]["labels"],
        "test": test["metadata"]["labels"],
        "stranger": {"app.kubernetes.io/name": "shop"},
        "friend": FRIEND,
    }


def test_off_everybody_reaches_everything(objects, everybody):
    assert len(set(reached(objects, everybody))) == len(everybody) * sum(map(len, PORTS.values()))


def test_on_only_what_the_parts_need_is_open_and_the_api_to_all(chart, everybody):
    open_to_all = {(who, "producer", 8080) for who in everybody}
    assert set(reached(chart.render("networkPolicy.enabled=true"), everybody)) == NEEDED | open_to_all


@pytest.mark.parametrize(
    ("named", "opened"),
    [
        ("producer", {("friend", "producer", 8080), ("test", "producer", 8080)}),
        ("rabbitmq", {("friend", "rabbitmq", 5672)}),
        ("postgresql", {("friend", "postgresql", 5432)}),
        ("prometheus", {("friend", "prometheus", 9090)}),
        (
            "metrics",
            {("friend", "rabbitmq", 15692)} | {("friend", part, 9000) for part in ("operator", "producer", "consumer")},
        ),
    ],
)
def test_who_is_named_is_let_in(chart, everybody, named, opened):
    open_to_all = {(who, "producer", 8080) for who in everybody} if named != "producer" else set()
    made = chart.render("networkPolicy.enabled=true", f"networkPolicy.from.{named}[0].{NAMED}")
    assert set(reached(made, everybody)) == NEEDED | opened | open_to_all


def test_every_port_of_ours_is_looked_at(pods):
    found = {
        name: {port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]} for name, pod in pods.items()
    }
    found["consumer"] = {port["containerPort"] for port in consumer()["spec"]["containers"][0]["ports"]}
    assert found == PORTS


def test_a_part_that_is_not_there_has_no_policy(chart):
    made = chart.render("networkPolicy.enabled=true", "rabbitmq.enabled=false", "rabbitmq.existingSecret=mine")
    policies = {each["metadata"]["name"] for each in made if each["kind"] == "NetworkPolicy"}
    assert policies == {f"leveret-{part}" for part in PORTS if part != "rabbitmq"}
