"""A small run of `python -m chaos`: every part is killed while jobs come, and every job is accounted for."""

import os
import re
import subprocess
import sys

import pytest
from kube import ROOT, Namespace
from release import CONTEXT, URL

SEED = os.environ.get("CHAOS_SEED", "1")
LINE = re.compile(
    r"chaos: submitted (\d+), finished \1, lost 0, stuck 0, doubled 0, twins 0, threads' twins 0, forgotten 0, "
    r"run again \d+, faults 6, seed (\d+)"
)


@pytest.mark.timeout(900)
def test_every_job_is_accounted_for_though_every_part_is_killed(namespace: Namespace) -> None:
    size = ("--seed", SEED, "--jobs", "600", "--faults", "6")
    place = ("--context", CONTEXT, "--namespace", namespace.name, "--url", URL)

    done = subprocess.run(
        [sys.executable, "-m", "chaos", *size, *place],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=880,
    )

    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    line = LINE.fullmatch(done.stdout.splitlines()[-1])
    assert line, done.stdout
    assert (int(line[1]) >= 600, line[2]) == (True, SEED)
    killed = set(re.findall(r"fault \d+: (?:kill|delete) ([a-z-]+)$", done.stdout, re.MULTILINE))
    assert killed > {"producer", "operator", "broker", "database"}
    assert killed & {"chaos-bench", "chaos-urls"}, "no consumer was killed"
