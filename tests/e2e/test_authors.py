"""The policy that a page gives for JobQueues' templates: it takes what it says, and refuses the rest with its sentences."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from api import eventually
from kube import Namespace, run
from pages import DOCS, blocks

POLICY = next(block.text for block in blocks(DOCS / "explanation" / "authors-of-jobqueues.md", "yaml"))
SECRET = {"valueFrom": {"secretKeyRef": {"name": "leveret-token", "key": "token"}}}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "account": ({"serviceAccountName": "leveret-operator"}, "names no service account"),
    "old alias": ({"serviceAccount": "leveret-operator"}, "names no service account"),
    "sidecar": ({"containers": [{"name": "other", "image": "any"}]}, "no containers but consumer"),
    "init": ({"initContainers": [{"name": "other", "image": "any"}]}, "no containers but consumer"),
    "secret": ({"volumes": [{"name": "v", "secret": {"secretName": "leveret-broker"}}]}, "only volumes"),
    "token": ({"volumes": [{"name": "v", "projected": {"sources": []}}]}, "only volumes"),
    "variable": ({"containers": [{"name": "consumer", "env": [{"name": "A", **SECRET}]}]}, "takes variables only"),
    "variables": ({"containers": [{"name": "consumer", "envFrom": []}]}, "takes variables only"),
}
ALLOWED = {
    "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"secretName": "jobs-keys"}}],
    "containers": [{"name": "consumer", "env": [{"name": "A", "value": "1"}], "resources": {}}],
}


def jobqueue(pod: dict[str, Any] | None) -> str:
    consumer = {"image": "any", "handlers": "a:b"} | ({} if pod is None else {"template": {"spec": pod}})
    made = {"apiVersion": "leveret.dev/v1alpha1", "kind": "JobQueue", "metadata": {"name": "authored"}}
    return yaml.safe_dump(made | {"spec": {"consumer": consumer}})


@pytest.fixture
def policy(namespace: Namespace) -> Iterator[None]:
    namespace.kubectl("apply", "-f", "-", stdin=POLICY)
    yield
    namespace.kubectl("delete", "-f", "-", stdin=POLICY)
    words = namespace.command("create", "--dry-run=server", "-f", "-")
    refused, _ = CASES["account"]
    eventually("it is forgotten", lambda: run(*words, stdin=jobqueue(refused), check=False).returncode == 0, 60)


def test_the_policy_refuses_what_it_says_and_takes_the_rest(
    namespace: Namespace, policy: None, subtests: pytest.Subtests
) -> None:
    words = ("create", "--dry-run=server", "-f", "-")
    account, _ = CASES["account"]
    # The API server heeds a new policy after a moment.
    eventually("it holds", lambda: "account" in namespace.refused(*words, stdin=jobqueue(account)), 60)
    for name, (pod, says) in CASES.items():
        with subtests.test(name):
            assert says in namespace.refused(*words, stdin=jobqueue(pod))
    for pod in (None, {}, ALLOWED):
        assert "authored" in namespace.kubectl(*words, stdin=jobqueue(pod))
