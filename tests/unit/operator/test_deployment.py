"""The consumers' Deployment, and what a template may and may not change."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from leveret_operator.dead_letter_sources import Source
from leveret_operator.deployment import Surroundings, build_deployment, grace_seconds, selector_text
from leveret_operator.jobqueue import JobQueue, QueueSpec
from leveret_operator.template import TemplateInvalid, left_out

AROUND = Surroundings("leveret-broker", "IfNotPresent", "json")


def build(jobqueue: JobQueue, template: dict[str, object] | None = None) -> Any:
    consumer = replace(jobqueue.consumer, template=template or {})
    return build_deployment(replace(jobqueue, consumer=consumer), AROUND)


def pod(jobqueue: JobQueue, template: dict[str, object] | None = None) -> Any:
    return build(jobqueue, template)["spec"]["template"]["spec"]


def test_who_it_belongs_to_and_what_selects_its_pods(jobqueue: JobQueue) -> None:
    made = build(jobqueue)
    owner = made["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("JobQueue", jobqueue.uid, True)
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["leveret.dev/jobqueue"] == "url-check"
    assert selector_text(jobqueue) == "app.kubernetes.io/component=consumer,leveret.dev/jobqueue=url-check"
    assert "replicas" not in made["spec"]  # the size is written through /scale alone


def test_what_a_consumer_is_told(jobqueue: JobQueue) -> None:
    container = pod(jobqueue)["containers"][0]
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert values["LEVERET_QUEUE"] == "leveret.url-check"
    assert (values["LEVERET_CONCURRENCY"], values["LEVERET_TIMEOUT"]) == ("50", "30s")
    assert (
        values["LEVERET_RETRY"] == '{"maxAttempts":5,"backoff":{"initial":"1s","factor":2,"max":"10m","jitter":"full"}}'
    )
    assert (values["LEVERET_DELIVERY_LIMIT"], values["LEVERET_GRACE_PERIOD"]) == ("20", "1m")
    assert (values["LEVERET_BROKER_URL"], values["LEVERET_SOURCE_QUEUE"], values["LEVERET_PROBE_PORT"]) == (
        "",
        "",
        "9000",
    )
    assert values["LEVERET_VERSION"] == jobqueue.version
    assert container["command"] == ["python", "-m", "leveret_consumer"]


def test_what_a_consumer_is_told_of_its_queue_and_of_dead_letters_beside_it(jobqueue: JobQueue) -> None:
    named = replace(jobqueue, queue_spec=QueueSpec("shop.mails", 100, 3, "other"), timeout=timedelta(seconds=45))
    made: Any = build_deployment(named, AROUND, Source("shop.other"))
    values = {entry["name"]: entry.get("value") for entry in made["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (values["LEVERET_QUEUE"], values["LEVERET_SOURCE_QUEUE"]) == ("shop.mails", "shop.other.dead")
    assert (values["LEVERET_DELIVERY_LIMIT"], values["LEVERET_GRACE_PERIOD"]) == ("3", "75s")
    assert made["metadata"]["name"] == "url-check-consumer"


def test_each_secret_is_a_folder(jobqueue: JobQueue) -> None:
    def folders(around: Surroundings) -> dict[str, str]:
        made: Any = build_deployment(jobqueue, around)
        spec = made["spec"]["template"]["spec"]
        secrets = {each["name"]: each["secret"]["secretName"] for each in spec["volumes"] if "secret" in each}
        mounts = {each["name"]: each for each in spec["containers"][0]["volumeMounts"]}
        assert all(mounts[name]["readOnly"] for name in secrets)
        return {mounts[name]["mountPath"]: secret for name, secret in secrets.items()}

    assert folders(AROUND) == {"/etc/leveret/broker": "leveret-broker"}  # an older chart makes no other
    named = replace(AROUND, installation_secret="mine")
    assert folders(named) == {"/etc/leveret/broker": "leveret-broker", "/etc/leveret/installation": "mine"}


def test_pod_security_is_restricted(jobqueue: JobQueue) -> None:
    spec = pod(jobqueue)
    container = spec["containers"][0]["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        pytest.param(timedelta(seconds=30), 60, id="whole"),
        pytest.param(timedelta(milliseconds=250), 31, id="rounded-up"),
        pytest.param(timedelta(hours=2), 7_230, id="long"),
    ],
)
def test_the_grace_period_is_an_attempt_and_thirty_seconds(
    jobqueue: JobQueue, timeout: timedelta, seconds: int
) -> None:
    assert grace_seconds(timeout) == seconds
    assert pod(replace(jobqueue, timeout=timeout))["terminationGracePeriodSeconds"] == seconds


def test_a_template_is_merged_by_name(jobqueue: JobQueue) -> None:
    spec = pod(
        jobqueue,
        {
            "metadata": {"labels": {"team": "shop"}, "annotations": {"a": "b"}},
            "spec": {
                "nodeSelector": {"disk": "ssd"},
                "volumes": [{"name": "cache", "emptyDir": {}}],
                "containers": [
                    {
                        "name": "consumer",
                        "env": [{"name": "SHOP", "value": "1"}],
                        "resources": {"limits": {"memory": "1Gi"}},
                        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                    },
                    {"name": "sidecar", "image": "s:1"},
                ],
            },
        },
    )
    consumer, sidecar = spec["containers"]
    assert {"name": "SHOP", "value": "1"} in consumer["env"]
    assert {"LEVERET_QUEUE", "SHOP"} <= {entry["name"] for entry in consumer["env"]}
    assert [mount["mountPath"] for mount in consumer["volumeMounts"]] == ["/etc/leveret/broker", "/tmp", "/cache"]
    assert sidecar == {"name": "sidecar", "image": "s:1"}
    assert (spec["nodeSelector"], consumer["resources"]) == ({"disk": "ssd"}, {"limits": {"memory": "1Gi"}})


CONSUMER = "spec.containers[consumer]"


def of_pod(**fields: object) -> dict[str, object]:
    return {"spec": fields}


def of_container(**fields: object) -> dict[str, object]:
    return {"spec": {"containers": [{"name": "consumer", **fields}]}}


@pytest.mark.parametrize(
    ("template", "field"),
    [
        pytest.param(of_pod(terminationGracePeriodSeconds=5), "spec.terminationGracePeriodSeconds", id="grace"),
        pytest.param(of_pod(hostNetwork=True), "spec.hostNetwork", id="host-network"),
        pytest.param(of_pod(securityContext={"runAsNonRoot": False}), "spec.securityContext.runAsNonRoot", id="root"),
        pytest.param(
            of_pod(volumes=[{"name": "leveret-broker", "emptyDir": {}}]), "spec.volumes[leveret-broker]", id="volume"
        ),
        pytest.param(of_container(command=["sh"]), f"{CONSUMER}.command", id="command"),
        pytest.param(of_container(args=["-x"]), f"{CONSUMER}.args", id="args"),
        pytest.param(of_container(image="other"), f"{CONSUMER}.image", id="image"),
        pytest.param(of_container(livenessProbe={"initialDelaySeconds": 9}), f"{CONSUMER}.livenessProbe", id="probe"),
        pytest.param(of_container(lifecycle={"preStop": {}}), f"{CONSUMER}.lifecycle", id="lifecycle"),
        pytest.param(
            of_container(env=[{"name": "LEVERET_QUEUE", "value": "mine"}]),
            f"{CONSUMER}.env[LEVERET_QUEUE]",
            id="variable",
        ),
        pytest.param(
            of_container(volumeMounts=[{"name": "x", "mountPath": "/tmp"}]),
            f"{CONSUMER}.volumeMounts[/tmp]",
            id="mount",
        ),
        pytest.param(
            of_container(securityContext={"capabilities": {"add": ["NET_ADMIN"]}}),
            f"{CONSUMER}.securityContext.capabilities.add",
            id="capability",
        ),
        pytest.param(
            {"metadata": {"labels": {"leveret.dev/jobqueue": "x"}}}, "metadata.labels.leveret.dev/jobqueue", id="label"
        ),
    ],
)
def test_what_is_ours_is_refused_by_its_name(jobqueue: JobQueue, template: dict[str, object], field: str) -> None:
    with pytest.raises(TemplateInvalid) as refused:
        build(jobqueue, template)
    assert refused.value.field == field


def test_saying_the_same_again_is_no_change(jobqueue: JobQueue) -> None:
    same = of_container(command=["python", "-m", "leveret_consumer"], lifecycle=None)
    assert pod(jobqueue, same)["containers"][0]["command"] == ["python", "-m", "leveret_consumer"]


def test_variables_of_ours_that_nobody_refused_are_left_out_and_said(jobqueue: JobQueue) -> None:
    """Version 0.1.0 took them: one could lead a consumer to a queue that its JobQueue may not have."""
    strange = [
        "LEVERET_BROKER_URL",
        "LEVERET_PROBE_PORT",
        "LEVERET_SOURCE_QUEUE",
        "LEVERET_STARTUP_TIMEOUT",
        "LEVERET_NEW",
    ]
    users = [
        "LEVERET_GRACE",
        "LEVERET_LANE",
        "LEVERET_LOOP",
        "LEVERET_OUTBOX_DATABASE_URL",
        "LEVERET_TOKEN",
        "LEVERET_URL",
    ]
    named = [{"name": name, "value": "x"} for name in (*strange, *users, "SHOP")]
    template = of_container(env=named)
    sidecar = {"name": "sidecar", "image": "s:1", "env": named}
    template["spec"]["containers"].append(sidecar)  # type: ignore[index] # its variables are the user's
    consumer, beside = pod(jobqueue, template)["containers"]
    values = {entry["name"]: entry.get("value") for entry in consumer["env"]}
    assert [name for name in values if values[name] == "x"] == [*users, "SHOP"]
    assert (values["LEVERET_SOURCE_QUEUE"], values["LEVERET_STARTUP_TIMEOUT"]) == ("", "2m")
    assert beside == sidecar
    assert [sentence.split()[2] for sentence in left_out(template)] == [f"{name}," for name in strange]


def test_services_set_no_variables_unless_a_user_wants_them(jobqueue: JobQueue) -> None:
    assert pod(jobqueue)["enableServiceLinks"] is False
    assert pod(jobqueue, of_pod(enableServiceLinks=True))["enableServiceLinks"] is True


def test_a_user_may_choose_the_user(jobqueue: JobQueue) -> None:
    assert pod(jobqueue, of_pod(securityContext={"runAsUser": 1234}))["securityContext"]["runAsUser"] == 1234


def test_a_user_may_leave_the_user_to_the_image(jobqueue: JobQueue) -> None:
    security = pod(jobqueue, of_pod(securityContext={"runAsUser": None}))["securityContext"]
    assert "runAsUser" not in security
    assert "runAsGroup" not in security, "a group without a user is refused by the container runtime"
    assert (security["runAsNonRoot"], security["fsGroup"]) == (True, 10001)
    named = pod(jobqueue, of_pod(securityContext={"runAsUser": None, "runAsGroup": 7}))["securityContext"]
    assert ("runAsUser" in named, named["runAsGroup"]) == (False, 7)


def test_home_and_the_names_of_the_user_are_there_and_may_be_others(jobqueue: JobQueue) -> None:
    def values(template: dict[str, object] | None = None) -> dict[str, str]:
        return {one["name"]: one.get("value") for one in pod(jobqueue, template)["containers"][0]["env"]}

    found = values()
    assert (found["HOME"], found["USER"], found["LOGNAME"]) == ("/tmp", "leveret", "leveret")
    other = values(of_container(env=[{"name": "HOME", "value": "/app"}]))
    assert (other["HOME"], other["USER"]) == ("/app", "leveret")


@pytest.mark.parametrize(
    ("minutes", "failures", "deadline"),
    [
        pytest.param(2, 60, None, id="default"),
        pytest.param(9, 270, None, id="Kubernetes waits for longer by itself"),
        pytest.param(30, 900, 1920, id="the longest"),
    ],
)
def test_the_startup_timeout_sets_probe_variable_and_deadline(
    jobqueue: JobQueue, minutes: int, failures: int, deadline: int | None
) -> None:
    consumer = replace(jobqueue.consumer, startup_timeout=timedelta(minutes=minutes))
    spec = build(replace(jobqueue, consumer=consumer))["spec"]
    container = spec["template"]["spec"]["containers"][0]
    probe = container["startupProbe"]
    assert (probe["httpGet"]["path"], probe["periodSeconds"], probe["failureThreshold"]) == ("/healthz", 2, failures)
    assert {"name": "LEVERET_STARTUP_TIMEOUT", "value": f"{minutes}m"} in container["env"]
    assert spec.get("progressDeadlineSeconds") == deadline
