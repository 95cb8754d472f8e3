"""What is left out while something is imported, in interpreters of their own: they have imported nothing yet."""

import subprocess
import sys

import pytest


def said(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def test_a_package_that_is_absent_can_be_imported_afterwards() -> None:
    program = """
from leveret.lazy import absent
with absent("rich"):
    try:
        import rich
    except ImportError:
        print("absent")
import rich
print(rich.__name__)
with absent("rich"):
    import rich.text
    print(rich.text.__name__)
"""
    assert said(program) == ["absent", "rich", "rich.text"]


def test_a_version_is_the_folders_and_the_reader_of_descriptions_is_not_loaded() -> None:
    program = """
import sys
from leveret.lazy import versions_by_folder
with versions_by_folder():
    from importlib.metadata import Distribution, version
    found = [version("aiormq"), Distribution.from_name("aio-pika").version]
print("importlib.metadata" in sys.modules, "email" in sys.modules)
import importlib.metadata
print(found == [importlib.metadata.version(name) for name in ("aiormq", "aio-pika")])
"""
    assert said(program) == ["False", "False", "True"]


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param("from importlib.metadata import entry_points; print(callable(entry_points))", id="another name"),
        pytest.param("import importlib.metadata as m; print(callable(m.requires))", id="the module"),
        pytest.param(
            "from importlib.metadata import version, PackageNotFoundError\n"
            "    try: version('there-is-none')\n"
            "    except PackageNotFoundError: print(True)",
            id="none of that name",
        ),
    ],
)
def test_who_asks_for_anything_else_gets_it_from_the_real_one(asked: str) -> None:
    assert said(f"from leveret.lazy import versions_by_folder\nwith versions_by_folder():\n    {asked}") == ["True"]
