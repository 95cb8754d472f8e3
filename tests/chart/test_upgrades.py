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

LONG = "a-name-that-is-cut-because-it-is-longer-than-40-"


def test_values_of_an_older_release_are_enough(chart, tmp_path):
    """`helm upgrade --reuse-values` puts the former values in the place of values.yaml, whole: a key that is new is then as there."""
    older = tmp_path / "leveret"
    shutil.copytree(CHART, older)
    (before,) = (ROOT / "tests/upgrade").glob("leveret-*.tgz")
    with tarfile.open(before) as archive:
        (older / "values.yaml").write_bytes(archive.extractfile("leveret/values.yaml").read())
    kept = tmp_path / "kept.yaml"  # values that were others stay
    kept.write_text("{postgresql: {image: {tag: '17'}}, grafana: {dashboards: {enabled: true}}}")
    assert without_secrets(chart.render(chart=older)) == without_secrets(chart.render(values=str(kept)))


def without_secrets(objects):
    return [each for each in objects if each["kind"] != "Secret"]


def test_names_that_are_cut_differ_and_fit(chart):
    names = {}
    for release in (LONG + "one", LONG + "two"):
        objects = chart.render("crds.enabled=false", release=release)  # what belongs to the whole cluster has one name
        names[release] = {each["metadata"]["name"] for each in objects}
        assert max(map(len, names[release])) <= 52  # a StatefulSet's, beside which a hash must fit into a label
    one, two = names.values()
    assert not one & two


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("leveret", "leveret"),
        ("shop", "shop-leveret"),
        ("my-leveret", "my-leveret"),
        ("a" * 32, "a" * 32 + "-leveret"),
        ("leveret-" + "a" * 32, "leveret-" + "a" * 32),
    ],
)
def test_up_to_forty_characters_a_name_is_as_it_is(chart, release, name):
    assert f"{name}-operator" in {each["metadata"]["name"] for each in chart.render(release=release)}


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
