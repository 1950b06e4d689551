"""Files that a person named for one command or setting: keys, policies, proofs, certificates, settings.

What belongs here: reading one whole, and saying in one line why that cannot be done, as bad input. What does not: what
is kept in a home, whose loss is another matter, or tables, which are read in pieces (``core.reading``).
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from nethical_assets.core.ground.errors import InputFileError

MAXIMUM_BYTES = 1 << 24
_PIECE = 1 << 16


def read_given(path: Path, advice: str) -> bytes:
    """The bytes of a file, at most ``MAXIMUM_BYTES``; a pipe that a shell made is read too, one without a writer is
    empty.

    Args:
        advice: what to do about a file that cannot be used, as the error ends: "name a policy file".

    Raises:
        InputFileError: it is missing, a folder, not readable, empty, or too large; one line, without anything of it.
    """
    try:
        # A pipe that nobody writes to would be waited for while it is opened.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise InputFileError(f"{path}: is a folder; {advice}")
            os.set_blocking(descriptor, True)
            data = bytearray()
            while len(data) <= MAXIMUM_BYTES and (piece := os.read(descriptor, _PIECE)):
                data += piece
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise InputFileError(f"{path}: no such file; {advice}") from None
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    if len(data) > MAXIMUM_BYTES:
        raise InputFileError(f"{path}: is larger than {MAXIMUM_BYTES >> 20} MB; {advice}")
    if not data:
        raise InputFileError(f"{path}: is empty; {advice}")
    return bytes(data)


def read_given_text(path: Path, advice: str) -> str:
    """As ``read_given``, UTF-8 text.

    Raises:
        InputFileError: it cannot be read, or is something else.
    """
    try:
        return read_given(path, advice).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path}: byte {error.start} is not UTF-8 text; {advice}") from None


def read_given_toml(path: Path, advice: str) -> dict[str, Any]:
    """As ``read_given``, a TOML document.

    Raises:
        InputFileError: it cannot be read, or is something else.
    """
    try:
        return tomllib.loads(read_given_text(path, advice))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputFileError(f"{path}: not readable as TOML ({error}); {advice}") from None


def read_given_json(path: Path, advice: str) -> Any:
    """As ``read_given``, a JSON document in which no object has a key twice.

    Raises:
        InputFileError: it cannot be read, or is something else.
    """
    try:
        return json.loads(read_given_text(path, advice), object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputFileError(f"{path}: not readable as JSON ({error.msg}, {place}); {advice}") from None
    except (ValueError, RecursionError) as error:
        raise InputFileError(f"{path}: not readable as JSON ({error}); {advice}") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} is given twice")
        found[key] = value
    return found
