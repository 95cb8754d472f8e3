"""The wrapper in front of runc, against a bounding set without CAP_SYS_RESOURCE, and a full one."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from clusterkit.cache import HERE

LACKING, FULL = "000001fffeffffff", "000001ffffffffff"
# A user's text that looks like what is cut, and is not; a list of capabilities may be missing, and null.
TEXT = {"env": ['A=["CAP_SYS_RESOURCE","oomScoreAdj":-9]'], "args": ["CAP_SYS_RESOURCE"], "cwd": "/ä"}
PROCESS = {
    "oomScoreAdj": -998,
    "capabilities": {
        "bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"],
        "ambient": ["CAP_SYS_RESOURCE"],
        "inheritable": None,
    },
    **TEXT,
}
CUT = {"oomScoreAdj": 0, "capabilities": {"bounding": ["CAP_CHOWN"], "ambient": [], "inheritable": []}, **TEXT}
# Where there is no jq, nobody needs it: it comes with the node image.
TOOLS = pytest.mark.parametrize(
    "jq", [pytest.param(False, id="python"), *([pytest.param(True, id="jq")] if shutil.which("jq") else [])]
)
ANNOTATIONS = {"note": '"CAP_SYS_RESOURCE",'}


def wrapped(
    folder: Path,
    bounding: str,
    file: str,
    words: list[str],
    *,
    process: Any = PROCESS,
    jq: bool = False,
    broken: str = "",
) -> Any:
    """Run the wrapper with a runc that only repeats its arguments; gives what is left of the process."""
    spec = folder / file
    spec.parent.mkdir(parents=True, exist_ok=True)
    alone = file == "process.json"
    spec.write_text(json.dumps(process if alone else {"annotations": ANNOTATIONS, "process": process}, indent=2))
    if broken:
        spec.write_text(broken)
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
        *([("/usr/bin/python3", folder / "none")] if jq else []),
    ):
        script = script.replace(there, str(here))
    argv = [word.replace("FOLDER", str(folder)) for word in words]
    done = subprocess.run(["sh", "-c", script, "sh", *argv], capture_output=True, text=True, check=True)
    assert done.stdout.split() == argv
    if spec.read_text() == broken:
        return broken
    left = json.loads(spec.read_text())
    assert alone or left["annotations"] == ANNOTATIONS
    return left if alone else left["process"]


@TOOLS
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
    tmp_path: Path, bounding: str, file: str, words: list[str], left: dict[str, Any], jq: bool
) -> None:
    assert wrapped(tmp_path, bounding, file, words, jq=jq) == left


def test_unlimited_stays_unlimited(tmp_path: Path) -> None:
    process = {"rlimits": [{"type": "RLIMIT_CORE", "hard": 2**64 - 1, "soft": 2**64 - 1}], "oomScoreAdj": 5}
    words = ["create", "--bundle", "FOLDER/b", "name"]
    assert wrapped(tmp_path, LACKING, "b/config.json", words, process=process) == process


@TOOLS
@pytest.mark.parametrize("broken", ["{", "[]", "7"])
def test_what_is_no_specification_is_left_to_runc(tmp_path: Path, broken: str, jq: bool) -> None:
    assert wrapped(tmp_path, LACKING, "b/config.json", ["run", "-b", "FOLDER/b", "n"], jq=jq, broken=broken) == broken
