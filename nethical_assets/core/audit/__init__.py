"""The audit log: an RFC 6962 Merkle tree of events in the C2SP tlog-tiles layout, with signed checkpoints.

A run records events with ``RunRecorder``; ``AuditLog.finalize_run`` moves them into the log as one signed chunk;
``verify_log`` recomputes everything from disk, and ``verify_prefix_root`` checks what a model card claims.
"""

from __future__ import annotations

from nethical_assets.core.audit.bundle import export_bundle
from nethical_assets.core.audit.events import Event, EventType, Subject, salted_commitment
from nethical_assets.core.audit.keys import SigningKeys
from nethical_assets.core.audit.log import AuditLog, ChunkReceipt
from nethical_assets.core.audit.proofs import ProofReport, check_proof, prove
from nethical_assets.core.audit.reader import Head, LoggedEvent, LogReader
from nethical_assets.core.audit.reconcile import Fact, Reconciliation, reconcile
from nethical_assets.core.audit.recorder import RunRecorder
from nethical_assets.core.audit.rotation import rotate_key
from nethical_assets.core.audit.state import AUDIT_KEY, MODEL_KEY, PROMOTIONS, LogState
from nethical_assets.core.audit.verify import VerificationReport, verify_log, verify_prefix_root, verify_tiled_log
from nethical_assets.core.tlog.note import VerifierKey

__all__ = [
    "AUDIT_KEY",
    "MODEL_KEY",
    "PROMOTIONS",
    "AuditLog",
    "ChunkReceipt",
    "Event",
    "EventType",
    "Fact",
    "Head",
    "LogReader",
    "LogState",
    "LoggedEvent",
    "ProofReport",
    "Reconciliation",
    "RunRecorder",
    "SigningKeys",
    "Subject",
    "VerificationReport",
    "VerifierKey",
    "check_proof",
    "export_bundle",
    "prove",
    "reconcile",
    "rotate_key",
    "salted_commitment",
    "verify_log",
    "verify_prefix_root",
    "verify_tiled_log",
]
