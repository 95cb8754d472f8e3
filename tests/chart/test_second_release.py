"""A second release in a namespace, as helm sees it in an API server that is played: discovery, and a list of Deployments."""

import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from charts.render import CHART, helm

SENTENCE = "the namespace shop has the operator of the release leveret already, and a namespace has one: install into"


def deployment(component: str, release: str, replicas: int) -> dict[str, Any]:
    labels = {"name": "leveret", "component": component, "instance": release}
    return {
        "metadata": {"name": "d", "labels": {f"app.kubernetes.io/{key}": value for key, value in labels.items()}},
        "spec": {"replicas": replicas},
    }


OPERATOR = deployment("operator", "leveret", 1)
UNLABELLED = {"metadata": {"name": "d"}, "spec": {"replicas": 1}}


class ApiServer(BaseHTTPRequestHandler):
    deployments: list[dict[str, Any]] = []  # noqa: RUF012 - a test sets it

    def do_GET(self) -> None:
        version = {"groupVersion": "apps/v1", "version": "v1"}
        group = {"name": "apps", "versions": [version], "preferredVersion": version}
        listed = {"name": "deployments", "namespaced": True, "kind": "Deployment", "verbs": ["get", "list"]}
        answers: dict[str, Any] = {
            "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]},
            "/api/v1": {
                "kind": "APIResourceList",
                "groupVersion": "v1",
                "resources": [{"name": "secrets", "namespaced": True, "kind": "Secret", "verbs": ["get"]}],
            },
            "/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [listed]},
            "/apis/apps/v1/namespaces/shop/deployments": {
                "kind": "DeploymentList",
                "apiVersion": "apps/v1",
                "items": [{"apiVersion": "apps/v1", "kind": "Deployment", **one} for one in self.deployments],
            },
        }
        answer = answers.get(self.path.partition("?")[0])
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        text = json.dumps(answer or missing).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("there", "release", "words", "refused"),
    [
        pytest.param([UNLABELLED, OPERATOR], "other", [], True, id="a-second-release"),
        pytest.param([OPERATOR], "leveret", [], False, id="an-upgrade"),
        pytest.param([], "other", [], False, id="the-first"),
        pytest.param([OPERATOR], "other", ["--set", "operator.replicas=0"], False, id="without-an-operator"),
        pytest.param([deployment("operator", "leveret", 0)], "other", [], False, id="the-others-is-held-back"),
        pytest.param([deployment("consumer", "bench", 1), UNLABELLED], "other", [], False, id="not-an-operator"),
    ],
)
def test_a_namespace_has_the_operator_of_one_release(
    address: str, there: list[dict[str, Any]], release: str, words: list[str], refused: bool
) -> None:
    ApiServer.deployments = there
    command = [helm(), "template", release, str(CHART), "-n", "shop", "--dry-run=server", "--kube-apiserver", address]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert (done.returncode != 0, SENTENCE in done.stderr) == (refused, refused), done.stderr


def test_where_the_chart_is_only_rendered_nothing_is_looked_up() -> None:
    done = subprocess.run([helm(), "template", "other", str(CHART), "-n", "shop"], capture_output=True, check=False)
    assert done.returncode == 0
