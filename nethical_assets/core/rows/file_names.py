"""Names of a dataset's files: which of them the catalog means, and which are no data.

What belongs here: comparing names and patterns. What does not: what a file holds (``core.reading``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
    taken for the name itself, to the letter and then as :func:`same_name`, and only then for a pattern, of which each
    part (folder or name) may still be meant to the letter (``data [v1]/*.csv``). Litter is never chosen.
    """
    left = sorted(name for name in available if not is_litter(name))
    chosen: list[tuple[FileEntry, str | None]] = []
    for file_entry in entry.files:
        found = _first_named(file_entry.path, left)
        if found is not None:
            left.remove(found)
        chosen.append((file_entry, found))
    return chosen


def private_files(
    entry: DatasetEntry, names: Sequence[str], private_names: Callable[[Sequence[str]], frozenset[str]]
) -> frozenset[str]:
    """The names of files that are personal data, but for those that the ``entry`` declares to the letter: these were
    written by who runs this.

    ``private_names`` says which of some texts are: a name is looked at with and without its ending.
    """
    stems = {name: str(PurePosixPath(name).with_suffix("")) for name in names}
    private = private_names([*stems, *stems.values()])
    declared = {pattern for file in entry.files for pattern in file.path}
    return frozenset(name for name, stem in stems.items() if private & {name, stem} and name not in declared)


def plain_files(names: Sequence[str], private: Collection[str]) -> dict[str, str]:
    """What each file is called in tables, reports and messages: its name, or its number where that is ``private``.

    >>> plain_files(["a.csv", "x/anna@example.org.csv"], {"x/anna@example.org.csv"})
    {'a.csv': 'a.csv', 'x/anna@example.org.csv': 'file 2.csv'}
    """
    return {
        name: f"file {number}{PurePosixPath(name).suffix}" if name in private else name
        for number, name in enumerate(names, start=1)
    }


def with_plain_files(entry: DatasetEntry, plain: Mapping[str, str]) -> DatasetEntry:
    """``entry`` with the files that it names to the letter called as ``plain`` says."""
    files = [
        file.model_copy(update={"path": tuple(plain.get(name, name) for name in file.path)}) for file in entry.files
    ]
    return entry.model_copy(update={"files": tuple(files)})


def names_file(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns of a file entry means a file of this name (no path)."""
    last = [pattern.rpartition("/")[2] for pattern in patterns]
    return any(same_name(pattern, name) or _part_fits(_comparable(name), _comparable(pattern)) for pattern in last)


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
    parts, wanted = PurePosixPath(_comparable(name)).parts, PurePosixPath(_comparable(pattern)).parts
    if not wanted or len(wanted) > len(parts) or (wanted[0] == "/" and len(wanted) != len(parts)):
        return False
    return all(map(_part_fits, parts[-len(wanted) :], wanted))


def _part_fits(part: str, pattern: str) -> bool:
    """Whether one part of a path is meant by one of a pattern: as it stands, as a pattern, or as one whose brackets are
    brackets (``train[1]*.csv``)."""
    return part == pattern or fnmatchcase(part, pattern) or fnmatchcase(part, pattern.replace("[", "[[]"))


def _comparable(name: str) -> str:
    """The name in NFC, its ending in lower case."""
    composed = unicodedata.normalize("NFC", name)
    ending = PurePosixPath(composed).suffix
    return composed[: len(composed) - len(ending)] + ending.lower()
