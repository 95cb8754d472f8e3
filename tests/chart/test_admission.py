"""Where JobQueues may be made: the policy comes with the resource, and its message names the right namespaces."""

import pytest

NAME = "jobqueues.leveret.dev"
KINDS = {"CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def spec_of(objects, kind):
    (found,) = [each["spec"] for each in objects if each["kind"] == kind]
    return found


@pytest.mark.parametrize(
    ("settings", "allowed", "named"),
    [
        ([], '["leveret"]', "make it in leveret, or"),
        (
            ["admission.namespaces={shop,mails}"],
            '["leveret","shop","mails"]',
            "make it in one of leveret, shop, mails, or",
        ),
        (["admission.namespaces={shop,leveret}"], '["leveret","shop"]', "make it in one of leveret, shop, or"),
    ],
    ids=["the-releases-own", "others-beside-it", "its-own-named-too"],
)
def test_a_jobqueue_elsewhere_is_told_where_to_go(chart, settings, allowed, named):
    (validation,) = spec_of(chart.render(*settings), "ValidatingAdmissionPolicy")["validations"]
    assert validation["expression"] == f"request.namespace in {allowed}"
    assert named in validation["message"]
    assert validation["message"].endswith("add it to admission.namespaces of the release leveret in leveret")
    assert "\n" not in validation["message"], "the API server takes one line"


def test_only_a_new_spec_is_looked_at(objects):
    """What is there already can be labelled, reported on, released by its finalizers and deleted."""
    policy = spec_of(objects, "ValidatingAdmissionPolicy")
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["jobqueues"], ["CREATE", "UPDATE"])
    (condition,) = policy["matchConditions"]
    assert condition["expression"] == "oldObject == null || object.spec != oldObject.spec"


def test_it_is_in_force(objects):
    binding = spec_of(objects, "ValidatingAdmissionPolicyBinding")
    assert binding == {"policyName": NAME, "validationActions": ["Deny"]}


def test_a_release_without_the_resource_has_no_policy(chart):
    made = {each["kind"] for each in chart.render("crds.enabled=false")}
    assert made & KINDS == set()


def test_it_goes_when_the_release_does_and_the_resource_is_kept(chart):
    def annotations(*settings):
        made = {each["kind"]: each["metadata"].get("annotations") for each in chart.render(*settings)}
        return [made[kind] for kind in sorted(KINDS)]

    kept = {
        "helm.sh/resource-policy": "keep",
        "argocd.argoproj.io/sync-options": "Prune=false",
        "kustomize.toolkit.fluxcd.io/prune": "disabled",
    }
    assert annotations() == [kept, None, None]
    assert annotations("crds.keep=false") == [None, None, None]
