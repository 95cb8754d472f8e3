"""What the chart says after an install works when it is pasted: one real job, the API, the list. And what it can make beside the
defaults is what the API server knows."""

import json
import os
import re
import subprocess

import pytest
import yaml
from api import eventually
from kube import CHART, FETCHED, Namespace

EVERYTHING = (
    "rbac.aggregate=true",
    "networkPolicy.enabled=true",
    "networkPolicy.from.producer[0].namespaceSelector.matchLabels.team=shop",
    "networkPolicy.from.metrics[0].namespaceSelector.matchLabels.team=watch",
    "monitoring.serviceMonitor.enabled=true",
    "monitoring.rules.enabled=true",
    "grafana.dashboards.enabled=true",
)
ABSENT = "monitoring.coreos.com/"  # a test cluster has no Prometheus Operator


@pytest.fixture(scope="module")
def commands(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, str]]:
    """The three commands as helm prints them, and an environment whose kubectl and helm speak to the test cluster."""
    notes = namespace.helm("get", "notes", "leveret")
    kubeconfig = tmp_path_factory.mktemp("notes") / "config"
    kubeconfig.write_text(
        namespace.kubectl("config", "view", "--raw", "--minify", "--flatten", f"--context={namespace.context}")
    )
    kubeconfig.chmod(0o600)
    path = f"{FETCHED}:{os.environ['PATH']}"
    return re.findall(r"(?m)^   (\S.*)$", notes), os.environ | {"KUBECONFIG": str(kubeconfig), "PATH": path}


def paste(command: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_three_commands_of_the_notes(namespace: Namespace, commands: tuple[list[str], dict[str, str]]) -> None:
    (test, api, queues), environment = commands
    assert "Phase:          Succeeded" in paste(test, environment)
    assert isinstance(json.loads(paste(api, environment))["queues"], list)
    paste(queues, environment)
    of_test = ("jobqueues,pods,configmaps", "app.kubernetes.io/component=test")
    eventually("what the test brought along is gone", lambda: namespace.all(*of_test) == [])


def test_a_test_that_fails_says_why_and_leaves_its_pod(namespace: Namespace) -> None:
    """The job is submitted with a token that the API doesn't know."""
    wrong = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "notes-token"},
        "stringData": {"token": "wrong"},
    }
    namespace.apply(wrong)
    try:
        rendered = namespace.helm(
            "template", "leveret", str(CHART), "--show-only", "templates/test/job.yaml",
            "--set", "auth.existingSecret=notes-token",
        )  # fmt: skip
        objects = list(yaml.safe_load_all(rendered))
        for each in objects:
            each["metadata"]["name"] = each["metadata"]["name"].replace("leveret-", "notes-")
        (pod,) = [each for each in objects if each["kind"] == "Pod"]
        pod["spec"]["volumes"][1]["configMap"]["name"] = "notes-test"
        for each in objects:
            if each["kind"] != "JobQueue":
                namespace.apply(each)
        namespace.kubectl("wait", "pod/notes-test", "--for=jsonpath={.status.phase}=Failed", "--timeout=120s")
        said = namespace.kubectl("logs", "notes-test")
        assert said.startswith("no job went there and back: "), said
        assert "Traceback" not in said
    finally:
        namespace.kubectl(
            "delete", "pod/notes-test", "configmap/notes-test", "secret/notes-token", "--ignore-not-found"
        )


def test_the_api_server_takes_all_that_the_chart_can_make(namespace: Namespace) -> None:
    """Its schemas are those of its version: no unknown field, no deprecated version, and each pod is restricted."""
    settings = [word for setting in EVERYTHING for word in ("--set", setting)]
    rendered = namespace.helm("template", "leveret", str(CHART), "-f", str(CHART / "values-kind.yaml"), *settings)
    objects = [each for each in yaml.safe_load_all(rendered) if each and not each["apiVersion"].startswith(ABSENT)]
    assert {"NetworkPolicy", "ClusterRole", "Pod", "JobQueue"} <= {each["kind"] for each in objects}
    text = yaml.safe_dump_all(objects)
    words = namespace.command(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"
    )
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    # That somebody has applied an object by kubectl before is no matter.
    warned = [line for line in done.stderr.splitlines() if line.startswith("Warning") and "migrate kubectl" not in line]
    assert warned == []
    assert len(done.stdout.splitlines()) == len(objects)
