"""What a release's objects are called: long names, given ones, and those that YAML reads as something else."""

import pytest

from charts.render import ROOT

BEFORE = ROOT / "tests/upgrade/leveret-0.1.0.tgz"
LONG = "a-name-that-is-cut-because-it-is-longer-than-40-"


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


def test_a_name_that_is_given_is_taken_as_it_is(chart):
    """That of a release of 0.1.0 whose name was cut: where no cluster is looked at, its objects are found so."""
    release = LONG + "one"

    def named(*settings, **how):
        made = chart.render(*settings, release=release, **how)
        kinds = {"Deployment", "StatefulSet", "Service"}
        return {(each["kind"], each["metadata"]["name"]) for each in made if each["kind"] in kinds}

    assert named("fullnameOverride=" + LONG[:40].rstrip("-")) == named(chart=BEFORE)


def test_a_name_that_yaml_reads_as_a_number_stays_a_name(chart):
    on = ["networkPolicy.enabled=true", "monitoring.rules.enabled=true", "monitoring.serviceMonitor.enabled=true"]
    on += ["networkPolicy.from.metrics[0].ipBlock.cidr=::/0", "rbac.aggregate=true", "grafana.dashboards.enabled=true"]
    made = chart.render(*on, "fullnameOverride=1e3", release="123", namespace="456")
    made += chart.render(only="templates/test/job.yaml", release="on", namespace="456")

    def wrong(node, path):
        if isinstance(node, list):
            for value in node:
                yield from wrong(value, path)
        if isinstance(node, dict):
            for key, value in node.items():
                text = key in {"name", "namespace"} or path[-1:] in {("labels",), ("matchLabels",), ("annotations",)}
                if text and not isinstance(value, str):
                    yield (*path, key), value
                yield from wrong(value, (*path, key))

    outside = [
        each for each in made if each["kind"] != "CustomResourceDefinition"
    ]  # its schema has fields of these names
    assert [found for each in outside for found in wrong(each, (each["kind"],))] == []
    assert {each["metadata"].get("namespace", "456") for each in outside} == {"456"}
