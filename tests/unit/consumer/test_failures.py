"""Whose frames a traceback shows: the user's, from the first one on, wherever the user's code and ours lie."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import leveret
import leveret_consumer

HANDLERS = """
from leveret import Context, Handlers

handlers = Handlers()

@handlers.job("fail")
async def fail(ctx: Context, job: dict) -> None:
    raise KeyError("theirs")
"""
SAYS = """
import asyncio, importlib, sys
from leveret_consumer.testing import run_attempt

handlers = importlib.import_module(sys.argv[1]).handlers
print(asyncio.run(run_attempt(handlers, "fail", {})).error.traceback)
"""


def as_it_is(source: Path, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / source.name).symlink_to(source)


def as_an_archive(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(place, "a") as archive:
        for file in (source, *source.rglob("*")):
            archive.write(file, file.relative_to(source.parent))


USERS = [
    pytest.param("leveret_shop/__init__.py", "leveret_shop", id="a name that begins like ours"),
    pytest.param("leveret_consumer_shop/jobs.py", "leveret_consumer_shop.jobs", id="a namespace that begins like ours"),
    pytest.param("leveret2.py", "leveret2", id="a module that begins like ours"),
    pytest.param("shop/leveret/jobs.py", "shop.leveret.jobs", id="a package of theirs with our name"),
]
OURS = [pytest.param(as_it_is, id="ours through a link"), pytest.param(as_an_archive, id="ours in an archive")]
THEIRS = [pytest.param(as_it_is, id="theirs through a link"), pytest.param(as_an_archive, id="theirs in an archive")]


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("theirs", THEIRS)
@pytest.mark.parametrize(("file", "module"), USERS)
def test_a_traceback_begins_with_the_users_first_frame(
    tmp_path: Path, file: str, module: str, ours: Callable[[Path, Path], None], theirs: Callable[[Path, Path], None]
) -> None:
    """Paths were compared without their separator: of a package `leveret_shop` beside `leveret` no frame was shown."""
    written = tmp_path / "written" / file
    written.parent.mkdir(parents=True)
    written.write_text(HANDLERS)
    theirs(tmp_path / "written" / Path(file).parts[0], site := tmp_path / "site")
    place = site if ours is theirs else tmp_path / "ours"
    for package in (leveret, leveret_consumer):
        ours(Path(package.__file__).parent, place)
    found = subprocess.run(
        [sys.executable, "-c", SAYS, module],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{place}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert file in lines[1], found.stdout
    assert lines[1].endswith(", in fail")
    assert "KeyError: 'theirs'" in lines
