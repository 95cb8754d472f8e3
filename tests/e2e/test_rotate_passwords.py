"""The page on passwords, word by word, while jobs are submitted and run: none is lost, nobody is refused, nothing restarts."""

import os
import subprocess
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from api import Api, eventually
from kube import FETCHED, Namespace
from pages import DOCS, blocks

PAGE = DOCS / "how-to" / "rotate-passwords.md"
QUEUE = "leveret.rotated"
EACH = 5  # jobs of a list
OURS = "app.kubernetes.io/component in (operator,producer,rabbitmq,postgresql),app.kubernetes.io/instance=leveret"
CONSUMERS = "leveret.dev/jobqueue=rotated"


@dataclass
class Load:
    """Lists of jobs, one after the other, by clients of which each has a token that it was given."""

    clients: list[Api]
    ids: list[str] = field(default_factory=list)
    problems: list[BaseException] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        over = threading.Event()

        def submit() -> None:
            try:
                while not over.wait(0.1):
                    for client in self.clients:
                        jobs = [{"type": "sleep", "payload": {"seconds": 0.2}}] * EACH
                        self.ids += client.submit(QUEUE, jobs)  # which fails for a 401, and for any 5xx but 503
            except BaseException as problem:
                self.problems.append(problem)

        thread = threading.Thread(target=submit)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(120)


@pytest.fixture
def rotated(namespace: Namespace, api: Api, examples: None) -> Iterator[None]:
    """A JobQueue with two consumers all along; at the end the token is again the one that other tests know."""
    bench = namespace.get("jobqueue", "bench")
    spec = bench["spec"] | {"scaling": {"minReplicas": 2, "maxReplicas": 2}}
    metadata = {"name": "rotated"}
    namespace.apply({key: bench[key] for key in ("apiVersion", "kind")} | {"metadata": metadata, "spec": spec})
    eventually("two consumers are ready", lambda: ready(namespace, CONSUMERS) == 2, 180)
    eventually("the API knows the queue", lambda: api.get(f"/v1/queues/{QUEUE}")["name"] == QUEUE, 60)
    yield
    patch = f'{{"data": {{"second-token": null}}, "stringData": {{"token": "{api.token}"}}}}'
    namespace.kubectl("patch", "secret", "leveret-token", "-p", patch)
    renew(namespace)
    namespace.kubectl("delete", "jobqueue", "rotated")
    eventually("the first token is back", lambda: all(api.call("GET", "/v1/queues").status == 200 for _ in "1234"), 150)


def renew(namespace: Namespace) -> None:
    namespace.kubectl("annotate", "pods", "--all", "--overwrite", f"leveret.dev/renewed={time.time()}")


def there(namespace: Namespace, *selectors: str) -> list[Any]:
    """The pods that were not told to stop."""
    found = (pod for selector in selectors for pod in namespace.all("pods", selector))
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def ready(namespace: Namespace, selector: str) -> int:
    pods = there(namespace, selector)
    return sum(status["ready"] for pod in pods for status in pod["status"].get("containerStatuses", ()))


def starts(namespace: Namespace) -> dict[str, tuple[str, int]]:
    """Of each pod which one it is, and how often it has started again."""
    return {
        pod["metadata"]["name"]: (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
        for pod in there(namespace, OURS, CONSUMERS)
    }


def key(namespace: Namespace, secret: str, name: str) -> str:
    return b64decode(namespace.get("secret", secret)["data"].get(name, "")).decode()


def follow(namespace: Namespace) -> Iterator[int]:
    """Run the page's blocks in one shell; give the number of each that is done, before the next begins."""
    blocks_of_it = enumerate(blocks(PAGE, "bash"))
    lines = [f"{block.text}\necho 'block {number} is done'; read -r _" for number, block in blocks_of_it]
    with subprocess.Popen(
        ["bash", "-c", "set -euo pipefail\n" + "\n".join(lines)],
        env=os.environ | {"PATH": f"{FETCHED}:{os.environ['PATH']}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as shell:
        assert shell.stdin
        assert shell.stdout
        hang = threading.Timer(240, shell.kill)
        hang.start()
        for line in shell.stdout:
            if line.startswith("block "):
                yield int(line.split()[1])
                shell.stdin.write("\n")
                shell.stdin.flush()
        hang.cancel()
    assert shell.returncode == 0, f"the page's commands end with {shell.returncode}"


def test_the_page_is_followed_under_load(namespace: Namespace, api: Api, rotated: None) -> None:
    before, old = (
        starts(namespace),
        {name: key(namespace, name, "password") for name in ("leveret-broker", "leveret-database")},
    )
    load = Load([api])
    with load.running():
        for done in follow(namespace):
            match done:
                case 3:  # the second token is accepted everywhere
                    load.clients = [api, replace(api, token=key(namespace, "leveret-token", "second-token"))]
                case 4:  # whoever had the old one has the new one
                    load.clients = load.clients[1:]
                    time.sleep(2)  # what is under way with the old one ends
        time.sleep(2)
    assert (done, load.problems) == (5, [])
    assert starts(namespace) == before, "no pod went, came or started again"
    [new] = load.clients
    eventually("the old token is refused", lambda: api.call("GET", "/v1/queues").status == 401, 30)

    def database_lets_in(password: str) -> bool:
        words = ("psql", "-h", "leveret-postgresql", "-U", "leveret", "-c", "SELECT 1", "leveret")
        said = namespace.kubectl(
            "exec", "leveret-postgresql-0", "--", "env", f"PGPASSWORD={password}", *words, check=False
        )
        return "1 row" in said

    def broker_lets_in(password: str) -> bool:
        words = ("exec", "leveret-rabbitmq-0", "--", "rabbitmqctl", "authenticate_user", "leveret", password)
        return "Success" in namespace.kubectl(*words, check=False)

    for secret, lets_in in (("leveret-broker", broker_lets_in), ("leveret-database", database_lets_in)):
        assert [lets_in(old[secret]), lets_in(key(namespace, secret, "password"))] == [False, True], secret

    for selector in ("app.kubernetes.io/component=producer", CONSUMERS, "app.kubernetes.io/component=operator"):
        namespace.kubectl("delete", "pod", namespace.pods(selector)[0])
    namespace.kubectl("delete", "pod", "leveret-rabbitmq-0", "leveret-postgresql-0")  # so all connect anew
    load.ids += new.submit(QUEUE, [{"type": "noop", "payload": {}}] * EACH, patience=180)
    assert {job["state"] for job in new.wait_final(QUEUE, load.ids, 180).values()} == {"succeeded"}
    namespace.kubectl("wait", "--for=condition=Ready", "jobqueue/rotated", "--timeout=120s")
    eventually("all are ready", lambda: ready(namespace, OURS) == len(there(namespace, OURS)) >= 5, 120)
    after = starts(namespace)
    stayed = {name: one for name, one in after.items() if before.get(name, one)[0] == one[0]}
    assert stayed == {name: before.get(name, (one[0], 0)) for name, one in stayed.items()}, "nobody had to start again"
