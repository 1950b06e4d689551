"""Verification of the checkpoints of a log: who had to sign each, and what is kept of them elsewhere.

What belongs here: signatures, the keys in force, copies, rollback and fork. What does not: the tree (``core.tlog``),
the leaves (``verify_leaves``).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Protocol

from nethical_assets.core.audit.keys import (
    ORIGIN_PREFIX,
    SIGNING_KEY_FILE,
    VERIFIER_KEY_FILE,
    check_private_key_file,
    fingerprint,
    origin_of,
    read_verifier_keys,
)
from nethical_assets.core.audit.reader import CHECKPOINT, CHECKPOINTS, KEYS
from nethical_assets.core.audit.verify_leaves import LeafVerification
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from nethical_assets.core.tlog.note import Note, VerifierKey
from nethical_assets.core.tlog.verify_tiles import TreeVerification


class Report(Protocol):
    """What of a verification report is read and filled here."""

    origin: str
    size: int
    root: str
    keys: list[str]
    keys_from: str
    problems: list[str]


class SignatureVerification:
    """The checkpoints of one log and the keys that had to sign them."""

    def __init__(
        self,
        folder: Path,
        report: Report,
        given: list[VerifierKey] | None,
        leaves: LeafVerification,
        tree: TreeVerification,
    ) -> None:
        self._folder = folder
        self._report = report
        self._problem = report.problems.append
        self._leaves = leaves
        self._tree = tree
        self._attested = False
        self._beside = self._read_keys_beside(required=given is None)
        self._trusted = self._beside if given is None else given
        report.keys = [str(key) for key in self._trusted]
        report.keys_from = "folder" if given is None else "caller"
        self._check_keys_beside()

    def check_head(self, data: bytes) -> None:
        """The newest checkpoint's signature."""
        self._open(CHECKPOINT, data)

    def check_copies(self, copies: dict[str, bytes]) -> None:
        """The signed checkpoints of the past: one for every chunk, each consistent with the tree, none newer."""
        sizes = {0, *(chunk.size for chunk in self._leaves.chunks)}
        for name, data in copies.items():
            where = f"{CHECKPOINTS}/{name}"
            if int(name) > self._report.size:
                self._problem(
                    f"{CHECKPOINT}: stale checkpoint, it signs size {self._report.size} but {where} was signed later"
                )
                continue
            opened = self._open(where, data)
            if opened is not None and str(opened.checkpoint.size) != name:
                self._problem(f"{where}: it signs size {opened.checkpoint.size}")
            if opened is not None and opened.checkpoint.size not in sizes:
                self._problem(f"{where}: no chunk ends at size {opened.checkpoint.size}")
        for size in sorted(sizes - {self._report.size} - {int(name) for name in copies}):
            self._problem(f"{CHECKPOINTS}/{size}: missing checkpoint")

    def check_known(self, where: str, data: bytes) -> None:
        """A checkpoint of this log that was kept elsewhere."""
        opened = self._open(where, data)
        if opened is not None and opened.checkpoint.size > self._report.size:
            self._problem(
                f"{where}: rollback, it was signed for size {opened.checkpoint.size}, the log has {self._report.size}"
            )

    def check_root(self, size: int, root: str) -> None:
        """A root of this log that another record says it had."""
        if size > self._report.size:
            self._problem(
                f"known root: rollback, the log had {size} leaves with root {root}, now it has {self._report.size}; "
                "restore the newest copy of the log"
            )
        elif self._tree.tree.root(size).hex() != root:
            self._problem(
                f"known root: fork, the log had root {root} for size {size}, now it gives "
                f"{self._tree.tree.root(size).hex()}; restore the right copy of the log"
            )

    def check_trust(self) -> None:
        """At least one checkpoint must be signed by a key that is trusted, not only by keys the log names."""
        if not self._attested:
            trusted = ", ".join(f"{key.name}+{key.key_id.hex()}" for key in self._trusted) or "(none)"
            self._problem(f"{CHECKPOINT}: wrong key, no checkpoint is signed by a trusted key; trusted are {trusted}")
        pinned = self._leaves.replay.state.audit_keys
        signers = {fingerprint(key) for key in self._in_force(0)}
        if pinned and pinned[0].digest not in signers:
            self._problem(f"leaf {pinned[0].leaf}: it pins audit key {pinned[0].digest}, another one signed first")
        if self._report.keys_from == "folder" and self._report.origin.startswith(ORIGIN_PREFIX):
            names = {origin_of(key.public) for key in self._in_force(0)}
            if self._report.origin not in names:
                self._problem(
                    f"{CHECKPOINT}: wrong key, the name of log {self._report.origin} is made of its first key, and "
                    "this is not it; the log was replaced together with its key"
                )

    def _open(self, where: str, data: bytes) -> SignedCheckpoint | None:
        try:
            size = Checkpoint.parse(Note.parse(data).text).size
            opened = open_checkpoint(data, self._in_force(size))
        except AuditError as error:
            self._problem(f"{where}: {error}")
            return None
        if any(key in self._trusted for key in opened.signers):
            self._attested = True
        checkpoint = opened.checkpoint
        if checkpoint.origin != self._report.origin:
            self._problem(f"{where}: it belongs to log {checkpoint.origin}, not {self._report.origin}")
        elif size <= self._report.size and checkpoint.root != self._tree.tree.root(size):
            self._problem(
                f"{where}: fork, it signs root {checkpoint.root.hex()} for size {size}, "
                f"the log gives {self._tree.tree.root(size).hex()}"
            )
        return opened

    def _in_force(self, size: int) -> list[VerifierKey]:
        """The key that had to sign size ``size``: the trusted one, or the one that the log's rotations lead to."""
        rotations = self._leaves.rotations
        if not rotations:
            return self._trusted
        line = rotations[0][1].old
        for signed_at, rotation in rotations:
            if size > signed_at:
                line = rotation.new
        return [VerifierKey.parse(line)]

    def _read_keys_beside(self, *, required: bool) -> list[VerifierKey]:
        path = self._folder / KEYS / VERIFIER_KEY_FILE
        if not required and not path.exists():
            return []
        try:
            return read_verifier_keys(path)
        except AuditError as error:
            self._problem(str(error))
            return []

    def _check_keys_beside(self) -> None:
        lines = {line for _, rotation in self._leaves.rotations for line in (rotation.old, rotation.new)}
        known = {VerifierKey.parse(line) for line in lines} or set(self._trusted)
        pinned = {named.digest for named in self._leaves.replay.state.audit_keys}
        for key in self._beside:
            if key not in known or (pinned and fingerprint(key) not in pinned):
                self._problem(f"{KEYS}/{VERIFIER_KEY_FILE}: {key.key_id.hex()} is not a key of this log")
        private = self._folder / KEYS / SIGNING_KEY_FILE
        with contextlib.suppress(PermissionError, FileNotFoundError):
            problem = check_private_key_file(private, known | set(self._beside))
            if problem:
                self._problem(f"{KEYS}/{SIGNING_KEY_FILE}: {problem}")
