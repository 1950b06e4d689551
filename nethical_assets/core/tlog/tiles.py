"""The C2SP tlog-tiles layout on disk: ``tile/<level>/<index>`` and ``tile/entries/<index>``, full or partial.

What belongs here: paths, entry bundles, reading nodes and entries, appending leaves behind a given size. What does
not: which size is signed (``checkpoint``), whether what is on disk is right (``verify_tiles``).

A level-0 tile holds 256 leaf hashes; a tile at level L holds the roots of 256 full tiles of level L-1. A partial tile
of width W is a file of its own (``<index>.p/<W>``), so that every file is immutable once its size was signed.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.ground.storage import TEMPORARY_PREFIX, sync_folder, write_atomically
from nethical_assets.core.tlog.merkle import HASH_BYTES, hash_leaf, hash_pairs, root_from_nodes

TILE_WIDTH = 256
TILE_HEIGHT = 8
_GROUP = 1000
"""How many tiles of a level share a folder."""
MAXIMUM_ENTRY_BYTES = (1 << 16) - 1
ENTRIES = "entries"

_TILE_PATH = re.compile(
    r"(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


def tile_path(level: int | str, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile (or, for level ``entries``, of an entry bundle) below the log's folder."""
    parts = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03d}")
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(parts)}{suffix}"


def parse_tile_path(path: str) -> tuple[str, int, int] | None:
    """Level, index and width that ``path`` (below the log's folder) names; None when it names none."""
    match = _TILE_PATH.fullmatch(path.removeprefix("tile/"))
    if match is None or not path.startswith("tile/"):
        return None
    index = int(match["index"].replace("x", "").replace("/", ""))
    width = int(match["width"] or TILE_WIDTH)
    return (match["level"], index, width) if tile_path(match["level"], index, width) == path else None


def tile_widths(size: int) -> Iterator[tuple[int, int, int]]:
    """Level, index and width of the last tile of every level of a tree of ``size`` leaves (full or partial)."""
    level = 0
    nodes = size
    while nodes:
        index, width = divmod(nodes, TILE_WIDTH)
        yield (level, index, width) if width else (level, index - 1, TILE_WIDTH)
        level, nodes = level + 1, nodes >> TILE_HEIGHT


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: every entry behind its length as a big-endian 16-bit number."""
    return b"".join([struct.pack(">H", len(entry)) + entry for entry in entries])


def decode_entries(bundle: bytes, where: str, start: int = 0, stop: int = TILE_WIDTH) -> list[bytes]:
    """The entries of a bundle, or those from ``start`` to ``stop`` (not included).

    Raises:
        AuditError: the bundle ends inside an entry; the message names ``where``.
    """
    entries: list[bytes] = []
    at = number = 0
    while at < len(bundle) and number < stop:
        begin = at + 2
        at = begin + int.from_bytes(bundle[at:begin], "big")
        if at > len(bundle) or begin > len(bundle):
            raise AuditError(f"{where}: truncated entry bundle, it ends inside entry {number}")
        if number >= start:
            entries.append(bundle[begin:at])
        number += 1
    return entries


class TileFolder:
    """The tiles of one log, below ``folder/tile``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, level: int | str, index: int, width: int) -> bytes:
        """The bytes of a tile or bundle of at least ``width``: the file of that width, else the full one.

        Raises:
            AuditError: neither exists.
        """
        for candidate in dict.fromkeys([width, TILE_WIDTH]):
            try:
                with open(f"{self.folder}/{tile_path(level, index, candidate)}", "rb") as stream:
                    return stream.read()
            except FileNotFoundError:
                continue
        raise AuditError(f"{self.folder / tile_path(level, index, width)}: missing tile; restore it from a copy")

    def hashes(self, level: int, index: int, width: int) -> bytes:
        """The first ``width`` hashes of a tile, concatenated.

        Raises:
            AuditError: the tile is missing or of the wrong length.
        """
        data = self.read(level, index, width)
        if len(data) not in (width * HASH_BYTES, TILE_WIDTH * HASH_BYTES):
            path = self.folder / tile_path(level, index, width)
            raise AuditError(f"{path}: {len(data)} bytes, a tile of width {width} has {width * HASH_BYTES}")
        return data[: width * HASH_BYTES]

    def entries(self, index: int, width: int) -> list[bytes]:
        """The first ``width`` entries of a bundle.

        Raises:
            AuditError: the bundle is missing, malformed or too short.
        """
        where = str(self.folder / tile_path(ENTRIES, index, width))
        found = decode_entries(self.read(ENTRIES, index, width), where)
        if len(found) < width:
            raise AuditError(f"{where}: truncated entry bundle, {len(found)} entries where there must be {width}")
        return found[:width]

    def all_entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        """The entries ``start`` to ``size`` in order."""
        for index in range(start // TILE_WIDTH, -(-size // TILE_WIDTH)):
            first = index * TILE_WIDTH
            yield from self.entries(index, min(TILE_WIDTH, size - first))[max(0, start - first) :]

    def entries_between(self, start: int, stop: int, size: int) -> Iterator[bytes]:
        """The entries ``start`` to ``stop`` (not included) of a tree of ``size`` leaves; no other bundle is read.

        Raises:
            AuditError: they are not all in the tree, or a bundle is missing or malformed.
        """
        if not 0 <= start <= stop <= size:
            raise AuditError(f"{self.folder}: leaves {start} to {stop} are not in a tree of {size} leaves")
        for index in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            first = index * TILE_WIDTH
            where = str(self.folder / tile_path(ENTRIES, index))
            found = decode_entries(
                self.read(ENTRIES, index, min(TILE_WIDTH, size - first)), where, max(0, start - first), stop - first
            )
            if len(found) != min(stop - first, TILE_WIDTH) - max(0, start - first):
                raise AuditError(f"{where}: truncated entry bundle, leaves are missing")
            yield from found

    def reader(self, size: int) -> TreeReader:
        """The nodes of the tree over the first ``size`` leaves, read from tiles."""
        return TreeReader(self, size)

    def root(self, size: int) -> bytes:
        """The root over the first ``size`` leaves, from the tiles at the right edge."""
        return root_from_nodes(size, self.reader(size).node)

    def append(self, size: int, entries: Sequence[bytes]) -> int:
        """Write ``entries`` behind the first ``size``; return the new size. Durable when it returns.

        Existing files keep their bytes: a wider partial tile is a new file.

        Raises:
            AuditError: an entry is larger than 65535 bytes, or the tiles at the right edge are missing.
            OSError: the disk is full or not writable; what was written lies behind the signed size and does not count.
        """
        for entry in entries:
            if len(entry) > MAXIMUM_ENTRY_BYTES:
                raise AuditError(f"a log entry has {len(entry)} bytes, at most {MAXIMUM_ENTRY_BYTES} are allowed")
        start = size - size % TILE_WIDTH
        bundle = [*self.all_entries(size, start), *entries]
        for at in range(0, len(bundle), TILE_WIDTH):
            part = bundle[at : at + TILE_WIDTH]
            self._write(ENTRIES, (start + at) // TILE_WIDTH, len(part), encode_entries(part))
        self._append_hashes(size, b"".join([hash_leaf(entry) for entry in entries]))
        return size + len(entries)

    def discard_beyond(self, size: int) -> None:
        """Remove what an append that was not signed left: files with more than ``size`` leaves, and temporary ones.

        Looks only where such an append writes, from the right edge on, and removes the last file first, so that a
        removal that is cut off leaves no gap behind which the next one would not look.
        """
        tiles = self.folder / "tile"
        for level in _names(tiles) if tiles.is_dir() else ():
            if level == ENTRIES or level.isdecimal():
                for path in reversed(list(self._beyond(level, nodes_at(level, size)))):
                    path.unlink()

    def _beyond(self, level: str, nodes: int) -> Iterator[Path]:
        """The files of a level that hold more than ``nodes``, and temporary ones, in order of their tiles."""
        edge, width = divmod(nodes, TILE_WIDTH)
        group = edge // _GROUP
        while (folder := (self.folder / tile_path(level, group * _GROUP)).parent).is_dir():
            first = f"{max(0, edge - group * _GROUP):03d}"
            for name in _names(folder, first):
                if name.startswith(TEMPORARY_PREFIX):
                    yield folder / name
                    continue
                number, partial = name.removesuffix(".p"), name.endswith(".p")
                index = group * _GROUP + int(number) if number.isdecimal() else -1
                if index >= edge and not partial:
                    yield folder / name
                elif index >= edge:
                    for one in _names(folder / name):
                        beyond = one.isdecimal() and (index > edge or int(one) > width)
                        if beyond or one.startswith(TEMPORARY_PREFIX):
                            yield folder / name / one
            group += 1

    def discard_superseded_partials(self, before: int, size: int) -> None:
        """Remove partial tiles of the tree of ``before`` leaves that are full in the tree of ``size`` leaves."""
        for level, index, _ in tile_widths(before):
            names = (level, ENTRIES) if level == 0 else (level,)
            for name in names:
                full = self.folder / tile_path(name, index)
                partials = full.with_name(full.name + ".p")
                if (index + 1) * TILE_WIDTH <= nodes_at(str(name), size) and partials.is_dir():
                    for path in sorted(partials.iterdir()):
                        path.unlink()
                    partials.rmdir()

    def files(self) -> list[Path]:
        """Every file below ``tile``, sorted."""
        return sorted(path for path in (self.folder / "tile").rglob("*") if not path.is_dir())

    def _append_hashes(self, size: int, added: bytes) -> None:
        level = 0
        while added:
            index, width = divmod(nodes_at(str(level), size), TILE_WIDTH)
            hashes = (self.hashes(level, index, width) if width else b"") + added
            parents = []
            for at in range(0, len(hashes), TILE_WIDTH * HASH_BYTES):
                part = hashes[at : at + TILE_WIDTH * HASH_BYTES]
                self._write(level, index, len(part) // HASH_BYTES, part)
                if len(part) == TILE_WIDTH * HASH_BYTES:
                    parents.append(fold(part))
                index += 1
            level, added = level + 1, b"".join(parents)

    def _write(self, level: int | str, index: int, width: int, data: bytes) -> None:
        path = self.folder / tile_path(level, index, width)
        make_durable_folder(path.parent)
        write_atomically(path, data)


class TreeReader:
    """Complete nodes of the tree over the first ``size`` leaves of a folder; tiles read once are kept."""

    def __init__(self, tiles: TileFolder, size: int) -> None:
        self._tiles = tiles
        self._size = size
        self._read: dict[tuple[int, int], bytes] = {}
        self._nodes: dict[tuple[int, int], bytes] = {}

    def node(self, height: int, index: int) -> bytes:
        """The hash of a complete node."""
        if (height, index) not in self._nodes:
            self._nodes[height, index] = self._node(height, index)
        return self._nodes[height, index]

    def _node(self, height: int, index: int) -> bytes:
        level, above = divmod(height, TILE_HEIGHT)
        first = index << above
        tile, offset = divmod(first, TILE_WIDTH)
        if (level, tile) not in self._read:
            width = min(TILE_WIDTH, nodes_at(str(level), self._size) - tile * TILE_WIDTH)
            self._read[level, tile] = self._tiles.hashes(level, tile, width)
        part = self._read[level, tile][offset * HASH_BYTES : (offset + (1 << above)) * HASH_BYTES]
        return fold(part)


def _names(folder: Path, first: str = "") -> list[str]:
    """The names in a folder from ``first`` on, in order, and those of temporary files."""
    with os.scandir(folder) as entries:
        return sorted(one.name for one in entries if one.name >= first or one.name.startswith(TEMPORARY_PREFIX))


def fold(hashes: bytes) -> bytes:
    """The root over a power of two of concatenated hashes."""
    while len(hashes) > HASH_BYTES:
        hashes = hash_pairs(hashes)
    return hashes


def nodes_at(level: str, size: int) -> int:
    """How many hashes (or entries) a level has in a tree of ``size`` leaves."""
    return size if level == ENTRIES else size >> (TILE_HEIGHT * int(level))


def make_durable_folder(folder: Path) -> None:
    """Create ``folder`` and its missing parents so that they survive a power failure."""
    if folder.is_dir():
        return
    make_durable_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
