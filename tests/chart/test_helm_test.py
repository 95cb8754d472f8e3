"""`helm test`: its JobQueue is a good one, its pod is restricted, and its script tells a job that came back from one that didn't."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jsonschema
import pytest
import yaml
from consumers import consumer

from charts.leveret.test.handlers import handlers
from charts.render import CHART, CRD
from leveret_consumer.testing import Succeeded, run_attempt

ID = "019a0000-0000-7000-8000-000000000001"


@pytest.fixture(scope="module")
def made(chart):
    return {each["kind"]: each for each in chart.render(only="templates/test/job.yaml")}


def test_all_of_it_is_made_for_the_test_and_goes_after_it(made):
    assert set(made) == {"ConfigMap", "JobQueue", "Pod"}
    for each in made.values():
        notes = each["metadata"]["annotations"]
        assert notes["helm.sh/hook"] == "test"
        assert {"before-hook-creation", "hook-succeeded"} <= set(notes["helm.sh/hook-delete-policy"].split(","))
    first = {kind: each["metadata"]["annotations"].get("helm.sh/hook-weight", "0") for kind, each in made.items()}
    assert int(first["ConfigMap"]) <= int(first["JobQueue"]) < int(first["Pod"])


def test_the_jobqueue_is_a_good_one_and_its_consumers_find_the_handler(made):
    spec = made["JobQueue"]["spec"]
    (version,) = yaml.safe_load(CRD.read_text())["spec"]["versions"]
    jsonschema.validate(spec, version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    pod = consumer(made["JobQueue"]["metadata"]["name"], spec)["spec"]  # the template changes nothing of ours
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts["helm-test"] == "/app/helm_test"  # /app is on the image's Python path
    assert volumes["helm-test"]["configMap"]["name"] == made["ConfigMap"]["metadata"]["name"]
    assert spec["consumer"]["handlers"] == "helm_test.handlers:handlers"
    assert "handlers.py" in made["ConfigMap"]["data"]
    assert spec["consumer"]["image"] == "leveret/consumer:0.2.0"


def test_the_pod_is_restricted_and_has_the_token_and_the_address(made, one):
    spec = made["Pod"]["spec"]
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"
    environment = {each["name"]: each["value"] for each in container["env"]}
    queue = f"leveret.{made['JobQueue']['metadata']['name']}"
    assert environment == {"LEVERET_URL": "http://leveret-producer:80", "LEVERET_QUEUE": queue}
    assert one("Service", "leveret-producer")["spec"]["ports"][0]["port"] == 80
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert (mounts["token"], volumes["token"]["secret"]["secretName"]) == ("/etc/leveret/token", "leveret-token")
    assert container["command"] == ["python", f"{mounts['test']}/submit.py"]
    assert volumes["test"]["configMap"]["name"] == made["ConfigMap"]["metadata"]["name"]


def test_where_its_image_comes_from(chart):
    (jobqueue,) = [
        each
        for each in chart.render("image.registry=r.example/x", "test.image.tag=9.1", only="templates/test/job.yaml")
        if each["kind"] == "JobQueue"
    ]
    assert jobqueue["spec"]["consumer"]["image"] == "r.example/x/leveret/consumer:9.1"


async def test_the_handler_returns_what_it_was_given():
    assert await run_attempt(handlers, "echo", "hello") == Succeeded(b'"hello"')


class Api(BaseHTTPRequestHandler):
    """Knows the queue from the second request on; a job is running at the first look and has ended at the next."""

    ends: dict[str, object]  # a job's fields at its end; its result is what was sent if there is none
    requests: int
    sent: object

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cls = type(self)
        cls.requests += 1
        if self.headers["Authorization"] != "Bearer right":
            self._answer(401, {"type": "https://leveret.dev/problems/not-authenticated", "detail": "no such token"})
        elif self.path == "/v1/queues/leveret.q/jobs" and cls.requests == 1:
            self._answer(404, {"type": "https://leveret.dev/problems/unknown-queue", "detail": "no such queue"})
        elif self.path == "/v1/queues/leveret.q/jobs":
            cls.sent = body["payload"]
            self._answer(202, {"id": ID, "state": "accepted"})
        else:
            assert (self.path, body) == ("/v1/jobs/get", {"ids": [ID]})
            fields = {"result": cls.sent} | cls.ends if cls.requests > 3 else {"state": "running"}
            self._answer(200, {"jobs": [{"id": ID, **fields}]})

    def _answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("ends", "token", "code", "says"),
    [
        pytest.param({"state": "succeeded"}, "right", 0, "succeeded, and its result is what was sent", id="there and back"),
        pytest.param({"state": "succeeded", "result": "x"}, "right", 1, "ended as succeeded with 'x'", id="another result"),
        pytest.param({"state": "dead", "error": {"reason": "AttemptsExhausted"}}, "right", 1, "ended as dead", id="dead"),
        pytest.param({"state": "succeeded"}, "wrong", 1, "no job went there and back: ", id="a wrong token"),
    ],
)  # fmt: skip
def test_the_script(ends, token, code, says):
    played = type("Played", (Api,), {"ends": ends, "requests": 0})
    with ThreadingHTTPServer(("127.0.0.1", 0), played) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {
            "LEVERET_URL": f"http://127.0.0.1:{server.server_port}",
            "LEVERET_TOKEN": token,
            "LEVERET_QUEUE": "leveret.q",
        }
        done = subprocess.run(
            [sys.executable, str(CHART / "test/submit.py")],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        server.shutdown()
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
