"""Anything may be killed while URLs are being checked: every URL ends in a final state, and the targets' own log says so too."""

import json
import threading
import time

import pytest
from api import Api
from kube import Namespace

VICTIMS = {
    "consumer": "leveret.dev/jobqueue=url-check",
    "producer": "app.kubernetes.io/component=producer",
    "operator": "app.kubernetes.io/component=operator",
    "broker": "app.kubernetes.io/component=rabbitmq",
    "database": "app.kubernetes.io/component=postgresql",
}


def urls(part: str, count: int) -> list[dict[str, object]]:
    """A mix in which every URL is asked for by name: fast, slow, redirected, failing for a while, and never answering well."""
    base = "http://url-check-targets"
    kinds = (
        lambda i: f"{base}/ok?{part}={i}",
        lambda i: f"{base}/ok?{part}={i}",
        lambda i: f"{base}/slow/0.2?{part}={i}",
        lambda i: f"{base}/redirect/2?{part}={i}",
        lambda i: f"{base}/flaky/{part}-{i}/1",
        lambda i: f"{base}/status/404?{part}={i}",
        lambda i: f"{base}/status/503?{part}={i}" if i % 60 == 6 else f"{base}/ok?{part}={i}",
    )
    return [{"type": "check-url", "payload": {"url": kinds[i % len(kinds)](i)}} for i in range(count)]


@pytest.mark.timeout(900)
def test_killing_any_pod_loses_no_url(api: Api, namespace: Namespace, examples: None) -> None:
    submitted: dict[str, str] = {}
    stop = threading.Event()

    def submit_all_along() -> None:
        part = 0
        while not stop.is_set():
            jobs = urls(f"faults{part}", 70)
            for job_id, job in zip(api.submit("leveret.url-check", jobs), jobs, strict=True):
                submitted[job_id] = str(job["payload"]["url"])  # type: ignore[index]
            part += 1
            stop.wait(0.7)

    submitter = threading.Thread(target=submit_all_along)
    submitter.start()
    try:
        for name, selector in VICTIMS.items():
            time.sleep(4)
            pod = namespace.pods(selector)[0]
            print(f"\nkilling the {name}: {pod}")
            namespace.kubectl("delete", "pod", pod, "--grace-period=0", "--force", check=False)
        time.sleep(6)
    finally:
        stop.set()
        submitter.join(180)
    assert not submitter.is_alive()

    jobs = api.wait_final("leveret.url-check", list(submitted), 300)
    wrong = {
        url: jobs[job_id]["state"]
        for job_id, url in submitted.items()
        if jobs[job_id]["state"] != ("dead" if "/status/503" in url else "succeeded")
    }
    assert wrong == {}
    seen = api_of_targets(namespace)
    never = [url for url in submitted.values() if url.removeprefix("http://url-check-targets") not in seen]
    assert never == [], f"{len(never)} URLs have a final state and were never asked for"
    print(f"\n{len(submitted)} URLs, each in its final state, each seen by the targets")


def api_of_targets(namespace: Namespace) -> dict[str, int]:
    """What the target server itself counted, request by request, read inside its pod."""
    pod = namespace.pods("app.kubernetes.io/name=url-check-targets")[0]
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/seen').read().decode())"
    seen: dict[str, int] = json.loads(namespace.kubectl("exec", pod, "--", "python", "-c", code))
    return seen
