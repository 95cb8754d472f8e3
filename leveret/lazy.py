"""Names of a package that are loaded when somebody asks for them (PEP 562).

A package offers names of parts that have little to do with each other: who wants one must not pay for all, nor have
installed what the others need. Type checkers see the names by the package's imports under TYPE_CHECKING.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module


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
