"""The functions of the page on passwords end, and fail with a sentence, whatever kubectl says."""

import os
import subprocess
from pathlib import Path

import pytest
from pages import DOCS, blocks

FUNCTIONS = blocks(DOCS / "how-to" / "rotate-passwords.md", "bash")[0].text
# Pods have the files' value in a folder, one file each; who has none can't be asked. The clock runs while it sleeps.
KUBECTL = """#!/bin/bash
case "$3" in
  get) [ ! -e "$FAKE/away" ] || { echo "connection refused" >&2; exit 1; }; ls "$FAKE/pods" | tr '\\n' ' ' ;;
  exec) cat "$FAKE/pods/$4" ;;
esac
"""
CALL = "sleep() { SECONDS=$((SECONDS + 60)); [ ! -e $FAKE/late ] || cp $FAKE/late $FAKE/pods/b; }\n"

CASES = [
    pytest.param({"pods/a": "new", "pods/b": "new"}, True, "", id="all have it"),
    pytest.param({"pods/a": "new", "pods/b": "old", "late": "new"}, True, "", id="one has it later"),
    pytest.param({"pods/a": "new", "pods/b": "old", "pods/c": "older"}, False, "x/y is not there in: b c", id="never"),
    pytest.param({"pods/a": "new", "away": ""}, False, "connection refused", id="no API server"),
    pytest.param({}, False, "no pod of producer is ready", id="no pods"),
]


@pytest.mark.parametrize("options", ["-euo pipefail", "+e"])
@pytest.mark.parametrize(("files", "well", "says"), CASES)
def test_renewed_ends(files: dict[str, str], well: bool, says: str, options: str, tmp_path: Path) -> None:
    (tmp_path / "pods").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", f"set {options}\n{FUNCTIONS}\n{CALL}\nrenewed producer x/y new"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FAKE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0, says in done.stderr) == (well, True), done.stderr
