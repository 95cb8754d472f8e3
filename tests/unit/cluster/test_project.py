"""When an image of the project's own is stale."""

from pathlib import Path

import pytest

from clusterkit.project import project_version, source_key, sources

FILES = (
    "pyproject.toml", "README.md", "images/Dockerfile", "requirements/build.txt", "requirements/producer.txt",
    "requirements/examples.txt", "leveret/a.py", "leveret/__pycache__/a.pyc", "operator/o/a.py", "producer/p/a.py",
    "consumer/c/a.py", "examples/e/a.py",
)  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("service", "changed", "stale"),
    [
        pytest.param("producer", "leveret/a.py", True, id="library"),
        pytest.param("producer", "producer/p/a.py", True, id="code"),
        pytest.param("producer", "requirements/producer.txt", True, id="requirements"),
        pytest.param("producer", "requirements/examples.txt", False, id="requirements-of-another"),
        pytest.param("producer", "images/Dockerfile", True, id="dockerfile"),
        pytest.param("producer", "examples/e/a.py", False, id="examples"),
        pytest.param("examples", "examples/e/a.py", True, id="examples-in-theirs"),
        pytest.param("producer", "README.md", False, id="text"),
        pytest.param("producer", "leveret/__pycache__/a.pyc", False, id="bytecode"),
    ],
)
def test_stale(repository: Path, service: str, changed: str, stale: bool) -> None:
    before = source_key(service, "sha256:base", repository)
    (repository / changed).write_text("changed")
    assert (source_key(service, "sha256:base", repository) != before) is stale


def test_another_base_makes_stale(repository: Path) -> None:
    assert source_key("producer", "sha256:one", repository) != source_key("producer", "sha256:two", repository)


def test_a_moved_file_makes_stale(repository: Path) -> None:
    before = source_key("producer", "sha256:base", repository)
    (repository / "leveret/a.py").rename(repository / "operator/a.py")
    assert source_key("producer", "sha256:base", repository) != before


def test_every_source_is_there() -> None:
    assert [path for path in sources("examples") if not path.is_file()] == []
    assert project_version().count(".") == 2
