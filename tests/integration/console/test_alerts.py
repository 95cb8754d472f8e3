"""The alerts, evaluated by promtool: in each story exactly those fire that should, with a sentence that is true."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from alerts import DEFAULTS, alerts, rule_file
from containers import LABEL, docker

UP = {
    f'up{{job="leveret",namespace="leveret",component="{part}",pod="1"}}': "1x60" for part in ("operator", "producer")
}
ALERTS = {alert["alert"]: alert for alert in alerts()}
QUEUE = {"queue": "leveret.a"}


@dataclass(frozen=True)
class Story:
    """Series with a value a minute from minute 0 on, and which alerts fire when: {minute: {alert: sentence}}."""

    name: str
    series: Mapping[str, str]
    fires: Mapping[int, Mapping[str, str]]
    labels: Mapping[str, str] = field(default_factory=dict)

    def test(self) -> dict[str, object]:
        checks = [
            {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": self._expected(name, sentences)}
            for minute, sentences in self.fires.items()
            for name in ALERTS
        ]
        series = [{"series": name, "values": values} for name, values in (UP | dict(self.series)).items()]
        return {"name": self.name, "interval": "1m", "input_series": series, "alert_rule_test": checks}

    def _expected(self, name: str, sentences: Mapping[str, str]) -> list[dict[str, object]]:
        if name not in sentences:
            return []
        page = f"{DEFAULTS['runbooks']}/{name}.md"
        labels = ALERTS[name]["labels"] | self.labels
        return [{"exp_labels": labels, "exp_annotations": {"summary": sentences[name], "runbook_url": page}}]


def one(metric: str, **labels: str) -> str:
    """Name a series of this installation."""
    said = ",".join(f'{key}="{value}"' for key, value in {"namespace": "leveret", "pod": "1", **labels}.items())
    return f"{metric}{{{said}}}"


def up(component: str, pod: str = "1") -> str:
    return f'up{{job="leveret",namespace="leveret",component="{component}",pod="{pod}"}}'


def story(name: str, series: Mapping[str, str], fires: Mapping[int, Mapping[str, str]], **labels: str) -> Story:
    return Story(name, series, fires, labels)


NO_OPERATOR = {"LeveretOperatorDown": "The operator has not answered for 3 minutes; nothing is scaled."}
NO_PRODUCER = {
    "LeveretProducersDown": "No producer has answered for a minute; no job is accepted over HTTP, and no state is recorded."
}
ALARM = {
    "LeveretBrokerAlarm": "The broker is short of memory or disk and takes no messages; jobs wait in the database."
}
READY, WANTED = one("leveret_scaling_ready_replicas", **QUEUE), one("leveret_scaling_desired_replicas", **QUEUE)
NONE_READY = {
    "LeveretNoConsumerReady": "Queue leveret.a wants consumers and has had none that takes jobs for 10 minutes."
}
PENDING, CONFIRMS = one("leveret_outbox_pending"), one("leveret_publish_confirm_seconds_count")
DEAD, OLDEST = one("leveret_queue_dead_letters", **QUEUE), one("leveret_queue_oldest_age_seconds", **QUEUE)
TURNS = one("leveret_operator_turn_failures_total", **QUEUE)
WAITING, UNACKED = one("leveret_queue_ready", **QUEUE), one("leveret_queue_unacked", **QUEUE)
UNKNOWN = {
    "LeveretNumbersUnknown": "The operator has not known for 5 minutes how long queue leveret.a is; "
    "its consumers stay as many as they are."
}
ASIDE = {
    "LeveretEventsSetAside": "Events of jobs could not be recorded and were set aside; these jobs' states are not up to date."
}


def unpublished(jobs: int) -> dict[str, str]:
    return {"LeveretOutboxNotPublished": f"{jobs} jobs are stored and not published; at 1000000 the API takes no more."}


def dead(letters: int) -> dict[str, str]:
    return {"LeveretDeadLettersGrow": f"Queue leveret.a has {letters} dead letters, more than 15 minutes ago."}


WELL = {
    READY: "2x60", WANTED: "2x60", PENDING: "3x60", CONFIRMS: "0+9x60", DEAD: "4x60", OLDEST: "800x60", TURNS: "0x60",
    WAITING: "5x60", UNACKED: "5x60", one("leveret_recorder_lag_seconds"): "30x60", one("leveret_events_set_aside_total"): "7x60",
    one("leveret_producer_broker_blocked"): "0x60",
    one("rabbitmq_alarms_memory_used_watermark", component="rabbitmq"): "0x60",
    one("rabbitmq_alarms_free_disk_space_watermark", component="rabbitmq"): "0x60",
}  # fmt: skip
ILL = {
    READY: "0x60", WANTED: "2x60", PENDING: "600000x60", CONFIRMS: "0x60", DEAD: "0+4x60", OLDEST: "5000x60", TURNS: "0+5x60",
    one("leveret_recorder_lag_seconds"): "300x60", one("leveret_events_set_aside_total"): "0+1x60",
    one("leveret_producer_broker_blocked"): "1x60",
    one("rabbitmq_alarms_memory_used_watermark", component="rabbitmq"): "1x60",
}  # fmt: skip

STORIES = [
    story("all is well", WELL, {5: {}, 20: {}, 60: {}}),
    story("another installation is ill", {name.replace("leveret", "other", 1) if name.startswith("up") else
          name.replace('namespace="leveret"', 'namespace="other"'): values for name, values in ILL.items()}, {20: {}, 60: {}}),
    story("nothing is known", {}, {20: {}, 60: {}}),
    story("the operator's pod goes", {up("operator"): "1x5 stale"}, {8: {}, 10: NO_OPERATOR}),
    story("the operator does not answer", {up("operator"): "1x5 0x30"}, {8: {}, 10: NO_OPERATOR}),
    story("a new operator takes over", {up("operator"): "1x5 stale", up("operator", "2"): "_x7 1x30"}, {8: {}, 20: {}}),
    story("one of two producers goes", {up("producer"): "1x5 stale", up("producer", "2"): "1x60"}, {20: {}}),
    story("both producers go", {up("producer"): "1x5 stale", up("producer", "2"): "1x5 0x30"}, {6: {}, 8: NO_PRODUCER}),
    story("publishers are blocked", {one("leveret_producer_broker_blocked"): "0x5 1x10 0x9"}, {5: {}, 8: ALARM, 20: {}}),
    story("the broker has no memory", {one("rabbitmq_alarms_memory_used_watermark", component="rabbitmq"): "1x60"}, {5: ALARM}),
    story("the broker has no disk", {one("rabbitmq_alarms_free_disk_space_watermark", component="rabbitmq"): "1x60"}, {5: ALARM}),
    story("nothing is confirmed", {PENDING: "5x60", CONFIRMS: "100x60"}, {4: {}, 12: unpublished(5)}),
    story("there is nothing to confirm", {PENDING: "0x60", CONFIRMS: "100x60"}, {20: {}}),
    story("no producer has ever had a confirm", {PENDING: "5x60"}, {12: unpublished(5)}),
    story("the outbox is filled more than half", {PENDING: "600000x60", CONFIRMS: "0+9x60"}, {4: {}, 6: unpublished(600_000)}),
    story("no consumer gets ready", {READY: "0x60", WANTED: "2x60"}, {9: {}, 11: NONE_READY}, **QUEUE),
    story("no consumer is wanted", {READY: "0x60", WANTED: "0x60"}, {20: {}}, **QUEUE),
    story("one consumer is ready", {READY: "0x8 1x60", WANTED: "2x60"}, {9: {}, 30: {}}, **QUEUE),
    story("a job waits", {OLDEST: "1000x60"},
          {4: {}, 6: {"LeveretJobsWaitTooLong": "The oldest job of queue leveret.a has waited for 16m 40s."}}, **QUEUE),
    story("jobs die", {DEAD: "0x5 3x60"}, {5: {}, 8: dead(3), 40: {}}, **QUEUE),
    story("dead letters of long ago", {DEAD: "3x60"}, {20: {}, 40: {}}, **QUEUE),
    story("dead letters are taken", {DEAD: "0 2 0 1 0 3 0 2 0 2 0 3 0 1 0"}, {minute: {} for minute in range(3, 15)}, **QUEUE),
    story("a new operator counts dead letters",
          {DEAD: "3x9 stale", one("leveret_queue_dead_letters", queue="leveret.a", pod="2"): "_x9 3x60"}, {15: {}, 30: {}}, **QUEUE),
    story("no number of a queue is known", {TURNS: "0x60"}, {4: {}, 6: UNKNOWN}, **QUEUE),
    story("only half is known", {TURNS: "0x60", WAITING: "5x60"}, {6: UNKNOWN}, **QUEUE),
    story("the numbers come back", {TURNS: "0x60", WAITING: "_x4 5x60", UNACKED: "_x4 5x60"}, {6: {}, 20: {}}, **QUEUE),
    story("turns fail", {TURNS: "0+5x60", WAITING: "5x60", UNACKED: "5x60"}, {4: {}, 8: UNKNOWN}, **QUEUE),
    story("one turn failed", {TURNS: "0x9 1x60", WAITING: "5x60", UNACKED: "5x60"}, {minute: {} for minute in range(9, 20)}, **QUEUE),
    story("states are late", {one("leveret_recorder_lag_seconds"): "100x60"},
          {4: {}, 6: {"LeveretRecorderBehind": "The states of jobs that the API shows are 1m 40s behind."}}),
    story("an event is set aside", {one("leveret_events_set_aside_total"): "0x5 1x60"}, {5: {}, 8: ASIDE, 40: {}}),
]  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What promtool says of all stories; it names each that is not as it should be."""
    folder: Path = tmp_path_factory.mktemp("alerts")
    tests = {"rule_files": ["alerts.yml"], "evaluation_interval": "15s", "tests": [story.test() for story in STORIES]}
    (folder / "alerts.yml").write_text(rule_file())
    (folder / "tests.yml").write_text(yaml.safe_dump(tests, sort_keys=False))
    folder.chmod(0o755)
    script = "promtool check rules --lint=all --lint-fatal alerts.yml 2>&1; promtool test rules tests.yml 2>&1; true"
    name = docker(
        "create", "--label", LABEL, "--workdir", "/stories", "--entrypoint", "sh", "prom/prometheus:v3", "-c", script
    )
    try:
        docker("cp", f"{folder}/.", f"{name}:/stories")
        return docker("start", "--attach", name)
    finally:
        docker("rm", "-f", "-v", name)


def test_the_rules_are_understood(said: str) -> None:
    assert f"SUCCESS: {len(ALERTS)} rules found" in said


def test_every_alert_fires_in_some_story() -> None:
    assert {name for story in STORIES for fired in story.fires.values() for name in fired} == set(ALERTS)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_exactly_these_alerts_fire(said: str, story: Story) -> None:
    verdict = said.rpartition("rules found")[2]
    assert ("SUCCESS" in verdict) is ("FAILED" not in verdict)  # it came to an end
    assert f"name: {story.name}," not in verdict, verdict
