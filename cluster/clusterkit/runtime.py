"""Docker's default runtime on this machine: runc, or runc-wrap.sh in front of it, and the way back.

kind can't choose the runtime of its nodes, so the default changes for all of the machine. What the daemon's settings were
before is kept beside them, and they are that again, byte for byte, unless somebody has changed them since.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cache import HERE
from .console import Fail, say

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the daemon's settings and the wrapper are."""

    settings: Path = Path("/etc/docker/daemon.json")
    wrapper: Path = Path("/usr/local/sbin/leveret-runc")

    @property
    def before(self) -> Path:
        """Name the copy of what the settings were; it is empty where there were none."""
        return self.settings.with_name(f"{self.settings.name}.before-leveret")


MACHINE = Place()


def read(path: Path) -> Settings:
    """Read settings, {} where there are none; raises Fail."""
    text = path.read_text() if path.exists() else ""
    try:
        found = json.loads(text) if text.strip() else {}
    except ValueError as problem:
        raise Fail(f"{path} is not valid JSON ({problem}): mend it first") from problem
    if not isinstance(found, dict):
        raise Fail(f"{path} does not hold a JSON object: mend it first")
    return found


def write(path: Path, settings: Settings) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n")


def put_in(place: Place = MACHINE) -> None:
    """Make the wrapper the default, and keep what was there."""
    settings, name = read(place.settings), place.wrapper.name
    place.settings.parent.mkdir(parents=True, exist_ok=True)
    if name not in settings.get("runtimes", {}):
        place.before.write_bytes(place.settings.read_bytes() if place.settings.exists() else b"")
    shutil.copy(HERE / "runc-wrap.sh", place.wrapper)
    place.wrapper.chmod(0o755)
    runtimes = settings.get("runtimes", {}) | {name: {"path": str(place.wrapper)}}
    write(place.settings, settings | {"default-runtime": name, "runtimes": runtimes})


def take_back(users: Sequence[str], apply: Callable[[str], None], place: Place = MACHINE) -> None:
    """Make the default what it was; with containers that were started by the wrapper it stays for these.

    `apply` makes the daemon read its settings, and returns once its default runtime is the named one.
    """
    settings, before, name = read(place.settings), read(place.before), place.wrapper.name
    if name not in settings.get("runtimes", {}):
        say("docker: its default runtime is not the kit's; nothing is changed")
        return
    if settings.get("default-runtime") == name:
        default = before.get("default-runtime", "runc")
        write(place.settings, settings | {"default-runtime": default})  # a key that is left out would change nothing
        apply(default)
        say(f"docker: the default runtime is {default} again")
    if users:
        say(
            f"docker: {place.wrapper} stays for {', '.join(users)}, which can't be stopped without it; delete them and run undo again"
        )
        return
    left = without(settings, before, name)
    if left != before:
        write(place.settings, left)
    elif before or (place.before.exists() and place.before.stat().st_size):
        shutil.copy(place.before, place.settings)
    else:
        place.settings.unlink()
    place.before.unlink(missing_ok=True)
    place.wrapper.unlink(missing_ok=True)
    say(f"docker: {place.settings} is without {name}, and {place.wrapper} is removed")


def without(settings: Settings, before: Settings, name: str) -> Settings:
    """Return settings without our runtime; what others have changed since stays."""
    left = settings | {"runtimes": {key: one for key, one in settings["runtimes"].items() if key != name}}
    if not left["runtimes"] and "runtimes" not in before:
        del left["runtimes"]
    if left.get("default-runtime") in (name, "runc"):  # runc where an undo that left the wrapper wrote it
        del left["default-runtime"]
        left |= {key: before[key] for key in ("default-runtime",) if key in before}
    return left
