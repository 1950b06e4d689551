"""A map from names to numbers that one hash commits to: what it holds, and what it does not hold, can be checked.

What belongs here: looking up and updating a hash trie whose nodes are kept anywhere. What does not: where they are kept
(``index``), what the names mean (``state``).

A name stands under its SHA-256. A node is a bucket (0x00, then up to 8 entries of a 32-byte name hash and a big-endian
64-bit number, sorted) or a branch (0x01, then the hashes of 16 children, one for each next four bits). Nodes are named
by their SHA-256, so that a changed node is noticed when it is read, and the same map always has the same hash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256

from nethical_assets.core.ground.errors import AuditError

NodeReader = Callable[[bytes], bytes]
"""The bytes of the node with this hash; raises ``DamagedIndexError`` when it is not there."""

_BUCKET, _BRANCH = b"\x00", b"\x01"
_HASH, _NUMBER, _FANOUT, _BUCKET_SIZE = 32, 8, 16, 8
_ENTRY = _HASH + _NUMBER
EMPTY_MAP = sha256(_BUCKET).digest()


class DamagedIndexError(AuditError):
    """What the index beside the log answers is missing, or is not what the log signed; the log itself may be sound."""


def lookup(root: bytes, name: str, node: NodeReader) -> int | None:
    """The number of ``name`` in the map ``root``; None is proven as well as a number.

    Raises:
        DamagedIndexError: a node on the way is missing or changed.
    """
    wanted = sha256(name.encode()).digest()
    depth = 0
    while True:
        data = _open(root, node)
        if data[:1] == _BUCKET:
            return _entries(data).get(wanted)
        at = 1 + _nibble(wanted, depth) * _HASH
        root, depth = data[at : at + _HASH], depth + 1


def update(root: bytes, changes: Mapping[str, int], node: NodeReader) -> tuple[bytes, dict[bytes, bytes], set[bytes]]:
    """The hash of the map with ``changes``, the nodes that are new, and the hashes of those it does not need any more.

    Raises:
        DamagedIndexError: a node on the way is missing or changed.
    """
    added: dict[bytes, bytes] = {}
    removed: set[bytes] = set()

    def insert(at: bytes, depth: int, entries: dict[bytes, int]) -> bytes:
        data = _open(at, node)
        removed.add(at)
        if data[:1] == _BUCKET:
            return build(depth, {**_entries(data), **entries})
        children = [data[start : start + _HASH] for start in range(1, len(data), _HASH)]
        for number, part in _split(depth, entries).items():
            children[number] = insert(children[number], depth + 1, part)
        return keep(_BRANCH + b"".join(children))

    def build(depth: int, entries: dict[bytes, int]) -> bytes:
        if len(entries) <= _BUCKET_SIZE:
            return keep(_BUCKET + b"".join(key + entries[key].to_bytes(_NUMBER, "big") for key in sorted(entries)))
        parts = _split(depth, entries)
        return keep(_BRANCH + b"".join(build(depth + 1, parts[n]) if n in parts else EMPTY_MAP for n in range(_FANOUT)))

    def keep(data: bytes) -> bytes:
        digest = sha256(data).digest()
        added[digest] = data
        return digest

    changed = insert(root, 0, {sha256(name.encode()).digest(): number for name, number in changes.items()})
    return changed, added, removed - added.keys()


def reachable(root: bytes, node: NodeReader) -> set[bytes]:
    """The hashes of all nodes of the map ``root``.

    Raises:
        DamagedIndexError: one is missing or changed.
    """
    found: set[bytes] = set()
    waiting = [root]
    while waiting:
        digest = waiting.pop()
        data = _open(digest, node)
        if digest != EMPTY_MAP:
            found.add(digest)
        if data[:1] == _BRANCH:
            waiting += [data[start : start + _HASH] for start in range(1, len(data), _HASH)]
    return found


def _open(digest: bytes, node: NodeReader) -> bytes:
    if digest == EMPTY_MAP:
        return _BUCKET
    data = node(digest)
    if sha256(data).digest() != digest:
        raise DamagedIndexError(f"node {digest.hex()} of the index was changed on disk")
    return data


def _entries(data: bytes) -> dict[bytes, int]:
    return {
        data[at : at + _HASH]: int.from_bytes(data[at + _HASH : at + _ENTRY], "big")
        for at in range(1, len(data), _ENTRY)
    }


def _split(depth: int, entries: Mapping[bytes, int]) -> dict[int, dict[bytes, int]]:
    parts: dict[int, dict[bytes, int]] = {}
    for key, number in entries.items():
        parts.setdefault(_nibble(key, depth), {})[key] = number
    return parts


def _nibble(key: bytes, depth: int) -> int:
    return key[depth // 2] >> (0 if depth % 2 else 4) & 15
