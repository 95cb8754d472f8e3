"""A foreign client writes nonsense to everything of ours, and nobody else notices."""

import threading
import time
from base64 import b64decode

from api import Api, eventually
from foreign_flood import flood
from kube import Namespace
from release import AMQP_PORT, producer_metrics

MESSAGES, SECONDS = 2_000, 20.0
LAG = "leveret_recorder_lag_seconds"
ECHO = {"type": "echo", "payload": {"value": "here"}}


def _restarts(namespace: Namespace) -> dict[str, int]:
    return {
        f"{pod['metadata']['name']}/{container['name']}": container["restartCount"]
        for pod in namespace.all("pods", "app.kubernetes.io/name=leveret")
        for container in pod["status"].get("containerStatuses", ())
    }


def test_two_thousand_malformed_messages_disturb_nobody(api: Api, namespace: Namespace, examples: None) -> None:
    secret = {
        key: b64decode(value).decode() for key, value in namespace.get("secret", "leveret-broker")["data"].items()
    }
    before = _restarts(namespace)
    sent: list[int] = []

    def send() -> None:
        login = secret["username"], secret["password"], secret.get("vhost", "/")
        sent.append(flood("127.0.0.1", AMQP_PORT, *login, count=MESSAGES, seconds=SECONDS))

    foreign = threading.Thread(target=send)
    foreign.start()
    ids: list[str] = []
    slowest = 0.0
    while foreign.is_alive():
        began = time.monotonic()
        answer = api.call("POST", "/v1/queues/leveret.bench/jobs", ECHO)
        assert answer.status == 202, answer
        ids.append(answer.body["id"])
        assert api.call("GET", "/v1/queues").status == 200
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.5)
    foreign.join()
    assert sent == [MESSAGES]
    over = time.monotonic()

    jobs = api.wait_final("leveret.bench", ids, 60)
    assert {job["state"] for job in jobs.values()} == {"succeeded"}
    caught_up = eventually("the recorders have caught up", lambda: _lag(namespace) <= 10, 10)
    print(
        f"\nslowest POST and GET {slowest:.2f} s, lag below 10 s {time.monotonic() - over:.1f} s after ({caught_up:.1f} s)"
    )
    counted = [
        (pod, name) for pod, values in producer_metrics(namespace).items() for name, value in values.items() if value
    ]
    assert [one for one in counted if one[1].startswith("leveret_producer_failures_total")] == []
    changed = {name: count for name, count in _restarts(namespace).items() if count != before.get(name, 0)}
    assert changed == {}


def _lag(namespace: Namespace) -> float:
    return max(values.get(LAG, 99.0) for values in producer_metrics(namespace).values())
