"""The rights are exactly these: whoever needs one more says so here."""

import pytest

OPERATOR = {
    ("leveret.dev", "jobqueues"): {"list", "watch"},
    ("leveret.dev", "jobqueues/status"): {"patch"},
    ("apps", "deployments"): {"list", "watch", "create", "patch"},
    ("apps", "deployments/scale"): {"patch"},
    ("", "pods"): {"list", "watch"},
    ("", "events"): {"create", "patch"},
    ("", "secrets"): {"create"},
    ("coordination.k8s.io", "leases"): {"create"},
    ("coordination.k8s.io", "leases", "leveret-operator"): {"get", "update"},
}
PROMETHEUS = {("", "pods"): {"get", "list", "watch"}}


@pytest.mark.parametrize(("role", "rights"), [("leveret-operator", OPERATOR), ("leveret-prometheus", PROMETHEUS)])
def test_rights(one, role, rights):
    given = {
        (group, resource, *rule.get("resourceNames", [])): set(rule["verbs"])
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


def test_the_cluster_s_own_roles_have_jobqueues_where_that_is_asked_for(chart):
    roles = {
        each["metadata"]["name"]: each
        for each in chart.render("rbac.aggregate=true")
        if each["kind"].startswith("ClusterRole")
    }
    given = {
        name: {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
        for name, role in roles.items()
    }
    assert given == {
        "leveret-view": {
            *(("jobqueues", verb) for verb in ("get", "list", "watch")),
            ("jobqueues/status", "get"),
        },
        "leveret-edit": {("jobqueues", verb) for verb in ("create", "update", "patch", "delete")},
        "leveret-admin": {("jobqueues", "deletecollection")},
    }
    for name, role in roles.items():
        labels = role["metadata"]["labels"]
        aggregated = [key for key in labels if key.startswith("rbac.authorization.k8s.io/")]
        assert aggregated == [f"rbac.authorization.k8s.io/aggregate-to-{name.removeprefix('leveret-')}"]
        assert {group for rule in role["rules"] for group in rule["apiGroups"]} == {"leveret.dev"}
