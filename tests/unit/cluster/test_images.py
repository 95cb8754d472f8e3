"""Pulling where a registry answers, with a docker that plays the registry's part."""

import os
from pathlib import Path

import pytest

from clusterkit import images


@pytest.mark.parametrize(
    ("script", "seconds", "pulled"),
    [
        pytest.param("echo Pulling; sleep 3", 2, True, id="answers"),  # and takes longer than it may keep silent
        pytest.param("echo Pulling; exit 1", 20, False, id="breaks-off"),
        pytest.param("exit 1", 20, False, id="refuses"),
        pytest.param("exec sleep 30", 0.1, False, id="says-nothing"),
    ],
)
def test_pull_if_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, seconds: float, pulled: bool
) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n" + script)
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert images.pull_if_answered("image", seconds) is pulled
