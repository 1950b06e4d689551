"""Verification of a tiled log's files: entries, leaf hashes, upper tiles, root. Knows nothing of events.

What belongs here: what must hold for any tlog-tiles log. What does not: signatures (``note``) and events.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.ground.storage import TEMPORARY_PREFIX
from nethical_assets.core.tlog.merkle import HASH_BYTES, MerkleTree, hash_leaf
from nethical_assets.core.tlog.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TileFolder,
    decode_entries,
    encode_entries,
    nodes_at,
    parse_tile_path,
    tile_widths,
)

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def no_progress(what: str, done: int, total: int) -> None:
    """Tells nobody."""


class TreeVerification:
    """Recomputes the tree over the first ``size`` entries in ``folder`` from the entries alone.

    ``entries`` and ``tree`` hold what could be read, ``problems`` one line a defect, ``notes`` what is odd but sound.
    """

    def __init__(self, folder: Path, size: int, progress: Progress = no_progress) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.entries: list[bytes] = []
        self.tree = MerkleTree()
        self._tiles = TileFolder(folder)
        self._size = size
        self._progress = progress
        self._read_entries()
        if not self.problems:
            self._check_required()
        self._check_files()

    @property
    def complete(self) -> bool:
        """Whether every entry could be read, so that there is a tree to compare with."""
        return self.tree.size == self._size

    def check_root(self, root: bytes) -> None:
        """Compare the recomputed root with a signed one."""
        if self.complete and self.tree.root() != root:
            computed = self.tree.root().hex()
            self.problems.append(f"checkpoint: it signs root {root.hex()}, the {self._size} entries give {computed}")

    def _read_entries(self) -> None:
        for first in range(0, self._size, TILE_WIDTH):
            width = min(TILE_WIDTH, self._size - first)
            index = first // TILE_WIDTH
            try:
                entries = self._tiles.entries(index, width)
            except AuditError as error:
                self.problems.append(f"truncated log: {error}")
                return
            self.entries.extend(entries)
            self.tree.extend(map(hash_leaf, entries))
            self._progress("leaves read", first + width, self._size)

    def _check_required(self) -> None:
        """Every last tile of a level that this size needs must be there; full ones to the left of it too."""
        for level, last, width in tile_widths(self._size):
            for index in range(last + 1):
                wanted = width if index == last else TILE_WIDTH
                try:
                    found = self._tiles.hashes(level, index, wanted)
                except AuditError as error:
                    self.problems.append(f"tree: {error}")
                    continue
                if found != self._expected(level, index, wanted):
                    self.problems.append(f"tree: tile {index} of level {level} does not follow from the entries")

    def _check_files(self) -> None:
        for path in self._tiles.files():
            name = path.relative_to(self._tiles.folder).as_posix()
            parsed = parse_tile_path(name)
            if path.name.startswith(TEMPORARY_PREFIX):
                self.notes.append(f"{name}: left by a process that died; the next writer removes it")
            elif path.is_symlink() or parsed is None:
                self.problems.append(f"{name}: unexpected file, no tile has this name")
            elif parsed[1] * TILE_WIDTH + parsed[2] > nodes_at(parsed[0], self._size):
                self.notes.append(f"{name}: behind the signed size {self._size}, left by an unfinished append")
            elif self.complete:
                with contextlib.suppress(
                    FileNotFoundError
                ):  # a writer at work may replace a partial tile by the full one
                    self._check_file(path.read_bytes(), name, *parsed)

    def _check_file(self, data: bytes, name: str, level: str, index: int, width: int) -> None:
        first = index * TILE_WIDTH
        if level == ENTRIES:
            expected_entries = self.entries[first : first + width]
            if data != encode_entries(expected_entries):
                self.problems.append(f"{name}: {_entry_difference(data, expected_entries, first, name)}")
            return
        expected = self._expected(int(level), index, width)
        if len(data) != len(expected):
            self.problems.append(f"{name}: {len(data)} bytes, a tile of width {width} has {len(expected)}")
        elif data != expected:
            at = next(at for at, (found, right) in enumerate(zip(data, expected, strict=True)) if found != right)
            what = "the hash of its entry" if level == "0" else "the root of the tile below"
            self.problems.append(f"{name}: hash {first + at // HASH_BYTES} is not {what}")

    def _expected(self, level: int, index: int, width: int) -> bytes:
        first = index * TILE_WIDTH
        return self.tree.nodes(TILE_HEIGHT * level, first, width)


def _entry_difference(data: bytes, expected: list[bytes], first: int, name: str) -> str:
    try:
        found = decode_entries(data, name)
    except AuditError:
        return "truncated entry bundle"
    if len(found) != len(expected):
        return f"{len(found)} entries, its name says {len(expected)}"
    at = next(at for at, (one, other) in enumerate(zip(found, expected, strict=True)) if one != other)
    return f"entry {first + at} differs from the same entry in another bundle"
