"""Verification of a whole log from its files: what ``nethical audit verify`` and asset checks call.

What belongs here: signatures, the chain of checkpoints, payloads, pending files, claims made elsewhere about the log.
What does not: the tree (``verify_tiles``), the leaves (``verify_leaves``). Nothing here repairs or writes anything.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nethical_assets.core.audit.events import Event
from nethical_assets.core.audit.keys import (
    SIGNING_KEY_FILE,
    VERIFIER_KEY_FILE,
    check_private_key_file,
    read_verifier_keys,
)
from nethical_assets.core.audit.reader import CHECKPOINT, CHECKPOINTS, KEYS, PAYLOADS, LogReader
from nethical_assets.core.audit.verify_leaves import ChunkSummary, LeafVerification
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.ground.storage import TEMPORARY_PREFIX
from nethical_assets.core.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from nethical_assets.core.tlog.merkle import EMPTY_ROOT, hash_leaf, root_of
from nethical_assets.core.tlog.note import Note, VerifierKey, open_note
from nethical_assets.core.tlog.verify_tiles import TreeVerification

_SIZE_NAME = re.compile(r"0|[1-9][0-9]*")


@dataclass
class VerificationReport:
    """What verification found. ``problems`` has one line a defect; ``notes`` what is worth knowing but sound."""

    folder: str
    origin: str = ""
    size: int = 0
    root: str = EMPTY_ROOT.hex()
    keys: list[str] = field(default_factory=list)
    """The verifier keys that were trusted."""
    keys_from: str = "caller"
    """``caller``, or ``folder``: then the keys beside the log were taken, which prove consistency, not identity."""
    chunks: list[ChunkSummary] = field(default_factory=list)
    witnesses: list[str] = field(default_factory=list)
    """Names of the trusted witnesses that cosigned the newest checkpoint."""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no defect was found."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {"ok": self.ok, **to_document(self)}


def verify_log(
    folder: Path,
    verifier_keys: Iterable[VerifierKey | str] | None = None,
    *,
    known_checkpoints: Iterable[str] = (),
    witness_keys: Iterable[VerifierKey | str] = (),
    required_witnesses: int = 0,
) -> VerificationReport:
    """Recompute everything in ``folder`` from disk and compare it with what was signed.

    Args:
        folder: the log.
        verifier_keys: the keys the caller trusts (one suffices, also after rotations); None takes the key file beside
            the log, which finds damage but not a log that was replaced together with its key.
        known_checkpoints: signed checkpoints of this log kept elsewhere (cards, Dagster, a witness). They find a log
            that was rolled back or forked as a whole, which nothing inside the folder can.
        witness_keys: witnesses whose cosignatures on the newest checkpoint are verified and listed.
        required_witnesses: how many of them must have cosigned.

    Never raises for a defect of the log; a malformed key given by the caller raises ``NoteError``.
    """
    report = VerificationReport(str(folder))
    given = None if verifier_keys is None else _parsed(verifier_keys)
    verification = _Verification(LogReader(Path(folder)), report)
    verification.run(given, list(known_checkpoints))
    verification.check_witnesses(_parsed(witness_keys), required_witnesses)
    return report


def verify_tiled_log(folder: Path, verifier_keys: Iterable[VerifierKey | str]) -> VerificationReport:
    """Verify checkpoint signature, entries, tiles and root of any C2SP tlog-tiles log, whatever its entries mean."""
    report = VerificationReport(str(folder))
    trusted = _parsed(verifier_keys)
    report.keys = [str(key) for key in trusted]
    try:
        checkpoint = open_checkpoint((Path(folder) / CHECKPOINT).read_bytes(), trusted).checkpoint
    except FileNotFoundError:
        report.problems.append(f"{CHECKPOINT}: missing")
        return report
    except AuditError as error:
        report.problems.append(f"{CHECKPOINT}: {error}")
        return report
    report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root.hex()
    tree = TreeVerification(Path(folder), checkpoint.size)
    tree.check_root(checkpoint.root)
    report.problems += tree.problems
    report.notes += tree.notes
    return report


def verify_prefix_root(folder: Path, run_id: str, size: int, root: str) -> list[str]:
    """The defects of a card's claim that the first ``size`` leaves of a run have this root (hexadecimal); [] if true.

    Says nothing about the log itself: verify that with ``verify_log``.
    """
    try:
        leaves = LogReader(Path(folder)).run_leaves(run_id)
    except AuditError as error:
        return [f"run {run_id}: {error}"]
    if size < 1 or len(leaves) < size:
        return [f"run {run_id}: the claim covers {size} events, the log holds {len(leaves)} of this run"]
    computed = root_of(map(hash_leaf, leaves[:size])).hex()
    if computed != root:
        return [f"run {run_id}: the claim states root {root} for its first {size} events, the log gives {computed}"]
    return []


class _Verification:
    """One verification of one log; fills the report."""

    def __init__(self, log: LogReader, report: VerificationReport) -> None:
        self._log = log
        self._report = report
        self._problem = report.problems.append
        self._head: bytes | None = None

    def run(self, given: list[VerifierKey] | None, known: Sequence[str]) -> None:
        # The copies are listed before the checkpoint is read: a writer at work renames the checkpoint first.
        copies = self._copies()
        self._head = self._log.checkpoint_bytes()
        if self._head is None:
            self._problem(f"{CHECKPOINT}: missing; no run was finalised here, or the log was removed")
            return
        try:
            checkpoint = Checkpoint.parse(Note.parse(self._head).text)
        except AuditError as error:
            self._problem(f"{CHECKPOINT}: {error}")
            return
        report = self._report
        report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root.hex()
        tree = TreeVerification(self._log.folder, checkpoint.size)
        tree.check_root(checkpoint.root)
        report.problems += tree.problems
        report.notes += tree.notes
        if not tree.complete:
            return
        leaves = LeafVerification(checkpoint.origin, tree.entries, tree.tree)
        report.problems += leaves.problems
        report.chunks = leaves.chunks
        signatures = _Signatures(self._log.folder, report, given, leaves, tree)
        signatures.check_head(self._head)
        signatures.check_copies(copies)
        for number, text in enumerate(known):
            signatures.check_known(f"known checkpoint {number}", text.encode())
        signatures.check_trust()
        self._check_payloads(leaves)
        self._check_pending(leaves)

    def check_witnesses(self, witnesses: Sequence[VerifierKey], required: int) -> None:
        """Verify cosignatures on the newest checkpoint and compare their number with what is required."""
        if witnesses and self._head is not None:
            try:
                _, signers = open_note(self._head, witnesses)
                self._report.witnesses = sorted({key.name for key in signers})
            except AuditError as error:
                if required:
                    self._problem(f"{CHECKPOINT}: no valid cosignature ({error})")
        if len(self._report.witnesses) < required:
            self._problem(f"{CHECKPOINT}: cosigned by {len(self._report.witnesses)} witnesses, {required} are required")

    def _copies(self) -> dict[str, bytes]:
        copies = {}
        for path in sorted((self._log.folder / CHECKPOINTS).glob("*")):
            if path.name.startswith(TEMPORARY_PREFIX):
                self._report.notes.append(f"{CHECKPOINTS}/{path.name}: left by a process that died")
            elif path.is_symlink() or not path.is_file() or not _SIZE_NAME.fullmatch(path.name):
                self._problem(f"{CHECKPOINTS}/{path.name}: unexpected file, no checkpoint has this name")
            else:
                copies[path.name] = path.read_bytes()
        return copies

    def _check_payloads(self, leaves: LeafVerification) -> None:
        present = set()
        for path in sorted(self._log.folder.joinpath(PAYLOADS).glob("*/*")):
            name = f"{PAYLOADS}/{path.parent.name}/{path.name}"
            if path.name.startswith(TEMPORARY_PREFIX):
                self._report.notes.append(f"{name}: left by a process that died, or being written")
                continue
            try:
                digest = digest_bytes(path.read_bytes())
            except FileNotFoundError:  # retention may run at the same time
                continue
            present.add(digest)
            if digest != f"sha256:{path.name}" or path.parent.name != path.name[:2]:
                self._problem(f"{name}: changed payload, its bytes do not match its name")
        for digest, index in leaves.payloads.items():
            if digest not in present and digest not in leaves.deleted:
                self._problem(f"leaf {index}: its payload {digest} is missing")

    def _check_pending(self, leaves: LeafVerification) -> None:
        for run_id in self._log.pending_runs():
            try:
                read = self._log.pending.read(run_id)
                events = [Event.parse(leaf) for leaf in read.leaves]
            except AuditError as error:
                self._problem(f"pending/{run_id}.jsonl: {error}")
                continue
            if read.damage:
                self._problem(f"pending file changed: {read.damage}")
            if read.torn:
                self._report.notes.append(
                    f"pending/{run_id}.jsonl: its last line was cut off by a kill; never acknowledged"
                )
            start = leaves.lengths.get(run_id, 0)
            if events and events[0].sequence < start:
                self._report.notes.append(f"pending/{run_id}.jsonl: already in the log; the next writer removes it")
            elif [(event.run_id, event.sequence) for event in events] != [
                (run_id, start + at) for at in range(len(events))
            ]:
                self._problem(f"pending/{run_id}.jsonl: events were removed, reordered or belong to another run")
            self._report.notes.append(f"pending/{run_id}.jsonl: {len(events)} events wait to be finalised")


class _Signatures:
    """The checkpoints of one log and the keys that had to sign them."""

    def __init__(
        self,
        folder: Path,
        report: VerificationReport,
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

    def check_trust(self) -> None:
        """At least one checkpoint must be signed by a key that is trusted, not only by keys the log names."""
        if not self._attested:
            trusted = ", ".join(f"{key.name}+{key.key_id.hex()}" for key in self._trusted) or "(none)"
            self._problem(f"{CHECKPOINT}: wrong key, no checkpoint is signed by a trusted key; trusted are {trusted}")

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
        for key in self._beside:
            if key not in known:
                self._problem(f"{KEYS}/{VERIFIER_KEY_FILE}: {key.key_id.hex()} is not a key of this log")
        private = self._folder / KEYS / SIGNING_KEY_FILE
        with contextlib.suppress(PermissionError, FileNotFoundError):
            problem = check_private_key_file(private, known | set(self._beside))
            if problem:
                self._problem(f"{KEYS}/{SIGNING_KEY_FILE}: {problem}")


def _parsed(keys: Iterable[VerifierKey | str]) -> list[VerifierKey]:
    return [key if isinstance(key, VerifierKey) else VerifierKey.parse(key) for key in keys]
