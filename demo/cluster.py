"""The cluster, through kubectl: from PATH, or the one that `make up` fetched."""

import base64
import binascii
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.api import NotThere

ASK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Cluster:
    kubectl: str
    context: str
    namespace: str

    @classmethod
    def find(cls, context: str, namespace: str) -> "Cluster":
        """Raise NotThere if there is no kubectl."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leveret-cluster" / "bin"
        found = shutil.which("kubectl") or shutil.which("kubectl", path=str(cache))
        if found is None:
            raise NotThere(f"kubectl is neither on PATH nor in {cache}: run `make up`, which fetches it.")
        return cls(found, context, namespace)

    def command(self) -> str:
        """Return how a person starts kubectl for this namespace."""
        program = "kubectl" if shutil.which("kubectl") else self.kubectl
        return f"{program} --context {self.context} -n {self.namespace}"

    def apply(self, path: Path, selector: str = "") -> None:
        """Apply what is in a file or folder, all of it or what has the labels."""
        self._run("apply", "-f", str(path), *(("-l", selector) if selector else ()))

    def listed(self, kinds: str, selector: str) -> list[dict[str, Any]]:
        """Return the objects of some kinds that have the labels."""
        found: list[dict[str, Any]] = json.loads(self._run("get", kinds, "-l", selector, "-o", "json"))["items"]
        return found

    def token(self) -> str:
        """Return the API's token from Secret leveret-token."""
        text = self._run("get", "secret", "leveret-token", "-o", "jsonpath={.data.token}")
        try:
            return base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as problem:
            raise NotThere("Secret leveret-token holds no readable token: run `make up`.") from problem

    def not_rolled_out(self, deployment: str) -> str | None:
        """Return None if a Deployment has a ready pod, else what it has."""
        ready = self._run("get", "deployment", deployment, "-o", "jsonpath={.status.readyReplicas}")
        return None if ready not in ("", "0") else "no pod of it is ready"

    def conditions(self, jobqueue: str) -> list[str]:
        """Return what a JobQueue's conditions that are not True say."""
        found = json.loads(self._run("get", "jobqueue", jobqueue, "-o", "jsonpath={.status.conditions}") or "[]")
        return [f"{one['type']}: {one['message']}" for one in found if one["status"] != "True"]

    def _run(self, *arguments: str) -> str:
        command = [self.kubectl, "--context", self.context, "-n", self.namespace, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
        except subprocess.TimeoutExpired as problem:
            raise NotThere(
                f"The cluster {self.context} gave no answer within {ASK_SECONDS} s: run `make up`."
            ) from problem
        if done.returncode:
            raise NotThere(explain(self.context, arguments, done.stderr))
        return done.stdout


def explain(context: str, arguments: tuple[str, ...], said: str) -> str:
    """Return kubectl's complaint as a sentence with the fix."""
    last = said.strip().splitlines()[-1] if said.strip() else "kubectl failed"
    if "context" in last and "not" in last and context in last:
        return f"There is no cluster {context}: run `make up` (or `make demo`, which does it first)."
    if "connection to the server" in last or "dial tcp" in last:
        return f"The cluster {context} does not answer: run `make up`, which starts it again."
    if "no matches for kind" in last or "doesn't have a resource type" in last:
        return f"Leveret is not installed in {context}: run `make up`."
    if "NotFound" in last:
        return f"{context} has no {' '.join(arguments[1:3])}: run `make up`, which installs what is missing."
    return f"kubectl {' '.join(arguments[:3])} failed: {last}"
