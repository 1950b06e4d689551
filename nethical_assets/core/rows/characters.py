"""Classes of characters of RE2, applied to one text without compiling anything.

What belongs here: replacing and counting the characters of a class in one text. What does not: columns of texts, which
Arrow does, or what the classes are (the families).

Arrow compiles a pattern at every call, which for a class of Unicode takes longer than most texts. Here each character
is looked up once by the compiled class and remembered; RE2's tables are those of Arrow, so that one text is what it
would be in a column (a test compares every code point).
"""

from __future__ import annotations

from typing import Any

import re2  # type: ignore[import-untyped]


class CharacterTable(dict[int, str]):
    """For ``str.translate``: the characters of a class become ``replacement``, in which ``\\0`` is the character."""

    def __init__(self, character_class: str, replacement: str = "") -> None:
        super().__init__()
        options = re2.Options()
        options.log_errors = False
        self._compiled: Any = re2.compile(character_class, options)
        self._replacement = replacement

    def __missing__(self, point: int) -> str:
        character = chr(point)
        if 0xD800 <= point <= 0xDFFF or self._compiled.fullmatch(character) is None:
            result = character
        else:
            result = self._replacement.replace("\\0", character)
        self[point] = result
        return result

    def count(self, text: str) -> int:
        """How many characters of ``text`` are of the class, where they are replaced by nothing."""
        return len(text) - len(text.translate(self))
