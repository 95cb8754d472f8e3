"""Prometheus finds every pod of ours by its port's name, and says which pod, component and JobQueue a number is from."""

import pytest
import yaml


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
