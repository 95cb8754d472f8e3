"""What the API server itself says to a JobQueue: defaults, and refusals that tell the fix."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from api import eventually
from kube import ROOT, Namespace, make_namespace

REFUSED = yaml.safe_load((Path(__file__).parents[1] / "chart" / "refused.yaml").read_text())
NAMED = "crd-named"
POLICY = "jobqueues.leveret.dev"
SCRATCH = "scratches.leveret.test"


def jobqueue(name: str = "crd-test", **spec: Any) -> dict[str, Any]:
    consumer = {"image": "leveret/examples:0.2.0", "handlers": "examples.bench.handlers:handlers"}
    return {
        "apiVersion": "leveret.dev/v1alpha1",
        "kind": "JobQueue",
        "metadata": {"name": name},
        "spec": {"consumer": consumer, **spec},
    }


def changed(path: str, value: object) -> dict[str, Any]:
    """A good JobQueue with one field changed, or without it where the value is None."""
    made = copy.deepcopy(jobqueue())
    *folders, field = path.split(".")
    inner = made
    for folder in folders:
        inner = inner.setdefault(folder, {})
    if value is None:
        del inner[field]
    else:
        inner[field] = value
    return made


def refusal(namespace: Namespace, manifest: dict[str, Any]) -> str:
    return namespace.refused("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))


def test_the_smallest_jobqueue_gets_every_default(namespace: Namespace) -> None:
    text = namespace.kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(jobqueue()))
    spec = json.loads(text)["spec"]
    assert spec["consumer"]["concurrency"] == 10
    assert spec["timeout"] == "30s"
    assert spec["queue"] == {"deliveryLimit": 20}
    assert spec["retry"] == {
        "maxAttempts": 5,
        "backoff": {"initial": "1s", "factor": 2, "max": "10m", "jitter": "full"},
    }
    assert spec["scaling"] == {
        "minReplicas": 0,
        "maxReplicas": 10,
        "scaleDownStabilization": "60s",
        "scaleToZeroAfter": "2m",
    }


@pytest.mark.parametrize("case", REFUSED, ids=[case["id"].replace(" ", "-") for case in REFUSED])
def test_a_jobqueue_that_cannot_work_is_refused_and_told_why(namespace: Namespace, case: dict[str, Any]) -> None:
    assert case["says"] in refusal(namespace, changed(case["path"], case["value"]))


def test_the_name_of_a_queue_is_for_good(namespace: Namespace) -> None:
    named = f"{namespace.name}.crd-queue"
    namespace.apply(jobqueue(NAMED, queue={"name": named}))
    try:
        for spec in ({}, {"queue": {"name": f"{named}-2"}}):
            assert "queue.name can't be changed, added or removed" in refusal(namespace, jobqueue(NAMED, **spec))
        namespace.apply(jobqueue(NAMED, queue={"name": named, "maxLength": 5}))  # the rest can be changed
    finally:
        namespace.kubectl("delete", "jobqueue", NAMED)


def test_a_name_that_is_taken_or_not_allowed_is_told_and_left_alone(namespace: Namespace) -> None:
    other = {"crd-other": {"name": "elsewhere.crd-other"}, "crd-second": {"name": f"{namespace.name}.{NAMED}"}}
    namespace.apply(jobqueue(NAMED))
    try:
        namespace.kubectl("wait", "jobqueue", NAMED, "--for=condition=Ready", "--timeout=300s")
        for name, queue in other.items():
            namespace.apply(jobqueue(name, queue=queue))
        for name, reason in (("crd-other", "QueueNameNotAllowed"), ("crd-second", "QueueNameTaken")):
            said = f'{{.status.conditions[?(@.type=="TopologyReady")].reason}}={reason}'
            namespace.kubectl("wait", "jobqueue", name, f"--for=jsonpath={said}", "--timeout=180s")
            assert f"{name}-consumer" not in namespace.kubectl("get", "deployments", "-o", "name")
        namespace.kubectl("delete", "jobqueue", NAMED)
        namespace.kubectl("wait", "jobqueue", "crd-second", "--for=condition=Ready", "--timeout=180s")
    finally:
        namespace.kubectl("delete", "jobqueue", "--ignore-not-found", NAMED, *other)


def with_another_objective() -> dict[str, Any]:
    """The CRD under another name, and with a second objective, as a later version may have."""
    crd: dict[str, Any] = yaml.safe_load((ROOT / "manifests" / "crd.yaml").read_text())
    crd["metadata"]["name"] = SCRATCH
    crd["spec"]["group"] = SCRATCH.partition(".")[2]
    crd["spec"]["names"] = {"kind": "Scratch", "listKind": "ScratchList", "plural": "scratches", "singular": "scratch"}
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    objective = spec["properties"]["scaling"]["properties"]["objective"]
    objective["properties"]["startWithin"] = {"type": "string"}
    rule = "has(self.backlogPerReplica) != has(self.startWithin)"
    objective["x-kubernetes-validations"] = [{"rule": rule, "message": "name exactly one objective"}]
    return crd


def scratch(name: str, **spec: Any) -> str:
    return json.dumps(jobqueue(name, **spec) | {"apiVersion": "leveret.test/v1alpha1", "kind": "Scratch"})


def test_an_object_without_an_objective_can_be_given_another_one_later(namespace: Namespace) -> None:
    moved = {"scaling": {"objective": {"startWithin": "5s"}}}
    namespace.apply(with_another_objective())
    try:
        namespace.kubectl("wait", f"crd/{SCRATCH}", "--for=condition=Established", "--timeout=60s")
        for flags in ([], ["--server-side"]):
            name = f"by-{len(flags)}"
            namespace.kubectl("apply", *flags, "-f", "-", stdin=scratch(name))
            namespace.kubectl("apply", *flags, "-f", "-", stdin=scratch(name, **moved))
            assert namespace.get("scratch", name)["spec"]["scaling"]["objective"] == {"startWithin": "5s"}
        # As an object of 0.1.0, whose default is stored and nobody's: it is taken out once.
        namespace.kubectl("create", "-f", "-", stdin=scratch("old", scaling={"objective": {"backlogPerReplica": 100}}))
        refused = namespace.refused("apply", "--server-side", "-f", "-", stdin=scratch("old", **moved))
        assert "name exactly one objective" in refused
        taken_out = '{"spec": {"scaling": {"objective": null}}}'
        namespace.kubectl("patch", "scratch", "old", "--type=merge", "-p", taken_out)
        namespace.kubectl("apply", "--server-side", "-f", "-", stdin=scratch("old", **moved))
    finally:
        namespace.kubectl("delete", "crd", SCRATCH)


def test_a_jobqueue_where_no_operator_looks_is_refused_and_one_that_is_there_can_go(namespace: Namespace) -> None:
    elsewhere = make_namespace(namespace.context, "crd-elsewhere")

    def act(action: str) -> None:
        actions = json.dumps({"spec": {"validationActions": [action]}})
        namespace.kubectl("patch", "validatingadmissionpolicybinding", POLICY, "--type=merge", "-p", actions)

    try:
        said = "JobQueues are not looked after in this namespace, so no job would run; make it in one of leveret, "
        eventually("one that is new is refused", lambda: said in refusal(elsewhere, jobqueue()))
        act("Warn")
        made = json.dumps(jobqueue())
        eventually(
            "as before there was a policy", lambda: "created" in elsewhere.kubectl("apply", "-f", "-", stdin=made)
        )
        act("Deny")
        again = jobqueue(timeout="45s")
        eventually("a changed one is refused", lambda: said in refusal(elsewhere, again))
        elsewhere.kubectl("label", "jobqueue", "crd-test", "team=shop")
        finalizers = '{"metadata": {"finalizers": %s}}'
        elsewhere.kubectl("patch", "jobqueue", "crd-test", "--type=merge", "-p", finalizers % '["leveret.test/kept"]')
        elsewhere.kubectl("delete", "jobqueue", "crd-test", "--wait=false")
        elsewhere.kubectl("patch", "jobqueue", "crd-test", "--type=merge", "-p", finalizers % "null")
        eventually("it is gone", lambda: "crd-test" not in elsewhere.kubectl("get", "jobqueues", "-o", "name"))
    finally:
        act("Deny")
        elsewhere.kubectl("delete", "namespace", elsewhere.name, "--wait=false")


def test_a_variable_of_ours_in_a_template_is_left_out_and_said(namespace: Namespace) -> None:
    variables = [{"name": "LEVERET_BROKER_URL", "value": "amqp://elsewhere"}, {"name": "LEVERET_LANE", "value": "own"}]
    manifest = jobqueue(NAMED)
    manifest["spec"]["consumer"]["template"] = {"spec": {"containers": [{"name": "consumer", "env": variables}]}}
    namespace.apply(manifest)
    try:
        namespace.kubectl("wait", "jobqueue", NAMED, "--for=condition=SpecAdjusted", "--timeout=180s")
        namespace.kubectl("wait", "jobqueue", NAMED, "--for=condition=Ready", "--timeout=300s")
        (container,) = namespace.get("deployment", f"{NAMED}-consumer")["spec"]["template"]["spec"]["containers"]
        values = {one["name"]: one.get("value", "") for one in container["env"]}
        assert (values["LEVERET_BROKER_URL"], values["LEVERET_LANE"]) == ("", "own")
    finally:
        namespace.kubectl("delete", "jobqueue", NAMED)
