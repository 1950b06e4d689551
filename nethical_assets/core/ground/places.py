"""Texts without the folders of this machine, so that evidence reads the same wherever it was made.

What belongs here: putting the name of a place where its path stands, and back. What does not: which places there are
(``home.workspace``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Places:
    """Folders of this machine by the names that stand for them, such as ``NETHICAL_HOME``."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = {name: str(folder) for name, folder in folders.items()}
        self._names = {
            text: name
            for name, folder in folders.items()
            for text in {str(folder), str(folder.resolve())} - {folder.anchor}
        }
        # A place may be inside another: the longest path that fits is the one that is meant.
        self._paths = _any_of(sorted(self._names, key=len, reverse=True), r"(?<![\w./-])(?:{})(?![\w-])")
        self._named = _any_of(self._folders, r"\b(?:{})(?=/)")

    def named(self, value: Any) -> Any:
        """The JSON ``value`` with the names of places for their paths in all its texts, keys included."""
        return _replaced(value, self._paths, lambda found: self._names[found[0]])

    def opened(self, value: Any) -> Any:
        """The inverse of :meth:`named` for paths below a place, for people of this machine."""
        return _replaced(value, self._named, lambda found: self._folders[found[0]])


def _any_of(texts: Any, pattern: str) -> re.Pattern[str]:
    # Without a text there is nothing to find: an empty look-ahead that fails.
    return re.compile(pattern.replace("{}", "|".join(map(re.escape, texts)) or r"(?!)"))


def _replaced(value: Any, pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(replacement, value)
    if isinstance(value, Mapping):
        return {
            _replaced(key, pattern, replacement): _replaced(one, pattern, replacement) for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_replaced(one, pattern, replacement) for one in value]
    return value
