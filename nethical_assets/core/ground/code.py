"""Which code a result depends on, derived from the import graph of this package.

What belongs here: the modules that a function or a module reaches by imports, and the digest of their sources. What
    does not: which function a stage runs (its declaration says), or which family it runs for
    (``core.detectors.registry``).

Imports inside functions count; imports for type checkers only do not. A family is found by name at run time and
imported by nobody, so that its code and its helpers are in its own digest and in no other.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from nethical_assets.core.ground.digests import digest_bytes, digest_json

PACKAGE = "nethical_assets"
_FOLDER = Path(__file__).resolve().parents[2]

Root = Callable[..., Any] | str
"""A function, or the dotted name of a module of this package."""


class CodeGraph:
    """The imports between the modules of this package as their files are now; make a new one to see later changes."""

    def __init__(self) -> None:
        import grimp

        # Without a cache folder: nothing is written outside the home.
        self._graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
        self._sources: dict[str, str] = {}
        self._files: dict[Path, dict[str, str]] = {}

    def modules(self, *roots: Root, without: Collection[str] = ()) -> tuple[str, ...]:
        """The modules that ``roots`` reach, themselves included, sorted; not through or including ``without``.

        Raises:
            ValueError: a root is not in a module of this package.
        """
        waiting = [root if isinstance(root, str) else root.__module__ for root in roots]
        for name in waiting:
            if name not in self._graph.modules:
                raise ValueError(f"{name} is not a module of {PACKAGE}")
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in found and name not in without:
                found.add(name)
                waiting += self._graph.find_modules_directly_imported_by(name)
        return tuple(sorted(found))

    def digest(self, *roots: Root, without: Collection[str] = ()) -> str:
        """The digest of the sources of everything that ``roots`` reach, not through or including ``without``."""
        return digest_json({name: self._source(name) for name in self.modules(*roots, without=without)})

    def _source(self, name: str) -> str:
        if name not in self._sources:
            relative = Path(*name.split(".")[1:])
            package = _FOLDER / relative / "__init__.py"
            path = package if package.exists() else (_FOLDER / relative).with_suffix(".py")
            source = digest_bytes(path.read_bytes())
            read = self._read_by(path.parent)
            self._sources[name] = digest_json({"source": source, "files": read}) if read else source
        return self._sources[name]

    def _read_by(self, folder: Path) -> dict[str, str]:
        """The digests of the files that the modules of a package may read: templates, for one. No import names them, so
        that every module of the package is taken to depend on all of them; those of packages below are theirs."""
        if folder not in self._files:
            found: dict[str, str] = {}
            for place, folders, names in os.walk(folder):
                here = Path(place)
                folders[:] = [
                    one for one in folders if one != "__pycache__" and not (here / one / "__init__.py").exists()
                ]
                paths = [here / name for name in names if not name.startswith(".") and not name.endswith(".py")]
                found |= {path.relative_to(folder).as_posix(): digest_bytes(path.read_bytes()) for path in paths}
            self._files[folder] = dict(sorted(found.items()))
        return self._files[folder]


@functools.cache
def loaded_code() -> CodeGraph:
    """The graph of this process, whose code does not change while it runs."""
    return CodeGraph()
