"""A value that is null: helm takes its key out of the values, so that templates meet nothing there."""

import copy
import json
from functools import reduce

import jsonschema
import pytest
import yaml

from charts.render import CHART

ON = {
    "monitoring": {"rules": {"enabled": True}, "serviceMonitor": {"enabled": True}},
    "networkPolicy": {"enabled": True, "from": {"metrics": [{"podSelector": {}}]}},
}


def paths(node, path=()):
    for key, value in node.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from paths(value, (*path, key))


def without(values, path):
    left = copy.deepcopy(values)
    del reduce(dict.__getitem__, path[:-1], left)[path[-1]]
    return left


def within(path, others):
    return any(path[:length] in others for length in range(1, len(path)))


@pytest.fixture(scope="module")
def free():
    """The paths of all values that the schema lets be null, but those that switch on what is looked at."""
    validator = jsonschema.Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    kept = set(paths(ON))
    return {path for path in paths(values) if path not in kept and validator.is_valid(without(values, path))}


@pytest.mark.parametrize("whole", [False, True], ids=["each leaf", "whole objects"])
def test_is_its_default_where_the_schema_does_not_refuse_it(chart, tmp_path, free, whole):
    """What the schema refuses it calls by its name."""
    assert ("operator", "podLabels") in free
    above = {path[:length] for path in free for length in range(1, len(path))}
    values = copy.deepcopy(ON)
    for path in [path for path in free if not within(path, free)] if whole else free - above:
        reduce(lambda node, key: node.setdefault(key, {}), path[:-1], values)[path[-1]] = None
    quiet = tmp_path / "values.yaml"
    quiet.write_text(yaml.safe_dump(values))
    made = {(each["kind"], each["metadata"]["name"]): each for each in chart.render(values=str(quiet))}
    producer = made["Deployment", "leveret-producer"]
    assert "{'name': 'LEVERET_OUTBOX_LIMIT', 'value': '1000000'}" in str(producer)
    assert "> 1000000 / 2" in str(made["PrometheusRule", "leveret"])
    images = {
        each["spec"]["template"]["spec"]["containers"][0]["image"]
        for key, each in made.items()
        if key[0] == "Deployment"
    }
    assert not [image for image in images if image.startswith((":", "/")) or image.endswith(":")]
    test = chart.render(values=str(quiet), only="templates/test/job.yaml")
    (queue,) = [each for each in test if each["kind"] == "JobQueue"]
    assert queue["spec"]["consumer"]["image"].startswith("leveret/consumer:")
