"""What an upgrade meets: values of an older release, a volume of another size, a release with a long name."""

import json
import os
import shutil
import subprocess
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from charts.render import CHART, ROOT, helm

BEFORE = ROOT / "tests/upgrade/leveret-0.1.0.tgz"
LONG = "a-name-that-is-cut-because-it-is-longer-than-40-"


def former_values():
    with tarfile.open(BEFORE) as archive:
        return archive.extractfile("leveret/values.yaml").read().decode()


def toggles(values, former, path=""):
    """Yield the settings that turn each switch the other way that values of a release before don't have."""
    for key, value in values.items():
        was = former.get(key) if isinstance(former, dict) else None
        if isinstance(value, dict):
            yield from toggles(value, was, f"{path}{key}.")
        elif isinstance(value, bool) and was is None:
            yield f"{path}{key}={str(not value).lower()}"


NEW_SWITCHES = list(toggles(yaml.safe_load((CHART / "values.yaml").read_text()), yaml.safe_load(former_values())))


@pytest.fixture(scope="module")
def reused(tmp_path_factory):
    """The chart with the values of 0.1.0 in the place of its own, whole, as `helm upgrade --reuse-values` puts them."""
    older = tmp_path_factory.mktemp("reused") / "leveret"
    shutil.copytree(CHART, older)
    (older / "values.yaml").write_text(former_values())
    return older


@pytest.mark.parametrize(
    "settings",
    [
        [],
        *([switch] for switch in NEW_SWITCHES),
        [each for each in NEW_SWITCHES if "serviceMonitor" not in each]
        + ["networkPolicy.from.metrics[0].ipBlock.cidr=::/0"],
        ["networkPolicy.enabled=true", "networkPolicy.from.producer[0].ipBlock.cidr=::/0"],
        ["monitoring.podMonitor.enabled=true", "monitoring.labels.release=mine"],
    ],
    ids=" ".join,
)
def test_values_of_an_older_release_are_enough(chart, reused, tmp_path, settings):
    """A key that is new is as in values.yaml."""
    kept = tmp_path / "kept.yaml"  # values that were others stay
    kept.write_text("{postgresql: {image: {tag: '17'}}, grafana: {dashboards: {enabled: true}}}")
    now = chart.render(*settings, values=str(kept))
    assert without_secrets(chart.render(*settings, chart=reused)) == without_secrets(now)


def test_new_switches_are_looked_at():
    assert {"networkPolicy.enabled=true", "monitoring.serviceMonitor.enabled=true"} <= set(NEW_SWITCHES)


def test_the_image_of_the_test_is_whole_with_values_of_an_older_release(chart, reused):
    job = chart.render("test.image.registry=reg.example", only="templates/test/job.yaml", chart=reused)
    (queue,) = [each for each in job if each["kind"] == "JobQueue"]
    assert queue["spec"]["consumer"]["image"].startswith("reg.example/leveret/consumer:")


def test_a_new_version_alone_restarts_neither_broker_nor_prometheus(chart, objects, tmp_path):
    newer = tmp_path / "leveret"
    shutil.copytree(CHART, newer)
    described = yaml.safe_load((newer / "Chart.yaml").read_text())
    (newer / "Chart.yaml").write_text(yaml.safe_dump(described | {"appVersion": "9.9.9"}))
    settled = [each for each in objects if each["metadata"]["name"] in {"leveret-rabbitmq", "leveret-prometheus"}]
    pods = [each["spec"]["template"] for each in settled if each["kind"] in {"StatefulSet", "Deployment"}]
    assert len(pods) == 2
    assert [
        pod for pod in pods if pod not in [each.get("spec", {}).get("template") for each in chart.render(chart=newer)]
    ] == []


def without_secrets(objects):
    return [each for each in objects if each["kind"] != "Secret"]


@pytest.fixture
def cluster(tmp_path):
    """An API server that knows the objects it is given; helm asks it as in an upgrade."""
    objects = {}
    groups = {"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}]}
    kinds = {"statefulsets": "StatefulSet", "deployments": "Deployment"}
    answers = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "groups": [groups]},
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
        "/api/v1": resources("v1", {"secrets": "Secret"}),
        "/apis/apps/v1": resources("apps/v1", kinds),
    }

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            found = {**answers, **objects}.get(self.path.partition("?")[0])
            body = json.dumps(found or {"kind": "Status", "reason": "NotFound", "code": 404}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = tmp_path / "kubeconfig"
    address = f"http://127.0.0.1:{server.server_address[1]}"
    config.write_text(
        f"{{apiVersion: v1, kind: Config, current-context: x, clusters: [{{name: x, cluster: {{server: '{address}'}}}}], "
        "contexts: [{name: x, context: {cluster: x, user: x}}], users: [{name: x, user: {}}]}"
    )

    def upgrade(*settings, release="leveret", has=()):
        for each in has:
            path = f"/apis/apps/v1/namespaces/leveret/{each['kind'].lower()}s/{each['metadata']['name']}"
            objects[path] = {"apiVersion": "apps/v1", **each}
        command = [helm(), "template", release, str(CHART), "--namespace", "leveret", "--dry-run=server"]
        for setting in settings:
            command += ["--set", setting]
        env = os.environ | {"KUBECONFIG": str(config), "HELM_CACHE_HOME": str(tmp_path)}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    yield upgrade
    server.shutdown()
    server.server_close()


def resources(group, kinds):
    found = [{"name": name, "namespaced": True, "kind": kind, "verbs": ["get"]} for name, kind in kinds.items()]
    return {"kind": "APIResourceList", "groupVersion": group, "resources": found}


def volume(component, size="8Gi", **spec):
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": size}}, **spec}}
    return {
        "kind": "StatefulSet",
        "metadata": {"name": f"leveret-{component}"},
        "spec": {"volumeClaimTemplates": [claim]},
    }


@pytest.mark.parametrize(
    ("there", "settings"),
    [
        pytest.param(volume("postgresql"), [], id="as before"),
        pytest.param(volume("rabbitmq", "8192Mi"), [], id="written otherwise"),
        pytest.param(volume("rabbitmq", "2Pi"), ["rabbitmq.persistence.size=2048Ti"], id="written by Kubernetes"),
        pytest.param(
            volume("rabbitmq", storageClassName="ssd"), ["rabbitmq.persistence.storageClass=ssd"], id="of a class"
        ),
    ],
)
def test_a_volume_that_stays_is_no_matter(cluster, there, settings):
    done = cluster(*settings, has=[there])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("there", "settings", "says"),
    [
        pytest.param(
            volume("postgresql"),
            ["postgresql.persistence.size=16Gi"],
            [
                "postgresql.persistence.size is 16Gi, and leveret-postgresql was made with 8Gi",
                "nothing was changed.",
                "kubectl -n leveret patch pvc data-leveret-postgresql-0 -p "
                """'{"spec":{"resources":{"requests":{"storage":"16Gi"}}}}'`""",
                "kubectl -n leveret delete statefulset leveret-postgresql --cascade=orphan",
            ],
            id="larger",
        ),
        pytest.param(
            volume("rabbitmq"),
            ["rabbitmq.persistence.size=7Gi"],
            ["rabbitmq.persistence.size is 7Gi", "a volume can't shrink, and nothing was changed. Set it back."],
            id="smaller",
        ),
        pytest.param(
            volume("rabbitmq"),
            ["rabbitmq.persistence.storageClass=ssd"],
            ['rabbitmq.persistence.storageClass is "ssd"', 'was made with ""', "Set it back"],
            id="another class",
        ),
    ],
)
def test_a_volume_of_another_size_or_class_is_refused_with_what_to_do(cluster, there, settings, says):
    done = cluster(*settings, has=[there])
    assert done.returncode != 0
    assert [words for words in says if words not in done.stderr] == []


@pytest.mark.parametrize(("owner", "kept"), [(LONG + "one", True), (LONG + "two", False)])
def test_a_release_keeps_the_names_that_it_was_made_with(cluster, owner, kept):
    name = LONG[:40].rstrip("-") + "-operator"
    labels = {"app.kubernetes.io/instance": owner}
    done = cluster(release=LONG + "one", has=[{"kind": "Deployment", "metadata": {"name": name, "labels": labels}}])
    assert done.returncode == 0, done.stderr
    names = {each["metadata"]["name"] for each in yaml.safe_load_all(done.stdout) if each}
    assert (name in names) is kept
