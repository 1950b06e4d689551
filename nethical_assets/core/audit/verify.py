"""Verification of a whole log from its files: what ``nethical audit verify`` and asset checks call.

What belongs here: signatures, the chain of checkpoints, payloads, pending files, claims made elsewhere about the log.
What does not: the tree (``core.tlog``), the leaves (``verify_leaves``). Nothing here repairs or writes anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nethical_assets.core.audit.reader import CHECKPOINT, CHECKPOINTS, PAYLOADS, LogReader
from nethical_assets.core.audit.recorder import is_logged
from nethical_assets.core.audit.verify_index import verify_index
from nethical_assets.core.audit.verify_leaves import ChunkSummary, LeafVerification
from nethical_assets.core.audit.verify_signatures import SignatureVerification
from nethical_assets.core.audit.writer import KEY_RUN_PREFIX
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.ground.storage import TEMPORARY_PREFIX
from nethical_assets.core.tlog.checkpoint import Checkpoint, open_checkpoint
from nethical_assets.core.tlog.merkle import EMPTY_ROOT, hash_leaf, root_of
from nethical_assets.core.tlog.note import Note, VerifierKey, open_note
from nethical_assets.core.tlog.verify_tiles import Progress, TreeVerification, no_progress

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
    known_roots: Iterable[tuple[int, str]] = (),
    progress: Progress = no_progress,
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
        known_roots: pairs of size and root (hexadecimal) that another record (Dagster's) says this log had; they find
            a rollback or a fork as known checkpoints do, if only against that record.
        progress: told how far it is.

    Never raises for a defect of the log; a malformed key given by the caller raises ``NoteError``.
    """
    report = VerificationReport(str(folder))
    given = None if verifier_keys is None else _parsed(verifier_keys)
    verification = _Verification(LogReader(Path(folder)), report, progress)
    verification.run(given, list(known_checkpoints), list(known_roots))
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

    def __init__(self, log: LogReader, report: VerificationReport, progress: Progress) -> None:
        self._log = log
        self._report = report
        self._problem = report.problems.append
        self._head: bytes | None = None
        self._progress = progress

    def run(
        self, given: list[VerifierKey] | None, known: Sequence[str], known_roots: Sequence[tuple[int, str]]
    ) -> None:
        # The copies are listed before the checkpoint is read: a writer at work renames the checkpoint first.
        copies = self._copies()
        self._head = self._log.checkpoint_bytes()
        if self._head is None:
            self._missing(known_roots)
            return
        try:
            checkpoint = Checkpoint.parse(Note.parse(self._head).text)
        except AuditError as error:
            self._problem(f"{CHECKPOINT}: {error}")
            return
        report = self._report
        report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root.hex()
        tree = TreeVerification(self._log.folder, checkpoint.size, self._progress)
        tree.check_root(checkpoint.root)
        report.problems += tree.problems
        report.notes += tree.notes
        if not tree.complete:
            return
        leaves = LeafVerification(checkpoint.origin, tree.entries, tree.tree, self._progress)
        report.problems += leaves.problems
        report.notes += leaves.notes
        report.chunks = leaves.chunks
        signatures = SignatureVerification(self._log.folder, report, given, leaves, tree)
        signatures.check_head(self._head)
        signatures.check_copies(copies)
        for number, text in enumerate(known):
            signatures.check_known(f"known checkpoint {number}", text.encode())
        for root in known_roots:
            signatures.check_root(*root)
        signatures.check_trust()
        if all(chunk.run_id.startswith(KEY_RUN_PREFIX) for chunk in report.chunks):
            report.notes.append("no run finished yet")
        self._check_payloads(leaves)
        self._check_pending()
        problems, notes = verify_index(self._log.index, tree.entries, tree.tree, leaves.runs_at)
        report.problems += problems
        report.notes += notes

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

    def _missing(self, known_roots: Sequence[tuple[int, str]]) -> None:
        waiting = self._log.pending_runs()
        if (
            waiting
            and not known_roots
            and not any((self._log.folder / name).exists() for name in (CHECKPOINTS, "tile"))
        ):
            self._problem(
                f"{CHECKPOINT}: no run finished yet, {len(waiting)} wait in pending/; start one: nethical run"
            )
        else:
            self._problem(f"{CHECKPOINT}: missing; no run was finalised here, or the log was removed")

    def _check_pending(self) -> None:
        for run_id in self._log.pending_runs():
            name = f"pending/{run_id}.jsonl"
            try:
                view = self._log.view()
                if is_logged(self._log, view, run_id):
                    self._report.notes.append(f"{name}: already in the log; the next writer removes it")
                    continue
                read = view.pending(run_id)
            except AuditError as error:
                self._problem(f"{name}: {error}")
                continue
            if read.damage:
                self._problem(f"pending file changed: {read.damage}")
            if read.torn:
                self._report.notes.append(f"{name}: its last line was cut off by a kill; never acknowledged")
            self._report.notes.append(f"{name}: {len(read.leaves)} events wait to be finalised")


def _parsed(keys: Iterable[VerifierKey | str]) -> list[VerifierKey]:
    return [key if isinstance(key, VerifierKey) else VerifierKey.parse(key) for key in keys]
