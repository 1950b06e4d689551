"""Verification of the index beside the log: every row and every node, against the leaves.

What belongs here: comparing the index with a log that was recomputed. What does not: using it (``view``), making it
(``writer``). An index that is missing or behind is worth a note: it is derived, and the next writer completes it. One
that differs from the log was changed on disk: it cannot make anybody believe anything, but it can hide and delay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256

from nethical_assets.core.audit.index import INDEX, IndexSession, LogIndex, rows_of
from nethical_assets.core.audit.keyed_tree import DamagedIndexError, reachable
from nethical_assets.core.tlog.merkle import MerkleTree

_REMEDY = "remove it, the next run writes it anew"


def verify_index(
    index: LogIndex, entries: Sequence[bytes], tree: MerkleTree, runs_at: Mapping[int, bytes]
) -> tuple[list[str], list[str]]:
    """Problems and notes about the index of a log with these entries; ``runs_at`` is the map of runs at each size."""
    if not index.path.exists():
        return [], [f"{INDEX}: missing; the next run writes it, until then questions take longer"]
    try:
        with index.reading() as session:
            return _compare(session, entries, tree, runs_at)
    except (DamagedIndexError, TypeError, ValueError, OverflowError) as error:
        return [f"{INDEX}: damaged ({error}); {_REMEDY}"], []


def _compare(
    session: IndexSession, entries: Sequence[bytes], tree: MerkleTree, runs_at: Mapping[int, bytes]
) -> tuple[list[str], list[str]]:
    covered = session.covered()
    if covered.size > tree.size:
        return [], [f"{INDEX}: covers {covered.size} leaves, more than were verified; a run is being finalised"]
    if runs_at.get(covered.size) != covered.runs or tree.root(covered.size).hex() != covered.root:
        return [f"{INDEX}: made for another log; {_REMEDY}"], []
    nodes = session.nodes()
    changed = [digest for digest, data in nodes.items() if sha256(data).digest() != digest]
    if changed or reachable(covered.runs, session.node) != nodes.keys():
        return [f"{INDEX}: its map of runs is not the one that was signed; {_REMEDY}"], []
    if _tally_index(session, salt := os.urandom(16)) != _tally_leaves(entries[: covered.size], salt):
        return [f"{INDEX}: its digests are not those of the leaves; {_REMEDY}"], []
    behind = [f"{INDEX}: {tree.size - covered.size} leaves behind; the next run completes it"]
    return [], behind if covered.size < tree.size else []


def _tally_index(session: IndexSession, salt: bytes) -> tuple[int, int]:
    """How many rows there are, and a sum over them that whoever wrote them could not foresee."""
    count = total = 0
    for digest, leaf in session.rows():
        count += 1
        total += hash(salt + digest + leaf.to_bytes(8, "big"))
    return count, total


def _tally_leaves(entries: Sequence[bytes], salt: bytes) -> tuple[int, int]:
    count = total = 0
    for index, entry in enumerate(entries):
        at = index.to_bytes(8, "big")
        for digest, _ in rows_of(index, entry):
            count += 1
            total += hash(salt + digest + at)
    return count, total
