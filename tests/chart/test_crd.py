"""The resource JobQueue: its fields are those that work, its defaults and columns are the documented ones."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from charts.render import CRD, ROOT
from leveret.durations import format_duration
from leveret_operator.bounds import DURATIONS, LONGEST, NUMBERS

FIELDS = {
    "consumer": None,
    "consumer.image": None,
    "consumer.handlers": None,
    "consumer.concurrency": 10,
    "consumer.startupTimeout": "2m",
    "consumer.template": None,
    "queue": {},
    "queue.name": None,
    "queue.maxLength": None,
    "queue.deliveryLimit": 20,
    "queue.from": None,
    "queue.from.deadLettersOf": None,
    "retry": {},
    "retry.maxAttempts": 5,
    "retry.backoff": {},
    "retry.backoff.initial": "1s",
    "retry.backoff.factor": 2,
    "retry.backoff.max": "10m",
    "retry.backoff.jitter": "full",
    "timeout": "30s",
    "scaling": {},
    "scaling.minReplicas": 0,
    "scaling.maxReplicas": 10,
    "scaling.objective": None,
    "scaling.objective.backlogPerReplica": None,
    "scaling.scaleDownStabilization": "60s",
    "scaling.scaleToZeroAfter": "2m",
}
MOST = 2**63 - 1  # of an int64
CHANGED = "queue.name can't be changed, added or removed"
CASES = yaml.safe_load((Path(__file__).parent / "refused.yaml").read_text())
EXAMPLES = sorted((ROOT / "manifests/examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def version():
    (found,) = yaml.safe_load(CRD.read_text())["spec"]["versions"]
    return found


@pytest.fixture(scope="module")
def schema(version):
    return version["schema"]["openAPIV3Schema"]


def test_fields_and_defaults(schema):
    def walk(node, path):
        for name, field in node.get("properties", {}).items():
            yield f"{path}{name}", field.get("default")
            yield from walk(field, f"{path}{name}.")

    assert dict(walk(schema["properties"]["spec"], "")) == FIELDS


def test_what_is_one_of_several_has_no_default(schema):
    """It would be stored at the first apply, and stay beside another one that is applied later: two of one."""

    def unions(node):
        for field in node.get("properties", {}).values():
            rules = field.get("x-kubernetes-validations", [])
            if any("exactly one" in rule["message"] for rule in rules):
                yield field
            yield from unions(field)

    spec = schema["properties"]["spec"]
    (objective,) = unions(spec)
    members = objective["properties"].values()
    assert [one for one in (spec["properties"]["consumer"], objective, *members) if "default" in one] == []


@pytest.mark.parametrize("path", [*NUMBERS, *DURATIONS])
def test_the_operator_takes_what_the_schema_takes(schema, path):
    """And the same where nothing is said."""
    field = schema["properties"]["spec"]
    for name in path.split("."):
        field = field["properties"][name]
    if path in DURATIONS:
        default, _, longest = DURATIONS[path]
        assert field["default"] == default
        said = " ".join(rule["message"] for rule in field["x-kubernetes-validations"])
        assert longest == LONGEST or format_duration(longest) in said
        return
    default, least, most = NUMBERS[path]
    assert (field.get("minimum"), field.get("maximum", MOST)) == (least, most)
    assert field.get("default", default) == default


def test_columns(version):
    assert [column["name"].upper() for column in version["additionalPrinterColumns"]] == [
        "READY",
        "WAITING",
        "BACKLOG",
        "REPLICAS",
        "DESIRED",
        "DEAD",
        "REASON",
        "AGE",
    ]


def test_the_status_is_a_subresource_and_scale_is_not_yet(version):
    assert version["subresources"] == {"status": {}}


def test_every_rule_has_a_refused_jobqueue(schema):
    def messages(node):
        if isinstance(node, dict):
            yield from (rule["message"] for rule in node.get("x-kubernetes-validations", []))
            for value in node.values():
                yield from messages(value)

    said = [case["says"] for case in CASES]
    # The rule about the first wait names the numbers; this is its message without them.
    said.append("backoff.initial must not be longer than backoff.max; lower initial or raise max")
    said.append(CHANGED)  # is about a change: what is refused has to be there first
    assert [message for message in messages(schema) if not any(text in message for text in said)] == []


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_have_only_known_fields_and_good_values(file, schema):
    closed = close(schema)
    for document in yaml.safe_load_all(file.read_text()):
        if document and document["kind"] == "JobQueue":
            jsonschema.validate(document["spec"], closed["properties"]["spec"])
            assert len(document["metadata"]["name"]) <= 40


def close(node):
    """Return the schema with every object refusing what it doesn't name, as kubectl does."""
    if not isinstance(node, dict):
        return node
    closed = {key: close(value) for key, value in node.items()}
    if "properties" in node and node.get("type") == "object":
        closed["additionalProperties"] = False
    return closed
