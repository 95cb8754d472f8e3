"""Prometheus, the chart's own or one of yours, finds every pod of ours by its port's name, says which pod, component and JobQueue
a number is from, and has the alerts, of which each has a page."""

import re

import pytest
import yaml
from alerts import RUNBOOKS, alerts, rule_file
from consumers import consumer
from prometheus_client import CollectorRegistry

from leveret_operator.metrics import Metrics as OperatorMetrics
from leveret_operator.metrics import QueueNumbers
from leveret_producer.metrics import Metrics as ProducerMetrics


@pytest.fixture(scope="module")
def scrape(one):
    settings = yaml.safe_load(one("ConfigMap", "leveret-prometheus")["data"]["prometheus.yml"])
    (job,) = settings["scrape_configs"]
    assert settings["global"]["scrape_interval"] == "5s"
    return job


def test_pods_of_this_namespace_only(scrape):
    assert scrape["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": ["leveret"]}}]


def test_keeps_running_pods_by_the_name_of_their_port(scrape):
    kept = {
        rule["source_labels"][0]: rule["regex"] for rule in scrape["relabel_configs"] if rule.get("action") == "keep"
    }
    assert kept == {"__meta_kubernetes_pod_container_port_name": "metrics", "__meta_kubernetes_pod_phase": "Running"}


def test_labels(scrape):
    labels = {
        rule["target_label"]: rule["source_labels"] for rule in scrape["relabel_configs"] if "target_label" in rule
    }
    assert labels == {
        "namespace": ["__meta_kubernetes_namespace"],
        "pod": ["__meta_kubernetes_pod_name"],
        "component": ["__meta_kubernetes_pod_label_app_kubernetes_io_component"],
        "jobqueue": ["__meta_kubernetes_pod_label_leveret_dev_jobqueue"],
    }


def test_everything_that_has_numbers_is_found(pods):
    found = {
        name
        for name, pod in pods.items()
        for port in pod["spec"]["containers"][0]["ports"]
        if port["name"] == "metrics"
    }
    assert found == {"operator", "producer", "rabbitmq"}


def of_kind(objects, *kinds):
    return [each for each in objects if each["kind"] in kinds]


def test_nothing_for_a_prometheus_operator_unless_it_is_asked_for(objects):
    assert not [each for each in objects if each["apiVersion"].startswith("monitoring.coreos.com")]


@pytest.mark.parametrize(
    ("toggle", "kind", "endpoints"),
    [("podMonitor", "PodMonitor", "podMetricsEndpoints"), ("serviceMonitor", "ServiceMonitor", "endpoints")],
)
def test_monitors_give_the_labels_that_the_chart_s_own_prometheus_gives(chart, scrape, toggle, kind, endpoints):
    made = chart.render(f"monitoring.{toggle}.enabled=true", "monitoring.labels.release=mine", "monitoring.interval=9s")
    (monitor,) = of_kind(made, "PodMonitor", "ServiceMonitor")
    assert (monitor["kind"], monitor["metadata"]["labels"]["release"]) == (kind, "mine")
    (endpoint,) = monitor["spec"][endpoints]
    assert (endpoint["port"], endpoint["interval"]) == ("metrics", "9s")
    given = {rule["targetLabel"]: rule.get("sourceLabels") for rule in endpoint["relabelings"]}
    ours = {rule["target_label"]: rule["source_labels"] for rule in scrape["relabel_configs"] if "target_label" in rule}
    assert given == {"job": None} | ours
    assert [rule["replacement"] for rule in endpoint["relabelings"] if rule["targetLabel"] == "job"] == [
        scrape["job_name"]
    ]


def test_a_pod_monitor_selects_our_pods(chart, pods):
    (monitor,) = of_kind(chart.render("monitoring.podMonitor.enabled=true"), "PodMonitor")
    selector = monitor["spec"]["selector"]["matchLabels"]
    assert all(selector.items() <= pod["metadata"]["labels"].items() for pod in [*pods.values(), consumer()])


def test_a_service_monitor_selects_one_service_with_our_metrics(chart, pods):
    made = chart.render("monitoring.serviceMonitor.enabled=true")
    (monitor,) = of_kind(made, "ServiceMonitor")
    selector = monitor["spec"]["selector"]["matchLabels"]
    (service,) = [
        each
        for each in of_kind(made, "Service")
        if selector.items() <= each["metadata"]["labels"].items() and "metrics" in str(each["spec"]["ports"])
    ]
    assert service["spec"]["ports"] == [{"name": "metrics", "port": 9000, "targetPort": "metrics"}]
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    selected = service["spec"]["selector"]
    assert all(selected.items() <= pod["metadata"]["labels"].items() for pod in [*pods.values(), consumer()])


def test_the_alerts_are_the_same_for_both(chart):
    settings = ["producer.outboxLimit=5", "monitoring.rules.longestWaitSeconds=60"]
    made = chart.render(
        "monitoring.rules.enabled=true", "monitoring.rules.runbookUrl=https://r.example/x", *settings,
        "monitoring.labels.release=mine",
    )  # fmt: skip
    (rule,) = of_kind(made, "PrometheusRule")
    (config,) = [each for each in of_kind(made, "ConfigMap") if each["metadata"]["name"] == "leveret-prometheus"]
    expected = yaml.safe_load(rule_file(outboxLimit="5", longestWait="60", runbooks="https://r.example/x"))
    assert rule["spec"] == expected
    assert rule["metadata"]["labels"]["release"] == "mine"
    assert yaml.safe_load(config["data"]["alerts.yml"]) == expected
    assert yaml.safe_load(config["data"]["prometheus.yml"])["rule_files"] == ["alerts.yml"]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_waits_has_a_severity_and_a_page_about_itself(alert):
    assert alert["for"]
    assert alert["labels"] in [{"severity": how, "namespace": "leveret"} for how in ("critical", "warning")]
    assert set(alert["annotations"]) == {"summary", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"https://leveret.dev/docs/runbooks/{alert['alert']}.md"
    page = (RUNBOOKS / f"{alert['alert']}.md").read_text()
    assert re.findall(r"(?m)^##? (.+)$", page) == [alert["alert"], "What it means", "What was kept", "What to do"]


def test_every_page_is_about_an_alert_and_in_the_list():
    names = {alert["alert"] for alert in alerts()}
    listed = re.findall(r"\| \[(\w+)\]\((\w+)\.md\)", (RUNBOOKS / "README.md").read_text())
    assert {file.stem for file in RUNBOOKS.glob("*.md")} - {"README"} == names
    assert listed == [(alert["alert"], alert["alert"]) for alert in alerts()]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_asks_for_metrics_of_this_namespace(alert):
    selectors = re.findall(r"(\w+)\{([^}]*)\}", alert["expr"])
    assert selectors
    assert all('namespace="leveret"' in labels for _, labels in selectors)
    named = set(re.findall(r"\b(?:leveret|rabbitmq)_\w+|\bup\b", alert["expr"]))
    assert named == {name for name, _ in selectors}


def test_an_alert_names_metrics_that_there_are():
    registry = CollectorRegistry()
    operator, producer = OperatorMetrics(registry), ProducerMetrics()
    operator.show("leveret.a", QueueNumbers(0, 0, 0, 0.0, 0.0, 0.0, 0, 0, 0))
    producer.outbox_pending.value = producer.broker_blocked.value = 0.0
    producer.recorder_lag.nothing_waits()
    families = [*registry.collect(), *producer.registry.collect()]
    there = {family.name for family in families} | {sample.name for family in families for sample in family.samples}
    named = {name for alert in alerts() for name in re.findall(r"leveret_\w+", alert["expr"])}
    assert named <= there
