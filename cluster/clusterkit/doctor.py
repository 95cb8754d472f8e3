"""What is there on this machine, and what the other verbs would do about the rest. Nothing is changed."""

import os
import shutil
from pathlib import Path

from . import bases, clusters, debian, docker, golang, images, node, project, tools
from .cache import CACHE
from .versions import BASES, GO_MIN, GO_WHEEL


def report() -> None:
    """Print a row for each thing: what was found, or after an arrow what would be done."""
    _row("cache", CACHE)
    _row("user", "root" if os.geteuid() == 0 else "", "not root", "Docker must run already, and images be pulled")
    _row("control groups", "version 1" if docker.cgroup_v1() else "version 2")
    full = docker.bounding_set_is_full()
    _row("capabilities", "all" if full else "", "not all", "runc-wrap.sh stands in front of runc")
    running = docker.runs()
    runtime = f"running, default runtime {docker.default_runtime()}" if running else ""
    todo = "start dockerd" if shutil.which("dockerd") else "apt-get install docker.io, start dockerd"
    _row("docker", runtime, "not running", todo)
    _row("mmdebstrap", shutil.which("mmdebstrap"), "not there", "apt-get install " + " ".join(bases.MMDEBSTRAP))
    _row("Debian packages", debian.mirror() or "from Debian's own mirror")
    _row("go", golang.go_on_path(), f"none from {GO_MIN[0]}.{GO_MIN[1]} on", f"{GO_WHEEL} from PyPI")
    for name, origin in tools.ORIGIN.items():
        _row(name, tools.find(name), "none recent enough", origin)
    if running:
        _images()
        if tools.find("kind"):
            _row("clusters", " ".join(clusters.names()) or "none")


def _images() -> None:
    _image("node image", node.image_tag(), "pull one, or build this: " + node.image_tag())
    for name, base in BASES.items():
        _image(f"image {name}", base.tag, f"pull {base.tag}, or build it from Debian {base.suite}")
    for name in project.SERVICES:
        _image(f"image {name}", project.tag(name), f"build {project.tag(name)}")


def _image(what: str, tag: str, todo: str) -> None:
    _row(what, tag if images.image_key(tag) is not None else "", "not there", todo)


def _row(what: str, found: str | Path | None, otherwise: str = "", todo: str = "") -> None:
    print(f"{what:<17} {found}" if found else f"{what:<17} {otherwise} → {todo}")
