"""Docker: installed, running, and able to start privileged containers."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import debian, runtime
from .cache import log_file
from .console import Fail, say
from .shell import output, run, tail, until, works

PID_FILES = {
    "dockerd": Path("/var/run/docker.pid"),
    "containerd": Path("/var/run/docker/containerd/containerd.pid"),
}


def runs() -> bool:
    """Say whether there is a Docker that answers."""
    return bool(shutil.which("docker")) and works("docker", "info")


def pid_of(program: str) -> int | None:
    """Find the process of the daemon on this machine; None: not running, or elsewhere."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(PID_FILES[program].read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() == program:
            return pid
    return None


def bounding_set_is_full() -> bool:
    """Say whether the daemon, or else this process, can grant every known capability."""
    status = Path(f"/proc/{pid_of('dockerd') or 'self'}/status").read_text()
    found = re.search(r"CapBnd:\s*(\w+)", status)
    granted = int(found[1], 16) if found else 0
    known = (2 << int(Path("/proc/sys/kernel/cap_last_cap").read_text())) - 1
    return granted & known == known


def cgroup_v1() -> bool:
    """Say whether this machine has version 1 control groups."""
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def default_runtime() -> str:
    """Name the daemon's default runtime."""
    return output("docker", "info", "--format", "{{.DefaultRuntime}}")


def install_wrapper() -> None:
    """Put runc-wrap.sh in front of runc in the daemon's settings, keeping the others; raises Fail."""
    if os.geteuid() != 0:
        raise Fail(
            "privileged containers cannot start here because this machine's capability bounding "
            f"set is not full, and this user is not root and cannot change {runtime.MACHINE.settings}"
        )
    say(
        f"docker: the capability bounding set is not full: {runtime.MACHINE.wrapper} becomes the default runtime "
        "of the whole machine; `kit.py undo` takes that back"
    )
    if not Path("/usr/bin/python3").exists():
        debian.ensure("jq", "jq", needed_for=f"{runtime.MACHINE.wrapper} changes JSON")
    runtime.put_in()


def undo() -> None:
    """Give this machine's Docker the default runtime that it had before the kit; raises Fail."""
    if os.geteuid() != 0:
        raise Fail(f"this user is not root and cannot change {runtime.MACHINE.settings}; nothing was changed")
    if not runs() or not pid_of("dockerd"):
        raise Fail("docker does not run here, so nobody knows which containers need the wrapper; nothing was changed")
    form = "{{.HostConfig.Runtime}} {{.Name}}"
    all_there = output("docker", "ps", "-aq").split()
    told = output("docker", "inspect", "-f", form, *all_there) if all_there else ""
    started = [line.split(" /", 1) for line in told.splitlines()]
    runtime.take_back([name for by, name in started if by == runtime.MACHINE.wrapper.name], apply_settings)


def apply_settings(default: str) -> None:
    """Have the daemon read its settings anew, in which the default runtime is this one; containers go on; raises Fail."""
    pid = pid_of("dockerd")
    if pid is None:
        raise Fail("docker has stopped meanwhile: its settings are written, and it reads them when it starts")
    os.kill(pid, signal.SIGHUP)
    until(f"docker: the default runtime {default}", lambda: default_runtime() == default, 10)


def start() -> None:
    """Start dockerd by its service, or by hand where systemd does not run; raises Fail."""
    if Path("/run/systemd/system").exists():
        return run("docker: starting its service", ["systemctl", "start", "docker"], log="dockerd")
    for program, path in PID_FILES.items():
        if pid_of(program) is None:
            path.unlink(missing_ok=True)  # left by a daemon that was killed
    say("docker: starting dockerd")
    log = log_file("dockerd")
    with log.open("ab") as out:
        daemon = subprocess.Popen(["dockerd"], start_new_session=True, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    end = time.monotonic() + 60
    while not runs():
        gone = daemon.poll() is not None and not pid_of("dockerd")  # it may find another one starting
        if gone or time.monotonic() > end:
            raise Fail(f"docker is not running and dockerd does not start here. The end of {log}:{tail(log, 15)}")
        time.sleep(0.5)
    return None


def ensure() -> None:
    """Have a Docker that runs and starts privileged containers; raises Fail."""
    if not runs():
        debian.ensure("dockerd", "docker.io", "iptables", needed_for="docker is not running")
        if not shutil.which("docker"):  # from Debian 13 on the client is a package of its own
            debian.install("docker-cli", needed_for="docker's client is missing")
        if os.geteuid() != 0:
            raise Fail("docker is not running and cannot be started here because this user is not root")
        if not runs():  # the package may have started it
            if not bounding_set_is_full() and "default-runtime" not in runtime.read(runtime.MACHINE.settings):
                install_wrapper()
            start()
    pid = pid_of("dockerd")
    if pid and not bounding_set_is_full() and default_runtime() == "runc":
        install_wrapper()
        apply_settings(runtime.MACHINE.wrapper.name)
    say(f"docker: running, default runtime {default_runtime()}")
