"""The examples' manifests fit the resource's schema, the handlers that they name, and restricted pods."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from examples.mailer.backends import parse
from examples.mailer.settings import Settings
from examples.tasks.handlers import PATIENCE
from examples.tasks.progress import MOST_SECONDS
from leveret import Handlers
from leveret.durations import parse_duration
from leveret_operator.deployment import Surroundings, build_deployment
from leveret_operator.parsing import parse_jobqueue

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
DOCUMENTS = [
    (path.name, document)
    for path in sorted((MANIFESTS / "examples").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
JOBQUEUES = [document for _, document in DOCUMENTS if document["kind"] == "JobQueue"]
WORKLOADS = [document for _, document in DOCUMENTS if document["kind"] in ("Deployment", "StatefulSet")]


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with unknown fields refused, as the API server prunes or refuses them."""
    found = {key: value for key, value in schema.items() if not key.startswith("x-") and key != "default"}
    if "properties" in schema:
        found["properties"] = {name: closed(value) for name, value in schema["properties"].items()}
        found["additionalProperties"] = False
    if "items" in schema:
        found["items"] = closed(schema["items"])
    return found


def spec_schema() -> dict[str, Any]:
    crd = yaml.safe_load((MANIFESTS / "crd.yaml").read_text())
    return closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])


@pytest.mark.parametrize("jobqueue", JOBQUEUES, ids=lambda document: document["metadata"]["name"])
def test_a_jobqueue_has_only_fields_that_the_resource_has(jobqueue: dict[str, Any]) -> None:
    Draft202012Validator(spec_schema()).validate(jobqueue["spec"])


@pytest.mark.parametrize("jobqueue", JOBQUEUES, ids=lambda document: document["metadata"]["name"])
def test_its_handlers_are_there_and_end_within_its_timeout(jobqueue: dict[str, Any]) -> None:
    module, _, name = jobqueue["spec"]["consumer"]["handlers"].partition(":")
    handlers = getattr(importlib.import_module(module), name)
    assert isinstance(handlers, Handlers)
    longest = parse_duration(jobqueue["spec"].get("timeout", "30s"))
    assert all(handler.timeout is None or handler.timeout <= longest for handler in handlers.values())


@pytest.mark.parametrize("body", JOBQUEUES, ids=lambda document: document["metadata"]["name"])
def test_its_template_changes_nothing_that_is_the_operators(body: dict[str, Any]) -> None:
    jobqueue = parse_jobqueue({**body, "metadata": {**body["metadata"], "namespace": "leveret", "uid": "1"}})
    made: Any = build_deployment(jobqueue, Surroundings("leveret-broker", None, "json"))
    mounts = made["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    volumes = {volume["name"] for volume in made["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in mounts} <= volumes


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda document: document["metadata"]["name"])
def test_a_pod_passes_the_restricted_standard_and_writes_only_to_volumes(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(("example", "port"), [("url-check", 30081), ("bulk-insert", 30082), ("tasks", 30085)])
def test_a_front_asks_for_little_and_its_databases_password_is_made_in_the_cluster(example: str, port: int) -> None:
    mine = {
        (document["kind"], document["metadata"]["name"]): document
        for name, document in DOCUMENTS
        if name == f"{example}.yaml"
    }
    front, database = mine["Deployment", example], mine["StatefulSet", f"{example}-database"]
    assert front["spec"]["replicas"] == 2
    for workload in (front, database):
        requests = workload["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
        assert requests == {"cpu": "10m", "memory": "64Mi"}
    assert [kind for kind, _ in mine if kind == "Secret"] == []
    assert mine["Role", f"{example}-database"]["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
    ]
    assert mine["Service", example]["spec"]["ports"][0]["nodePort"] == port


def test_an_attempt_of_a_task_has_time_for_the_longest_and_for_its_reports() -> None:
    runs = [one["spec"] for one in JOBQUEUES if one["metadata"]["name"] in ("tasks", "tasks-cpu")]
    assert [parse_duration(spec["timeout"]).total_seconds() for spec in runs] == [3_720] * 2
    assert MOST_SECONDS + 2 * PATIENCE.timeout < 3_720


def test_a_report_of_a_task_waits_for_hours_and_never_more_than_ten_seconds_at_once() -> None:
    for retry in (one["spec"]["retry"] for one in JOBQUEUES if one["metadata"]["name"].endswith("-status")):
        assert retry["maxAttempts"] == 1_000
        assert retry["backoff"]["max"] == "8s", "a delay that the broker has"


def test_nothing_names_a_namespace_so_that_one_is_chosen_when_it_is_applied() -> None:
    assert [name for name, document in DOCUMENTS if "namespace" in document["metadata"]] == []


def test_the_queues_that_tests_from_outside_count_on_are_there() -> None:
    wanted = {"bench", "bulk-insert", "mailer", "request-reply", "url-check", "url-check-reports"}
    wanted |= {"tasks", "tasks-cpu", "tasks-status", "tasks-cpu-status"}
    assert wanted <= {jobqueue["metadata"]["name"] for jobqueue in JOBQUEUES}


def test_mailer_asks_for_little_and_its_servers_can_be_read() -> None:
    mine = {
        (document["kind"], document["metadata"]["name"]): document
        for name, document in DOCUMENTS
        if name == "mailer.yaml"
    }
    front, database = mine["Deployment", "mailer"], mine["StatefulSet", "mailer-database"]
    assert front["spec"]["replicas"] == 2
    for workload in (front, database, *(mine["StatefulSet", f"mailer-smtp-{n}"] for n in (1, 2))):
        requests = workload["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
        assert requests == {"cpu": "10m", "memory": "64Mi"}
    assert mine["Service", "mailer"]["spec"]["ports"][0]["nodePort"] == 30084
    listed = parse(mine["Secret", "mailer-backends"]["stringData"]["backends.json"].encode())
    assert [one.host for one in listed] == ["mailer-smtp-1", "mailer-smtp-2"]
    assert all(one.rate >= 5 and one.password is None for one in listed), "5 a second, and no password in a file"
    assert ("Secret", "mailer-database") not in mine


def test_a_run_of_a_mail_has_time_for_two_talks_with_servers_that_hang() -> None:
    spec = next(one["spec"] for one in JOBQUEUES if one["metadata"]["name"] == "mailer")
    assert parse_duration(spec["timeout"]).total_seconds() >= 2 * Settings().talk_seconds
    assert spec["retry"]["maxAttempts"] == 1_000
