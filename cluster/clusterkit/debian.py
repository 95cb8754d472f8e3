"""Debian: packages on this machine, and the mirror it takes them from."""

import os
import re
import shutil
import sys
import threading
from pathlib import Path

from .console import Fail, say
from .shell import run, works

INSTALLING = threading.Lock()  # dpkg refuses a second run beside the first
# How to see that a package is not needed: what it brings is there, from Debian or from elsewhere.
PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")}


def ensure(program: str, *packages: str, needed_for: str) -> None:
    """Install Debian packages unless their program is there; threads may ask at once."""
    with INSTALLING:
        if not shutil.which(program):
            install(*packages, needed_for=needed_for)


def ensure_packages(names: list[str]) -> None:
    """Install those of the named packages whose program or module this machine lacks."""
    missing = [name for name in names if not is_there(name)]
    for name in sorted(set(names) - set(missing)):
        say(f"{name}: is there")
    if missing:
        install(*missing, needed_for=f"{' and '.join(missing)} missing")


def is_there(package: str) -> bool:
    """Say whether what a package brings is on this machine."""
    if package == "python3-venv":
        return works(sys.executable, "-c", "import ensurepip, venv")
    return program(package) is not None


def program(package: str) -> str | None:
    """Find the program that a package brings, from Debian or from elsewhere; None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS.get(package, (package,)))), None)


def install(*packages: str, needed_for: str) -> None:
    """Install Debian packages, or say why that is not possible here; raises Fail."""
    if os.geteuid() != 0:
        raise Fail(f"{needed_for}, and cannot be installed here because this user is not root")
    if not shutil.which("apt-get"):
        raise Fail(f"{needed_for}, and cannot be installed here because there is no apt-get")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get update", ["apt-get", "update", "-q"], log="apt", env=env)
    argv = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
    run("apt-get install " + " ".join(packages), argv, log="apt", env=env)


def mirror(etc: Path = Path("/etc")) -> str | None:
    """Find the mirror in this machine's own apt sources; None means Debian's own."""
    release = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)"?$', (etc / "os-release").read_text()))
    if release.get("ID") != "debian":
        return None
    suite = release.get("VERSION_CODENAME", "stable")
    for path in [etc / "apt/sources.list", *sorted((etc / "apt/sources.list.d").glob("*"))]:
        text = path.read_text(errors="replace") if path.is_file() else ""
        found = _in_stanzas(text, suite) if path.suffix == ".sources" else _in_lines(text, suite)
        if found:
            return found
    return None


def _in_stanzas(text: str, suite: str) -> str | None:
    for stanza in re.split(r"\n\s*\n", text):
        field = dict(re.findall(r"(?m)^([\w-]+):[ \t]*(.*)$", stanza))
        suites, uris = field.get("Suites", "").split(), field.get("URIs", "").split()
        enabled = field.get("Enabled", "yes").lower() != "no"
        if enabled and "deb" in field.get("Types", "").split() and suite in suites and uris:
            return str(uris[0])
    return None


def _in_lines(text: str, suite: str) -> str | None:
    found = re.search(rf"(?m)^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+{suite}\s", text)
    return found[1] if found else None
