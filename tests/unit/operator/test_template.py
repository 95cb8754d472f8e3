"""Any JSON may stand in a template: it is merged, or refused by its name."""

from copy import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret_operator.template import TemplateInvalid, merge_template

OURS: dict[str, Any] = {
    "metadata": {"labels": {"leveret.dev/jobqueue": "a"}},
    "spec": {
        "terminationGracePeriodSeconds": 60,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001},
        "containers": [
            {
                "name": "consumer",
                "command": ["python"],
                "env": [{"name": "LEVERET_QUEUE", "value": "leveret.a"}],
                "ports": [{"name": "metrics", "containerPort": 9000}],
                "livenessProbe": {"periodSeconds": 10},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                "securityContext": {"capabilities": {"drop": ["ALL"]}},
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    },
}


Place = tuple[str | int, ...]


def places(value: object, place: Place = ()) -> list[Place]:
    """The way to everything in it."""
    inner: list[tuple[str | int, object]] = []
    match value:
        case dict():
            inner = list(value.items())
        case list():
            inner = list(enumerate(value))
    return [place, *(found for key, one in inner for found in places(one, (*place, key)))]


def replaced(value: Any, place: Place, by: object) -> Any:
    """The same with something else in one place."""
    if not place:
        return by
    (key, *rest), changed = place, copy(value)
    changed[key] = replaced(value[key], tuple(rest), by)
    return changed


ADDED: dict[str, object] = {
    "initContainers": [{"name": "first"}],
    "imagePullSecrets": [{"name": "secret"}],
    "hostNetwork": False,
}
LIKE_OURS: Any = OURS | {"spec": {**OURS["spec"], **ADDED}}
SHAPES: list[Any] = [None, True, 7, 1.5, "x", [], {}, [None], [[]], [{}], ["x"], [{"name": []}], {"name": {}}]

keys = st.sampled_from(sorted({key for place in places(LIKE_OURS) for key in place if isinstance(key, str)}))
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | keys
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
changed = st.builds(replaced, st.just(LIKE_OURS), st.sampled_from(places(LIKE_OURS)[1:]), anything)
templates = changed | st.dictionaries(keys, anything, max_size=3)


def merged_or_refused(template: dict[str, object]) -> Any:
    try:
        return merge_template(OURS, template)
    except TemplateInvalid as refused:
        return refused


def check(template: dict[str, object]) -> None:
    made = merged_or_refused(template)
    if isinstance(made, TemplateInvalid):
        assert made.field
        assert str(made).startswith(f"spec.consumer.template.{made.field} ")
        return
    consumer = made["spec"]["containers"][0]
    assert (consumer["name"], consumer["command"]) == ("consumer", ["python"])
    assert consumer["env"][0] == {"name": "LEVERET_QUEUE", "value": "leveret.a"}


@given(templates)
def test_any_json_is_merged_or_refused_by_its_name(template: dict[str, object]) -> None:
    check(template)


@pytest.mark.parametrize("place", [pytest.param(one, id=".".join(map(str, one))) for one in places(LIKE_OURS)[1:]])
def test_any_shape_in_any_place_is_merged_or_refused_by_its_name(place: Place) -> None:
    for shape in SHAPES:
        check(replaced(LIKE_OURS, place, shape))


def of_container(**fields: object) -> dict[str, object]:
    return {"spec": {"containers": [{"name": "consumer", **fields}]}}


CONSUMER = "spec.containers[consumer]"


@pytest.mark.parametrize(
    ("template", "field", "says"),
    [
        pytest.param({"spec": {"containers": [{"name": {}}]}}, "spec.containers[0].name", "is no text", id="a-map"),
        pytest.param({"spec": {"containers": [{"name": ["x"]}]}}, "spec.containers[0].name", "is no text", id="a-list"),
        pytest.param({"spec": {"volumes": [{"name": 7}]}}, "spec.volumes[0].name", "is no text", id="a-number"),
        pytest.param(of_container(env=[{"name": None}]), f"{CONSUMER}.env[0].name", "is no text", id="null"),
        pytest.param(
            of_container(volumeMounts=[{"mountPath": ["/x"]}]),
            f"{CONSUMER}.volumeMounts[0].mountPath",
            "is no text",
            id="a-path",
        ),
        pytest.param({"spec": {"containers": [None]}}, "spec.containers[0]", "is no map of fields", id="null-entry"),
        pytest.param(of_container(env=["A=b"]), f"{CONSUMER}.env[0]", "is no map of fields", id="a-text-entry"),
        pytest.param(
            {"spec": {"containers": [{"name": "consumr", "resources": {}}]}},
            "spec.containers[consumr]",
            "has no image; the one that is there already is called consumer",
            id="a-slip-in-our-containers-name",
        ),
        pytest.param({"spec": {"containers": [{"env": []}]}}, "spec.containers[0]", "is called consumer", id="no-name"),
        pytest.param({"spec": {"containers": {}}}, "spec.containers", "is set by Leveret", id="a-map-for-a-list"),
        pytest.param({"spec": []}, "spec", "is set by Leveret", id="a-list-for-a-map"),
    ],
)
def test_what_cannot_be_merged_is_named(template: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(TemplateInvalid, match=says) as refused:
        merge_template(OURS, template)
    assert refused.value.field == field


def test_an_entry_needs_no_name_where_kubernetes_needs_none() -> None:
    merged: Any = merge_template(OURS, of_container(ports=[{"containerPort": 80}]))
    assert merged["spec"]["containers"][0]["ports"][1] == {"containerPort": 80}
