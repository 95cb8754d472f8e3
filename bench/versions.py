"""The code of a commit, beside the code that is here: what two versions of Leveret cost is compared in one run.

The commit comes out of git into `build/` and is run from there, with the libraries of today's virtual environment: what
differs is Leveret alone.
"""

import io
import os
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HANDLERS = ROOT / "bench" / "handlers"  # the same for each version
BASES = ROOT / "build" / "base"
_PACKAGES_IN = ("", "operator", "producer", "consumer")


class NoCommit(Exception):
    """A commit's code can't be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Version:
    name: str
    root: Path

    def environment(self) -> dict[str, str]:
        """Have Python look here first, before whatever version the virtual environment has installed."""
        return {"PYTHONPATH": os.pathsep.join(str(path) for path in (*map(self.root.joinpath, _PACKAGES_IN), HANDLERS))}


TODAY = Version("today", ROOT)


def version_of(commit: str, repository: Path = ROOT, into: Path = BASES) -> Version:
    """Take a commit's code out of the repository, once; raise NoCommit."""
    sha = _git(commit, repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    version = Version(commit, into / sha.decode().strip())
    if not version.root.exists():
        packed = _git(commit, repository, "archive", "--format=tar", version.root.name)
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into) as begun, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(Path(begun, "code"), filter="data")
            Path(begun, "code").rename(version.root)
    return version


def _git(commit: str, repository: Path, *words: str) -> bytes:
    try:
        return subprocess.run(["git", *words], cwd=repository, capture_output=True, check=True).stdout
    except (subprocess.CalledProcessError, OSError) as problem:
        raise NoCommit(
            f"commit {commit} is not in this clone, so there is nothing to compare with; nothing was measured. "
            "`git fetch --unshallow` gets what a shallow clone lacks, and --base names another commit"
        ) from problem
