"""The examples' manifests fit the resource's schema, the handlers that they name, and restricted pods."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from leveret import Handlers
from leveret.durations import parse_duration

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
DOCUMENTS = [
    (path.name, document)
    for path in sorted((MANIFESTS / "examples").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
JOBQUEUES = [document for _, document in DOCUMENTS if document["kind"] == "JobQueue"]
DEPLOYMENTS = [document for _, document in DOCUMENTS if document["kind"] == "Deployment"]


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


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda document: document["metadata"]["name"])
def test_a_deployment_passes_the_restricted_standard(deployment: dict[str, Any]) -> None:
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_nothing_names_a_namespace_so_that_one_is_chosen_when_it_is_applied() -> None:
    assert [name for name, document in DOCUMENTS if "namespace" in document["metadata"]] == []


def test_the_queues_that_tests_from_outside_count_on_are_there() -> None:
    assert sorted(jobqueue["metadata"]["name"] for jobqueue in JOBQUEUES) == ["bench", "request-reply", "url-check"]
