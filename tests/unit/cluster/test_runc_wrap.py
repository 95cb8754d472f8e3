"""The wrapper in front of runc, against a bounding set without CAP_SYS_RESOURCE, and a full one."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from clusterkit.cache import HERE

LACKING, FULL = "000001fffeffffff", "000001ffffffffff"
PROCESS = {
    "oomScoreAdj": -998,
    "capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "ambient": ["CAP_SYS_RESOURCE"]},
}
CUT = {"oomScoreAdj": 0, "capabilities": {"bounding": ["CAP_CHOWN"], "ambient": []}}


def wrapped(folder: Path, bounding: str, file: str, words: list[str]) -> Any:
    """Run the wrapper with a runc that only repeats its arguments; gives what is left of the process."""
    spec = folder / file
    spec.parent.mkdir(parents=True, exist_ok=True)
    spec.write_text(json.dumps({"process": PROCESS}, separators=(",", ":")))
    runc, status, last = folder / "runc", folder / "status", folder / "cap_last_cap"
    runc.write_text('#!/bin/sh\necho "$@"\n')
    runc.chmod(0o755)
    status.write_text(f"CapInh:\t0\nCapBnd:\t{bounding}\n")
    last.write_text("40\n")
    script = (HERE / "runc-wrap.sh").read_text()
    for there, here in (
        ("/usr/sbin/runc", runc),
        ("/proc/self/status", status),
        ("/proc/sys/kernel/cap_last_cap", last),
    ):
        script = script.replace(there, str(here))
    argv = [word.replace("FOLDER", str(folder)) for word in words]
    done = subprocess.run(["sh", "-c", script, "sh", *argv], capture_output=True, text=True, check=True)
    assert done.stdout.split() == argv
    return json.loads(spec.read_text())["process"]


@pytest.mark.parametrize(
    ("bounding", "file", "words", "left"),
    [
        pytest.param(LACKING, "b/config.json", ["create", "--bundle", "FOLDER/b", "name"], CUT, id="create"),
        pytest.param(LACKING, "b/config.json", ["run", "--bundle=FOLDER/b", "name"], CUT, id="run"),
        pytest.param(LACKING, "process.json", ["exec", "--process", "FOLDER/process.json", "name"], CUT, id="exec"),
        pytest.param(LACKING, "b/config.json", ["delete", "--bundle", "FOLDER/b", "name"], PROCESS, id="delete"),
        pytest.param(FULL, "b/config.json", ["create", "--bundle", "FOLDER/b", "name"], PROCESS, id="full-set"),
    ],
)
def test_takes_out_what_cannot_be_granted(
    tmp_path: Path, bounding: str, file: str, words: list[str], left: dict[str, Any]
) -> None:
    assert wrapped(tmp_path, bounding, file, words) == left
