"""Why consumers can't run: pods and Deployments as the API server gives them, and what is made of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leveret_operator.available import Availability, judge, recall
from leveret_operator.conditions import State
from leveret_operator.jobqueue import Condition, Deployment
from leveret_operator.parsing import parse_deployment
from leveret_operator.pod_parsing import parse_pod
from leveret_operator.pods import Pod

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(hours=1)
SERVING = Availability(State(True, "Available", "…"), was_ready=True)
NEWEST, OLD = "6c9f", "aaaa"


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


def condition(type_: str, status: bool, reason: str = "", message: str = "", since: float = 300) -> dict[str, Any]:
    told = {"type": type_, "status": str(status), "reason": reason, "message": message}
    return {**told, "lastTransitionTime": ago(since)}


def deployment(wanted: int = 1, ready: int = 0, *more: dict[str, Any], newest: str = NEWEST, **meta: Any) -> Deployment:
    told = condition("Progressing", True, "ReplicaSetUpdated", f'ReplicaSet "bench-consumer-{newest}" is progressing.')
    kinds = {one["type"] for one in more}
    status = {"readyReplicas": ready, "replicas": ready, "observedGeneration": 2}
    given = {"name": "bench-consumer", "uid": "d1", "generation": 2, **meta}
    conditions = [*more] if "Progressing" in kinds else [told, *more]
    template = {"image": newest}
    return parse_deployment(
        {
            "metadata": given,
            "spec": {"replicas": wanted, "template": template},
            "status": {**status, "conditions": conditions},
        }
    )


def container(name: str = "consumer", **state: Any) -> dict[str, Any]:
    return {"name": name, "ready": False, "started": False, "restartCount": 0, **state}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def ended(code: int, reason: str = "Error", message: str = "", ran: float = 2) -> dict[str, Any]:
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": ago(60 + ran),
            "finishedAt": ago(60),
        }
    }


def running(seconds: float = 30, **state: Any) -> dict[str, Any]:
    return {"state": {"running": {"startedAt": ago(seconds)}}, **state}


def pod(
    *containers: dict[str, Any],
    first: tuple[dict[str, Any], ...] = (),
    told: tuple[dict[str, Any], ...] = (),
    ready: bool = False,
    of: str = NEWEST,
    name: str = "x",
    age: float = 300,
    meta: dict[str, Any] | None = None,
    volumes: tuple[dict[str, Any], ...] = (),
    **status: Any,
) -> Pod:
    owner = {"controller": True, "kind": "ReplicaSet", "name": f"bench-consumer-{of}"}
    body = {
        "metadata": {
            "name": f"bench-consumer-{of}-{name}",
            "uid": f"{of}-{name}",
            "creationTimestamp": ago(age),
            "ownerReferences": [owner],
            **(meta or {}),
        },
        "spec": {"volumes": list(volumes)},
        "status": {
            "phase": "Pending",
            "conditions": [condition("Ready", ready, since=age), *told],
            "initContainerStatuses": list(first),
            "containerStatuses": list(containers),
            **status,
        },
    }
    found = parse_pod(body)
    assert found is not None
    return found


READY = pod(container(**running(), ready=True), ready=True)
OLD_READY = pod(container(**running(), ready=True), ready=True, of=OLD, age=4_000)
PULL = waiting("ImagePullBackOff", 'Back-off pulling image "example/none:1"')
NO_IMAGE = pod(container(**PULL))
WORDS = "LEVERET_HANDLERS names the module nowhere, and there is no nowhere on the Python path"
UNSCHEDULABLE = condition("PodScheduled", False, "Unschedulable", "0/1 nodes are available", since=15)
NOT_SET_UP = condition("PodReadyToStartContainers", False, since=40)
QUOTA = condition("ReplicaFailure", True, "FailedCreate", 'pods "x" is forbidden: exceeded quota: q')
LATE = condition(
    "Progressing", False, "ProgressDeadlineExceeded", f'ReplicaSet "bench-consumer-{NEWEST}" has timed out'
)
CREATING = waiting("ContainerCreating")
LOOP = waiting("CrashLoopBackOff", "back-off 10s restarting failed container=consumer")

CANNOT = [
    pytest.param((NO_IMAGE,), "ImagePullBackOff", "example/none:1", id="image"),
    pytest.param((pod(container(**waiting("ErrImagePull", "not found"))),), "ImagePullBackOff", "not found", id="pull"),
    pytest.param(
        (pod(container(**waiting("ErrImagePull", "no basic auth"))),), "ImagePullBackOff", "a pull secret", id="secret"
    ),
    pytest.param(
        (pod(container(**waiting("InvalidImageName", "couldn't parse"))),), "InvalidImageName", "parse", id="name"
    ),
    pytest.param(
        (pod(container(**LOOP, lastState=ended(1, message=WORDS))),), "CrashLoopBackOff", WORDS, id="crash-loop"
    ),
    pytest.param(
        (pod(container(state=ended(1, message=WORDS), restartCount=2)),), "CrashLoopBackOff", WORDS, id="just-ended"
    ),
    pytest.param(
        (pod(container(**running(1), lastState=ended(3), restartCount=2)),),
        "CrashLoopBackOff",
        "exit code 3; kubectl logs",
        id="runs-between-two-crashes",
    ),
    pytest.param((pod(container(**LOOP)),), "CrashLoopBackOff", "back-off 10s", id="crash-loop-and-no-more"),
    pytest.param(
        (pod(container(**LOOP, lastState=ended(137, "OOMKilled"))),), "OOMKilled", "raise the limit", id="memory"
    ),
    pytest.param(
        (pod(container(**waiting("CreateContainerConfigError", 'secret "shop" not found'))),),
        "CreateContainerConfigError",
        'secret "shop" not found',
        id="a-missing-secret",
    ),
    pytest.param(
        (pod(container(**waiting("RunContainerError", "no such file"))),), "RunContainerError", "no such", id="run"
    ),
    pytest.param((pod(told=(UNSCHEDULABLE,)),), "Unschedulable", "0/1 nodes are available", id="unschedulable"),
    pytest.param(
        (pod(container(**CREATING), told=(NOT_SET_UP,)),), "FailedMount", "kubectl describe pod", id="a-missing-volume"
    ),
    pytest.param((pod(container(**running(126))),), "StartupProbeFailed", "startup probe", id="startup-probe"),
    pytest.param(
        (pod(container(**running(20), lastState=ended(137, ran=150))),),
        "StartupProbeFailed",
        "startup probe",
        id="startup-probe-and-restarted",
    ),
    pytest.param((pod(container(**running(61), started=True)),), "NotReady", "container consumer", id="never-ready"),
    pytest.param(
        (pod(container(**CREATING), age=601),), "NotReady", "for 10 minutes: container consumer waits", id="pulls"
    ),
    pytest.param(
        (pod(container(**waiting("PodInitializing")), first=(container("copy", **running(590)),), age=601),),
        "NotReady",
        "container copy runs and is not done starting",
        id="an-init-container-that-hangs",
    ),
    pytest.param(
        (pod(container(**waiting("PodInitializing")), first=(container("copy", **PULL),)),),
        "ImagePullBackOff",
        "container copy",
        id="an-init-container",
    ),
    pytest.param(
        (
            pod(
                container(**waiting("PodInitializing")),
                first=(container("copy", restartCount=2, state=ended(2, message="no key")),),
            ),
        ),
        "CrashLoopBackOff",
        "container copy ended with exit code 2: no key",
        id="an-init-container-that-fails",
    ),
    pytest.param(
        (pod(container(**running(), ready=True), container("proxy", **LOOP, lastState=ended(1))),),
        "CrashLoopBackOff",
        "container proxy",
        id="a-sidecar",
    ),
    pytest.param(
        (pod(container(**running(90), ready=True), container("proxy", **running(90))),), "NotReady", "proxy", id="side"
    ),
    pytest.param(
        (NO_IMAGE, pod(container(**LOOP), name="y"), pod(container(**LOOP), name="z")),
        "CrashLoopBackOff",
        "(and 1 more); beside that ImagePullBackOff of 1",
        id="what-most-have",
    ),
    pytest.param((pod(container(**LOOP), name="y"), NO_IMAGE), "CrashLoopBackOff", "beside that", id="a-tie"),
    pytest.param(
        tuple(
            pod(name=name, age=60, phase="Failed", reason="Evicted", message="The node was low on memory")
            for name in "ab"
        ),
        "Evicted",
        "2 pods one after the other were ended: The node was low on memory",
        id="one-pod-after-the-other-is-evicted",
    ),
    pytest.param((pod(container(**PULL), of=OLD),), "ImagePullBackOff", "example/none:1", id="only-older-pods"),
]


@pytest.mark.parametrize(("pods", "reason", "says"), CANNOT)
def test_what_keeps_consumers_from_running_is_named(pods: tuple[Pod, ...], reason: str, says: str) -> None:
    state = judge(deployment(len(pods)), pods, SERVING, NOW).state
    assert (state.good, state.reason) == (False, reason)
    assert says in state.message
    beside = judge(deployment(len(pods) + 1, 1), (*pods, READY), SERVING, NOW).state
    if reason != "Evicted" and pods[0].replica_set == NEWEST:
        assert (beside.good, beside.reason, beside.wrong) == (True, reason, True)
        assert says in beside.message


@pytest.mark.parametrize(
    ("there", "reason", "says"),
    [
        pytest.param(deployment(2, 0, QUOTA), "FailedCreate", "exceeded quota: q", id="quota"),
        pytest.param(deployment(2, 0, LATE), "ProgressDeadlineExceeded", "has timed out", id="no-progress"),
        pytest.param(deployment(2, 0, LATE, QUOTA), "FailedCreate", "exceeded quota", id="the-cause-comes-first"),
    ],
)
def test_what_only_the_deployment_knows_is_named(there: Deployment, reason: str, says: str) -> None:
    state = judge(there, (), SERVING, NOW).state
    assert (state.good, state.reason) == (False, reason)
    assert says in state.message


def test_pods_beyond_a_quota_are_said_beside_those_that_run() -> None:
    state = judge(deployment(5, 1, QUOTA), (READY,), SERVING, NOW).state
    assert (state.good, state.reason, state.wrong) == (True, "FailedCreate", True)
    assert state.message.startswith("1 ready, 5 wanted; other pods can't run: ")


STARTS = [
    pytest.param((), id="no-pod-yet"),
    pytest.param((pod(told=(condition("PodScheduled", False, "Unschedulable", since=9),)),), id="looks-for-a-node"),
    pytest.param((pod(age=1),), id="placed-and-nothing-more"),
    pytest.param(
        (pod(container(**CREATING), told=(condition("PodReadyToStartContainers", False, since=19),)),), id="set-up"
    ),
    pytest.param(
        (pod(container(**CREATING), told=(NOT_SET_UP,), volumes=({"persistentVolumeClaim": {}},)),), id="slow-volume"
    ),
    pytest.param((pod(container(**CREATING), told=(condition("PodReadyToStartContainers", True),)),), id="a-long-pull"),
    pytest.param((pod(container(**running(100))),), id="imports"),
    pytest.param((pod(container(**running(59), started=True)),), id="connects"),
    pytest.param((pod(container(**waiting("PodInitializing")), first=(container("c", **running(900)),)),), id="init"),
    pytest.param((pod(container(**CREATING), age=599),), id="a-pull-of-ten-minutes"),
    pytest.param(
        (pod(container(**running(20)), first=(container("c", ready=True, state=ended(0, "Completed")),)),),
        id="after-init",
    ),
    pytest.param(
        (pod(container(**running(3), lastState=ended(255, "Unknown", ran=9_000))),), id="its-node-started-again"
    ),
    pytest.param((pod(container(state=ended(1))),), id="ended-once"),
    pytest.param((pod(container(**running(3), lastState=ended(137, ran=200), restartCount=1)),), id="was-killed-once"),
    pytest.param((pod(container(**running(3), lastState=ended(1, ran=9_000), restartCount=7)),), id="ran-for-long"),
    pytest.param((pod(container(**PULL), meta={"deletionTimestamp": ago(1)}),), id="only-one-that-goes"),
    pytest.param((pod(container(**PULL), of=OLD, age=900), pod(age=1)), id="the-mended-one-starts-beside-the-bad"),
    pytest.param((pod(phase="Failed", reason="Evicted", age=60), pod(age=1, name="y")), id="made-anew-once"),
    pytest.param(
        tuple(pod(phase="Failed", reason="Evicted", age=4_000, name=name) for name in "ab"), id="evicted-long-ago"
    ),
]


@pytest.mark.parametrize("pods", STARTS)
def test_what_starts_and_has_not_failed_changes_nothing(pods: tuple[Pod, ...]) -> None:
    failed = State(False, "ImagePullBackOff", "no image")
    assert judge(deployment(), pods, Availability(), NOW).state.good is None
    assert judge(deployment(), pods, SERVING, NOW).state.good is True
    assert judge(deployment(), pods, SERVING, NOW).state.reason == "Starting"
    assert judge(deployment(), pods, Availability(failed), NOW).state == failed


def test_an_update_that_cannot_start_is_said_while_the_old_ones_serve() -> None:
    state = judge(deployment(1, 1), (OLD_READY, NO_IMAGE), SERVING, NOW).state
    assert (state.good, state.reason, state.wrong) == (True, "ImagePullBackOff", True)
    assert "example/none:1" in state.message


@pytest.mark.parametrize("newest", [NEWEST, "", "unknown"])
def test_what_the_old_ones_lack_is_no_news_once_the_new_ones_run(newest: str) -> None:
    told = condition(
        "Progressing", True, "X", f'ReplicaSet "bench-consumer-{newest}"' if newest else "another sentence"
    )
    old = pod(container(**PULL), of=OLD, age=900)
    state = judge(deployment(1, 1, told), (old, READY), SERVING, NOW).state
    assert state.good is True
    assert state.reason == ("Available" if newest != "unknown" else "ImagePullBackOff")


def test_none_wanted_is_fine_whatever_there_is() -> None:
    assert judge(deployment(0, 0, QUOTA), (NO_IMAGE,), Availability(), NOW).state.reason == "NoneWanted"


def test_what_the_deployments_controller_has_not_seen_yet_is_not_judged() -> None:
    seen = judge(deployment(1, 1, generation=3), (NO_IMAGE,), SERVING, NOW)
    assert (seen.state, seen.was_ready) == (SERVING.state, True)


def test_a_start_from_zero_moves_nothing() -> None:
    story = [
        (deployment(0), ()),
        (deployment(3), ()),
        (deployment(3), (pod(age=1),)),
        (deployment(3), (pod(container(**running(2))),)),
        (deployment(3, 1), (READY, pod(container(**running(2)), name="y"))),
        (deployment(0, 1), (READY,)),
    ]
    known, states = SERVING, []
    for there, pods in story:
        known = judge(there, pods, known, NOW)
        states.append((known.state.good, known.state.reason))
    reasons = ["NoneWanted", "Starting", "Starting", "Starting", "Available", "NoneWanted"]
    assert states == [(True, reason) for reason in reasons]


@pytest.mark.parametrize(
    ("there", "pods", "reason"),
    [
        pytest.param(deployment(2), (pod(told=(UNSCHEDULABLE,)), pod(age=1, name="y")), "Unschedulable", id="no-room"),
        pytest.param(deployment(5, 0, QUOTA), (pod(container(**running(2))),), "FailedCreate", id="quota"),
    ],
)
def test_those_that_have_no_room_do_not_make_those_that_start_unavailable(
    there: Deployment, pods: tuple[Pod, ...], reason: str
) -> None:
    state = judge(there, pods, SERVING, NOW).state
    assert (state.good, state.reason, state.wrong) == (True, reason, True)
    assert judge(there, pods, Availability(), NOW).state.good is None
    assert "some can't run" in state.message


def test_the_last_consumer_stays_until_one_was_ready_or_ten_minutes_are_over() -> None:
    known = judge(deployment(), (NO_IMAGE,), Availability(), NOW)
    for minutes, may_go in ((0, False), (9.9, False), (10, True)):
        later = NOW + timedelta(minutes=minutes)
        known = judge(deployment(), (NO_IMAGE,), known, later)
        assert known.may_go(later) is may_go
    once = judge(deployment(1, 1), (READY,), Availability(), NOW)
    assert once.may_go(NOW)
    assert judge(deployment(), (NO_IMAGE,), once, NOW).may_go(NOW)  # of the same template
    other = deployment(1, 1, newest="other")
    assert not judge(other, (READY, pod(container(**PULL), of="other")), once, NOW).may_go(NOW)


def recorded(status: str, reason: str) -> Availability:
    return recall([Condition("ConsumersAvailable", status, reason, "m", NOW - timedelta(minutes=8), 1)])


@pytest.mark.parametrize(
    ("before", "may_go"),
    [
        pytest.param(recall([]), False, id="nothing-recorded"),
        pytest.param(recorded("True", "Available"), True, id="one-was-ready"),
        pytest.param(recorded("True", "NoneWanted"), False, id="true-and-never-ready"),
        pytest.param(recorded("False", "ImagePullBackOff"), False, id="8-min-ago"),
    ],
)
def test_an_operator_goes_on_from_what_an_earlier_one_wrote(before: Availability, may_go: bool) -> None:
    known = judge(deployment(), (NO_IMAGE,), before, NOW)
    assert (known.may_go(NOW), known.state.good) == (may_go, False)
    later = NOW + timedelta(minutes=2)
    ten_minutes_are_over = before.state.good is False
    assert judge(deployment(), (NO_IMAGE,), known, later).may_go(later) is (may_go or ten_minutes_are_over)


def test_what_others_say_is_bounded_and_one_line() -> None:
    state = judge(deployment(), (pod(container(**waiting("ErrImagePull", "very\nlong " * 900))),), SERVING, NOW).state
    assert len(state.message) < 900
    assert "\n" not in state.message


def test_a_pod_that_says_nothing_is_read() -> None:
    owner = [{"controller": True, "name": "bench-consumer-1"}]
    empty = parse_pod({"metadata": {"name": "x", "uid": "u", "ownerReferences": owner}})
    assert empty is not None
    assert judge(deployment(), (empty,), SERVING, NOW).state.reason == "Starting"
    assert parse_pod({"metadata": {"name": "x", "uid": "u"}}) is None


def test_who_asked_for_a_longer_start_is_given_it() -> None:
    half_an_hour = timedelta(minutes=30)
    imports = pod(container(**running(250, started=True)))
    assert judge(deployment(), (imports,), Availability(), NOW, half_an_hour).state.reason == "Starting"
    assert judge(deployment(), (imports,), Availability(), NOW).state.reason == "NotReady"
    known = Availability(since=NOW - timedelta(minutes=20), starts_within=half_an_hour)
    assert not known.may_go(NOW)
    assert known.may_go(NOW + timedelta(minutes=10))
