"""Names of a dataset's files: which of them the catalog means, and which are no data.

What belongs here: comparing names and patterns. What does not: what a file holds (``core.reading``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from nethical_assets.core.rows.catalog import DatasetEntry, FileEntry

_LITTER_FOLDERS = frozenset(
    {
        "__macosx", ".appledouble", ".fseventsd", ".spotlight-v100", ".trashes", ".temporaryitems", "@eadir",
        "$recycle.bin", "system volume information", ".ipynb_checkpoints", ".git", "__pycache__",
    }
)  # fmt: skip
_LITTER_NAMES = re.compile(
    r"\._.*|\.ds_store|\.localized|icon\r|(eh)?thumbs(_vista)?\.db|desktop\.ini|\.directory|~\$.*|\.~lock\..*#",
    re.DOTALL,
)


def is_litter(name: str) -> bool:
    """Whether a path is what a system or program left beside the data, such as ``__MACOSX/._a.csv`` or ``Thumbs.db``.

    Such files are never data, whatever a pattern says. Names are compared without case.
    """
    *folders, last = PurePosixPath(name.casefold()).parts or ("",)
    return (
        not _LITTER_FOLDERS.isdisjoint((*folders, last))
        or _LITTER_NAMES.fullmatch(last) is not None
        or any(folder.startswith("._") for folder in folders)
    )


def choose_files(entry: DatasetEntry, available: Iterable[str]) -> list[tuple[FileEntry, str | None]]:
    """For each file entry, the first available file that one of its patterns names and no earlier entry took.

    Patterns are tried in order, and match from the right of the path (``*.csv`` finds ``a/b.csv``). Each is first
    taken for the name itself, to the letter and then as :func:`same_name`, and only then for a pattern. Litter is never
    chosen.
    """
    left = sorted(name for name in available if not is_litter(name))
    chosen: list[tuple[FileEntry, str | None]] = []
    for file_entry in entry.files:
        found = _first_named(file_entry.path, left)
        if found is not None:
            left.remove(found)
        chosen.append((file_entry, found))
    return chosen


def names_file(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns of a file entry means a file of this name (no path)."""
    return any(same_name(pattern, name) or fnmatchcase(_comparable(name), _comparable(pattern)) for pattern in patterns)


def same_name(first: str, second: str) -> bool:
    """Whether two names are the same after NFC (Unicode Annex 15) and with their endings in one case."""
    return _comparable(first) == _comparable(second)


def _first_named(patterns: Iterable[str], names: list[str]) -> str | None:
    for pattern in patterns:
        for means in (_exactly, _literally, _as_same_name, _as_pattern):
            found = next((name for name in names if means(name, pattern)), None)
            if found is not None:
                return found
    return None


def _exactly(name: str, pattern: str) -> bool:
    return name == pattern


def _literally(name: str, pattern: str) -> bool:
    return name == pattern or name.endswith(f"/{pattern}")


def _as_same_name(name: str, pattern: str) -> bool:
    return _literally(_comparable(name), _comparable(pattern))


def _as_pattern(name: str, pattern: str) -> bool:
    return PurePosixPath(_comparable(name)).match(_comparable(pattern))


def _comparable(name: str) -> str:
    """The name in NFC, its ending in lower case."""
    composed = unicodedata.normalize("NFC", name)
    ending = PurePosixPath(composed).suffix
    return composed[: len(composed) - len(ending)] + ending.lower()
