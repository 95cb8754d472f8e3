"""Names of a package that are loaded when somebody asks for them (PEP 562).

A package offers names of parts that have little to do with each other: who wants one must not pay for all, nor have
installed what the others need. Type checkers see the names by the package's imports under TYPE_CHECKING.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType, SimpleNamespace


def attributes(package: str, places: Mapping[str, str]) -> Callable[[str], object]:
    """Return the package's `__getattr__`: each name is taken from its module once, at its first use."""

    def find(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(import_module(places[name]), name)
        setattr(sys.modules[package], name, found)
        return found

    return find


@contextmanager
def absent(package: str) -> Iterator[None]:
    """While this holds, importing the package fails, unless it was imported before: for those who try it and do without."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


_METADATA = "importlib.metadata"


@contextmanager
def versions_by_folder() -> Iterator[None]:
    """While this holds, what is imported and asks `importlib.metadata` for its version is told what its folder's name says.

    The real one loads the parsers of e-mails and archives, a twelfth of what a consumer loads before it works. It is loaded
    for whoever asks for anything else, or is in no such folder.
    """
    if _METADATA in sys.modules:
        yield
        return
    sys.modules[_METADATA] = ours = _Versions(_METADATA)
    try:
        yield
    finally:
        if sys.modules.get(_METADATA) is ours:
            del sys.modules[_METADATA]


class _Versions(ModuleType):
    def __getattr__(self, name: str) -> object:
        match name:
            case "version":
                return _version
            case "Distribution":
                return SimpleNamespace(from_name=lambda name: SimpleNamespace(version=_version(name)))
        if name.startswith("__"):  # such as __path__, which each import asks for
            raise AttributeError(name)
        return getattr(_real(), name)


def _version(name: str) -> str:
    beginning, end = f"{name.replace('-', '_')}-", ".dist-info"
    folders = (one for place in sys.path if os.path.isdir(place) for one in os.listdir(place))  # noqa: PTH112, PTH208
    versions = [one[len(beginning) : -len(end)] for one in folders if one.startswith(beginning) and one.endswith(end)]
    return versions[0] if versions else str(_real().version(name))


def _real() -> ModuleType:
    if isinstance(sys.modules[_METADATA], _Versions):
        del sys.modules[_METADATA]
    return import_module(_METADATA)
