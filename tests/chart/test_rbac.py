"""The rights are exactly these: whoever needs one more says so here."""

import pytest

OPERATOR = {
    ("leveret.dev", "jobqueues"): {"list", "watch"},
    ("leveret.dev", "jobqueues/status"): {"patch"},
    ("apps", "deployments"): {"list", "watch", "create", "patch"},
    ("apps", "deployments/scale"): {"patch"},
    ("", "pods"): {"list", "watch"},
    ("", "events"): {"create", "patch"},
}
PROMETHEUS = {("", "pods"): {"get", "list", "watch"}}


@pytest.mark.parametrize(("role", "rights"), [("leveret-operator", OPERATOR), ("leveret-prometheus", PROMETHEUS)])
def test_rights(one, role, rights):
    given = {
        (group, resource): set(rule["verbs"])
        for rule in one("Role", role)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert given == rights


@pytest.mark.parametrize("name", ["leveret-operator", "leveret-prometheus"])
def test_bindings(one, pods, name):
    binding = one("RoleBinding", name)
    assert binding["roleRef"]["name"] == name
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": "leveret"}]
    assert pods[name.removeprefix("leveret-")]["spec"]["serviceAccountName"] == name


def test_nothing_reaches_beyond_the_namespace(objects):
    assert not [each for each in objects if each["kind"].startswith("ClusterRole")]
