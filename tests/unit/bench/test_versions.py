"""The code of a commit comes out of git, and is what then runs."""

import os
import subprocess
from pathlib import Path

import pytest

from bench.processes import Failed, running
from bench.versions import TODAY, NoCommit, Version, version_of


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone with one commit of a file that has been changed since."""
    place = tmp_path / "clone"
    place.mkdir()
    (place / "said.txt").write_text("then")
    who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "Then")):
        subprocess.run(["git", *words], cwd=place, check=True)
    (place / "said.txt").write_text("now")
    return place


def test_a_commits_code_is_taken_out_of_git_once(repository: Path, tmp_path: Path) -> None:
    into = tmp_path / "base"
    version = version_of("HEAD", repository, into)
    assert (version.name, (version.root / "said.txt").read_text()) == ("HEAD", "then")
    (version.root / "said.txt").write_text("kept")
    again = version_of("HEAD", repository, into)
    assert (again.root / "said.txt").read_text() == "kept"
    assert [path.name for path in into.iterdir()] == [version.root.name]


@pytest.mark.parametrize("commit", ["66f6c15", "--all", "", "HEAD:said.txt"])
def test_a_commit_that_is_not_there_is_told_in_a_sentence(commit: str, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(NoCommit, match=r"not in this clone.*nothing was measured.*--base names another"):
        version_of(commit, repository, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_where_there_is_no_git_it_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(NoCommit, match="not in this clone"):
        version_of("HEAD", tmp_path, tmp_path / "base")


async def test_what_runs_is_the_versions_own_code_before_what_is_installed(tmp_path: Path) -> None:
    package = tmp_path / "producer" / "leveret_producer"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import noop; print(__file__, noop.__file__)")

    async def never() -> bool:
        return False

    async with running("leveret_producer", {}, Version("old", tmp_path)) as process:
        with pytest.raises(Failed) as problem:
            await process.until("it is asked where it is", never)
    assert f"{package / '__main__.py'} {TODAY.root / 'bench' / 'handlers' / 'noop.py'}" in str(problem.value)
