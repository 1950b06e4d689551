"""The Merkle tree of RFC 6962 section 2.1 (the same tree as RFC 9162): hashes, roots, proofs and their verification.

What belongs here: pure arithmetic over SHA-256 hashes, in memory. What does not: files (``tiles``), signatures
(``note``), the meaning of a leaf (the user of this package).

A node is addressed by ``(height, index)``: it is the hash of the ``2**height`` leaves that start at leaf
``index * 2**height``. Only complete nodes have an address; the ragged right edge of a tree whose size is no power of
two is folded from complete nodes where it is needed, so that one function serves every size of a tree that only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from nethical_assets.core.ground.errors import AuditError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"

NodeReader = Callable[[int, int], bytes]
"""``(height, index)`` to the 32-byte hash of that complete node."""


class ProofError(AuditError):
    """A Merkle proof does not prove what it claims."""


def hash_leaf(entry: bytes) -> bytes:
    """The 32-byte hash of a leaf: SHA-256 of 0x00 and the entry."""
    return sha256(LEAF_PREFIX + entry).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """The 32-byte hash of an inner node: SHA-256 of 0x01 and both children."""
    return sha256(NODE_PREFIX + left + right).digest()


def hash_pairs(hashes: bytes | bytearray) -> bytes:
    """The parents of an even number of concatenated sibling hashes, concatenated."""
    digest = sha256
    prefix = NODE_PREFIX
    width = 2 * HASH_BYTES
    return b"".join([digest(prefix + hashes[at : at + width]).digest() for at in range(0, len(hashes), width)])


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over ``leaf_hashes``, in order."""
    tree = MerkleTree()
    tree.extend(leaf_hashes)
    return tree.root()


def root_from_nodes(size: int, node: NodeReader) -> bytes:
    """The root of the tree over the first ``size`` leaves, from its complete nodes."""
    edges = _right_edges(size, node)
    return edges[-1] if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """The audit path of leaf ``index`` in the tree over the first ``size`` leaves (RFC 6962 section 2.1.1).

    Raises:
        ProofError: there is no such leaf in a tree of that size.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size} leaves: ask for 0 <= index < size")
    return _path(0, index, size, node)


def consistency_proof(first: int, second: int, node: NodeReader) -> list[bytes]:
    """The proof that the tree over ``first`` leaves is a prefix of the one over ``second`` (RFC 6962 section 2.1.2).

    Empty when ``first`` is 0 or equals ``second``.

    Raises:
        ProofError: ``first`` is larger than ``second``, or negative.
    """
    if not 0 <= first <= second:
        raise ProofError(f"no consistency proof from size {first} to size {second}: the sizes must not decrease")
    if first in (0, second):
        return []
    height, index = _last_complete_node(first)
    path = _path(height, index, second, node)
    return path if index == 0 else [node(height, index), *path]


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf_hash`` is leaf ``index`` of the tree of ``size`` leaves with that root (RFC 9162, 2.1.3.2).

    Raises:
        ProofError: it is not, or the proof is malformed; the message says which.
    """
    if not 0 <= index < size:
        raise ProofError(f"inclusion proof: leaf index {index} is outside a tree of {size} leaves")
    _check_hashes("inclusion proof", [leaf_hash, root, *proof])
    position, last = index, size - 1
    computed = leaf_hash
    for sibling in proof:
        if last == 0:
            raise ProofError(f"inclusion proof: {len(proof)} hashes are too many for leaf {index} of {size}")
        if position & 1 or position == last:
            computed = hash_children(sibling, computed)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            computed = hash_children(computed, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError(f"inclusion proof: {len(proof)} hashes are too few for leaf {index} of {size}")
    if computed != root:
        raise ProofError(f"inclusion proof: leaf {index} of {size} leads to root {computed.hex()}, not {root.hex()}")


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``first`` leaves is a prefix of the tree of ``second`` (RFC 9162 section 2.1.4.2).

    A tree of size 0 is a prefix of every tree; its root must be the empty root and the proof empty.

    Raises:
        ProofError: it is not, or the proof is malformed; the message says which.
    """
    if not 0 <= first <= second:
        raise ProofError(f"consistency proof: sizes {first} and {second} do not grow")
    _check_hashes("consistency proof", [first_root, second_root, *proof])
    if first == 0 and first_root != EMPTY_ROOT:
        raise ProofError(f"consistency proof: root {first_root.hex()} is not the root of an empty tree")
    if first in (0, second):
        if proof:
            raise ProofError(
                f"consistency proof: from size {first} to {second} it must be empty, not {len(proof)} hashes"
            )
        if first == second and first_root != second_root:
            raise ProofError(f"consistency proof: two different roots for size {first}")
        return
    first_computed, second_computed = _fold_consistency(first, second, first_root, proof)
    if first_computed != first_root:
        raise ProofError(f"consistency proof: it leads to root {first_computed.hex()} for size {first}")
    if second_computed != second_root:
        raise ProofError(f"consistency proof: it leads to root {second_computed.hex()} for size {second}")


def _fold_consistency(first: int, second: int, first_root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots that a proof between two different, non-empty trees leads to."""
    height, position = _last_complete_node(first)
    last = (second - 1) >> height
    path = [first_root, *proof] if position == 0 else list(proof)
    if not path:
        raise ProofError(f"consistency proof: it is empty, which proves nothing from size {first} to {second}")
    first_computed = second_computed = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError(f"consistency proof: {len(proof)} hashes are too many for sizes {first} and {second}")
        if position & 1 or position == last:
            first_computed = hash_children(sibling, first_computed)
            second_computed = hash_children(sibling, second_computed)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            second_computed = hash_children(second_computed, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError(f"consistency proof: {len(proof)} hashes are too few for sizes {first} and {second}")
    return first_computed, second_computed


class MerkleTree:
    """A growing tree in memory: one flat byte array a height, 32 bytes a complete node."""

    def __init__(self) -> None:
        self._levels: list[bytearray] = [bytearray()]

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0]) // HASH_BYTES

    def append(self, leaf_hash: bytes) -> int:
        """Add one leaf hash; return its index."""
        index = self.size
        self._levels[0] += leaf_hash
        self._complete()
        return index

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Add leaf hashes in order; about one hash computation a leaf."""
        self._levels[0] += b"".join(leaf_hashes)
        self._complete()

    def node(self, height: int, index: int) -> bytes:
        """The hash of a complete node."""
        return bytes(self._levels[height][index * HASH_BYTES : (index + 1) * HASH_BYTES])

    def nodes(self, height: int, first: int, count: int) -> bytes:
        """The hashes of ``count`` complete nodes from ``first`` on, concatenated."""
        return bytes(self._levels[height][first * HASH_BYTES : (first + count) * HASH_BYTES])

    def index_of(self, leaf_hash: bytes) -> int | None:
        """The first leaf with this hash."""
        level, at = self._levels[0], -1
        while (at := level.find(leaf_hash, at + 1)) >= 0:
            if at % HASH_BYTES == 0:
                return at // HASH_BYTES
        return None

    def root(self, size: int | None = None) -> bytes:
        """The root over the first ``size`` leaves (all of them by default)."""
        return root_from_nodes(self._checked(size), self.node)

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """The audit path of leaf ``index`` in the tree over the first ``size`` leaves (all of them by default)."""
        return inclusion_proof(index, self._checked(size), self.node)

    def consistency_proof(self, first: int, second: int | None = None) -> list[bytes]:
        """The proof that the first ``first`` leaves are a prefix of the first ``second`` (all of them by default)."""
        return consistency_proof(first, self._checked(second), self.node)

    def _checked(self, size: int | None) -> int:
        if size is None:
            return self.size
        if not 0 <= size <= self.size:
            raise ProofError(f"this tree has {self.size} leaves, not {size}")
        return size

    def _complete(self) -> None:
        height = 0
        while True:
            children = self._levels[height]
            pairs = len(children) // (2 * HASH_BYTES)
            if pairs == 0:
                return
            if height + 1 == len(self._levels):
                self._levels.append(bytearray())
            parents = self._levels[height + 1]
            known = len(parents) // HASH_BYTES
            if known == pairs:
                return
            parents += hash_pairs(children[known * 2 * HASH_BYTES : pairs * 2 * HASH_BYTES])
            height += 1


def _right_edges(size: int, node: NodeReader) -> list[bytes]:
    """For every height, the hash of the leaves to the right of the last complete node there (``b""`` for none)."""
    edges = [b""]
    for height in range(size.bit_length()):
        edge = edges[-1]
        if size >> height & 1:
            complete = node(height, (size >> height) - 1)
            edge = hash_children(complete, edge) if edge else complete
        edges.append(edge)
    return edges


def _path(height: int, index: int, size: int, node: NodeReader) -> list[bytes]:
    """The siblings from the complete node ``(height, index)`` up to the root of the tree over ``size`` leaves."""
    edges = _right_edges(size, node)
    path = []
    while (index | 1) << height < size or index > 0:
        sibling = index ^ 1
        complete = size >> height
        if sibling < complete:
            path.append(node(height, sibling))
        elif sibling == complete and edges[height]:
            path.append(edges[height])
        height, index = height + 1, index >> 1
    return path


def _last_complete_node(size: int) -> tuple[int, int]:
    """Height and index of the smallest complete subtree that ends the tree over ``size`` leaves; index 0: the whole."""
    height = (size & -size).bit_length() - 1
    return height, (size >> height) - 1


def _check_hashes(what: str, hashes: Sequence[bytes]) -> None:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ProofError(f"{what}: every hash must have {HASH_BYTES} bytes")
