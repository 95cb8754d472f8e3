"""The chart is rendered and applied over a running release: nothing restarts, and whatever starts anew afterwards connects."""

from typing import Any

import pytest
from api import Api, eventually
from kube import CHART, Namespace
from release import FLAGS, WORKLOADS, api_of

SECRETS = {"leveret-broker", "leveret-database", "leveret-token", "leveret-installation"}
OURS = "app.kubernetes.io/name=leveret,app.kubernetes.io/component!=consumer"
BENCH = "leveret.bench"


def pods(release: Namespace) -> dict[str, tuple[str, int]]:
    """Return each pod's uid and restarts."""
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            sum(status["restartCount"] for status in pod["status"]["containerStatuses"]),
        )
        for pod in release.all("pods", OURS)
    }


def specs(release: Namespace) -> dict[str, Any]:
    """Not generations: a Deployment's grows with its annotations, and `kubectl apply` makes one."""
    return {workload: release.get(*workload.split("/"))["spec"] for workload in WORKLOADS}


def secrets(release: Namespace) -> dict[str, Any]:
    found = {each["metadata"]["name"]: each for each in release.all("secrets")}
    return {name: (found[name]["metadata"]["uid"], found[name]["data"]) for name in SECRETS}


def rendered(release: Namespace) -> str:
    return release.helm("template", "leveret", str(CHART), *FLAGS, "--skip-tests")


def runs(api: Api) -> bool:
    (job,) = api.wait_final(BENCH, api.submit(BENCH, [{"type": "echo", "payload": {"value": 1}}]), 60).values()
    return bool(job["state"] == "succeeded")


def applied_twice(release: Namespace) -> None:
    first = rendered(release)
    for text in (first, rendered(release)):
        assert text == first
        release.kubectl("apply", "-f", "-", stdin=text)


def upgraded(release: Namespace) -> None:
    release.helm("upgrade", "leveret", str(CHART), *FLAGS)


@pytest.mark.timeout(300)
def test_rendered_and_applied_anew_nothing_restarts_and_new_pods_connect(
    namespace: Namespace, api: Api, examples: None
) -> None:
    assert runs(api)
    before = (pods(namespace), specs(namespace), secrets(namespace))
    applied_twice(namespace)
    upgraded(namespace)
    assert (pods(namespace), specs(namespace), secrets(namespace)) == before
    assert api_of(namespace).token == api.token

    namespace.kubectl("delete", "pod", "-l", f"{OURS},app.kubernetes.io/component in (operator,producer,rabbitmq)")
    for workload in WORKLOADS:
        namespace.kubectl("rollout", "status", workload, "--timeout=120s")
    namespace.kubectl("delete", "pod", "-l", "leveret.dev/jobqueue=bench", "--wait=false")
    eventually("a job runs in new pods", lambda: runs(api), 120)
    assert not set(pods(namespace).values()) & {
        pod
        for name, pod in before[0].items()
        if name.startswith(("leveret-operator", "leveret-producer", "leveret-rabbitmq"))
    }
    assert secrets(namespace) == before[2]
    eventually("the operator is connected", lambda: conditions(namespace)["BrokerReachable"] == "True", 60)


@pytest.mark.timeout(300)
def test_a_secret_that_somebody_deletes_is_put_back_as_it_was(namespace: Namespace, api: Api) -> None:
    before = secrets(namespace)
    namespace.kubectl("delete", "secret", "leveret-token")
    # The kubelet looks after a mount each minute or so, and when its pod changes: that is sooner.
    namespace.kubectl("annotate", "pods", "-l", "app.kubernetes.io/component=operator", "touched=yes", "--overwrite")
    eventually("the token is back", lambda: "leveret-token" in names(namespace), 180)
    assert secrets(namespace)["leveret-token"][1] == before["leveret-token"][1]
    assert api.get("/v1/queues")


def test_what_the_operator_may_do_with_secrets(namespace: Namespace) -> None:
    account = f"--as=system:serviceaccount:{namespace.name}:leveret-operator"
    may = {
        verb: namespace.kubectl("auth", "can-i", verb, "secrets", account, check=False)
        for verb in ("create", "get", "list", "watch", "update", "patch", "delete")
    }
    assert may == {verb: "yes" if verb == "create" else "no" for verb in may}


def names(release: Namespace) -> set[str]:
    return {each["metadata"]["name"] for each in release.all("secrets")}


def conditions(release: Namespace) -> dict[str, str]:
    return {each["type"]: each["status"] for each in release.get("jobqueue", "bench")["status"]["conditions"]}
