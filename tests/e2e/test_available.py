"""Consumers that can't run say so: in READY and REASON, within 30 s after Kubernetes says it; and a start says nothing."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from api import Api, eventually
from kube import Namespace

IMAGE, HANDLERS = "leveret/examples:0.2.0", "examples.bench.handlers:handlers"
NO_IMAGE = "127.0.0.1:1/none:1"  # a registry that refuses at once
NOBODYS = "requests.leveret.dev/nothing"  # a quota on it concerns no other pod
WITHIN = 30.0  # s


@dataclass
class Case:
    """One JobQueue; `kubernetes` is the word by which a pod or a Deployment says what is wrong."""

    reason: str
    kubernetes: str
    says: str
    consumer: dict[str, Any] = field(default_factory=dict)
    container: dict[str, Any] = field(default_factory=dict)
    pod: dict[str, Any] = field(default_factory=dict)
    began: float | None = None  # Kubernetes says it
    named: float | None = None  # the JobQueue says it

    def spec(self) -> dict[str, Any]:
        containers = [{"name": "consumer", **self.container}] if self.container else []
        template = {"spec": {**self.pod, **({"containers": containers} if containers else {})}}
        consumer = {"image": IMAGE, "handlers": HANDLERS, "template": template, **self.consumer}
        return {"consumer": consumer, "scaling": {"minReplicas": 1}}


def cases() -> dict[str, Case]:
    return {
        "no-image": Case("ImagePullBackOff", "ErrImagePull", NO_IMAGE, consumer={"image": NO_IMAGE}),
        "no-handlers": Case(
            "CrashLoopBackOff",
            '"terminated"',
            "there is no examples.nowhere on the Python path",
            consumer={"handlers": "examples.nowhere:handlers"},
        ),
        "no-node": Case("Unschedulable", "Unschedulable", "node", pod={"nodeSelector": {"leveret.dev/no": "such"}}),
        "no-secret": Case(
            "CreateContainerConfigError",
            "CreateContainerConfigError",
            "such-is-not-there",
            container={"envFrom": [{"secretRef": {"name": "such-is-not-there"}}]},
        ),
        "no-volume": Case(
            "FailedMount",
            "PodReadyToStartContainers",
            "kubectl describe pod",
            pod={"volumes": [{"name": "mine", "secret": {"secretName": "such-is-not-there"}}]},
            container={"volumeMounts": [{"name": "mine", "mountPath": "/mine"}]},
        ),
        "no-quota": Case(
            "FailedCreate",
            "FailedCreate",
            "exceeded quota",
            container={"resources": {"limits": {NOBODYS.removeprefix("requests."): "1"}}},
        ),
    }


def jobqueue(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": f"avail-{name}"}
    return {"apiVersion": "leveret.dev/v1alpha1", "kind": "JobQueue", "metadata": meta, "spec": spec}


def good(**scaling: Any) -> dict[str, Any]:
    return {"consumer": {"image": IMAGE, "handlers": HANDLERS}, "scaling": scaling}


def condition(namespace: Namespace, name: str, type_: str = "Ready") -> dict[str, str]:
    found = namespace.get("jobqueue", f"avail-{name}").get("status", {}).get("conditions", [])
    return next((one for one in found if one["type"] == type_), {})


def look(namespace: Namespace, all_cases: dict[str, Case]) -> bool:
    """Note who says what by now; return whether every JobQueue does."""
    for name, case in all_cases.items():
        of = f"leveret.dev/jobqueue=avail-{name}"
        there = [*namespace.all("pods", of), *namespace.all("deployments", of)]
        if case.began is None and case.kubernetes in json.dumps([one["status"] for one in there]):
            case.began = time.monotonic()
        if case.named is None:
            status = namespace.get("jobqueue", f"avail-{name}").get("status", {})
            ready = condition(namespace, name)
            if status.get("reason") == case.reason and ready["status"] == "False" and case.says in ready["message"]:
                case.named = time.monotonic()
    return all(case.named is not None for case in all_cases.values())


@pytest.mark.timeout(400)
def test_what_keeps_consumers_from_running_is_said_and_a_start_is_not(api: Api, namespace: Namespace) -> None:
    broken = cases()
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "avail"},
        "spec": {"hard": {NOBODYS: "0"}},
    }
    namespace.apply(quota)
    specs = {name: case.spec() for name, case in broken.items()}
    specs["update"] = good(minReplicas=1)
    specs["zero"] = good(scaleToZeroAfter="1s", scaleDownStabilization="1s")
    try:
        for name, spec in specs.items():
            namespace.apply(jobqueue(name, spec))
        namespace.kubectl("wait", "jobqueue/avail-update", "--for=condition=Ready", "--timeout=120s")
        namespace.apply(jobqueue("update", {**specs["update"], "consumer": {"image": NO_IMAGE, "handlers": HANDLERS}}))
        eventually("every JobQueue says what is wrong", lambda: look(namespace, broken), 120, every=0.5)
        for name, case in broken.items():
            assert case.named is not None
            late = case.named - (case.began or case.named)
            print(f"\n{name}: {case.reason} {late:.1f} s after Kubernetes")
            assert late <= WITHIN, name
            namespace.refused("wait", f"jobqueue/avail-{name}", "--for=condition=Ready", "--timeout=1s")
        _a_bad_update_is_said(namespace)
        _a_start_from_zero_moves_nothing(api, namespace)
    finally:
        namespace.kubectl("delete", "--wait=false", "jobqueue", *(f"avail-{name}" for name in specs), check=False)
        namespace.kubectl("delete", "resourcequota", "avail", check=False)


def _a_bad_update_is_said(namespace: Namespace) -> None:
    def said() -> bool:
        ready = condition(namespace, "update")
        return ready["status"] == "True" and "ImagePullBackOff" in ready["message"] and NO_IMAGE in ready["message"]

    eventually("a bad update beside a pod that serves is said", said, 60)
    status = namespace.get("jobqueue", "avail-update")["status"]
    assert (status["reason"], status["readyReplicas"]) == ("ImagePullBackOff", 1)
    assert condition(namespace, "update", "ConsumersAvailable")["status"] == "True"


def _a_start_from_zero_moves_nothing(api: Api, namespace: Namespace) -> None:
    def none_wanted() -> bool:
        return condition(namespace, "zero", "ConsumersAvailable")["reason"] == "NoneWanted"

    eventually("its first consumer was ready, and went", none_wanted, 120)
    with namespace.watch("jobqueue/avail-zero", ".status.conditions[*].status") as seen:
        eventually("the watch has begun", lambda: len(seen) > 0, 60)
        ids = api.submit(f"{namespace.name}.avail-zero", [{"type": "sleep", "payload": {"seconds": 2}}])
        jobs = api.wait_final(f"{namespace.name}.avail-zero", ids, 120)
    assert {job["state"] for job in jobs.values()} == {"succeeded"}
    assert {change.value for change in seen} == {" ".join(["True"] * 6)}
