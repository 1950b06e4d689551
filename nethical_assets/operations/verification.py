"""Verification of a home: the log, everything stored, pointers and cards held against it; and the export for a
stranger.

What belongs here: joining what ``core.audit`` verifies with the stores of a home. What does not: the log itself, or
    what is wrong with stored objects (``evidence``)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nethical_assets.core.audit import LogReader, export_bundle, verify_log, verify_prefix_root
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.audit.policy import Policy
from nethical_assets.core.audit.reconcile import Fact, Reconciliation, reconcile
from nethical_assets.core.cards import FORMATS, audit_reference
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.core.ground.storage import ObjectStore, read_json
from nethical_assets.core.models.registry import ModelPointer, ModelRegistry
from nethical_assets.core.tlog.verify_tiles import Progress, no_progress
from nethical_assets.home.settings import Settings
from nethical_assets.operations.anchoring import Anchored
from nethical_assets.operations.evidence import evidence_problems
from nethical_assets.operations.kept import kept_notes, kept_problems
from nethical_assets.stages.carding import MODEL_CARDS, format_subject
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.training import MODELS


def reconcile_facts(settings: Settings, facts: Iterable[tuple[str, str, str]]) -> Reconciliation:
    """Which of these (run id, event type, digest) the log has; an omitted event is a problem."""
    return reconcile([Fact(*fact) for fact in facts], LogReader(settings.home / "audit"))


def verify(
    settings: Settings,
    policy: Policy | None = None,
    *,
    known_roots: Iterable[tuple[int, str]] = (),
    with_alerts: bool = True,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Recompute the log and everything that is kept from disk, and hold it against the log, and the log against
    ``known_roots``: size and root (hexadecimal) of earlier states, as another record has them. ``with_alerts`` is False
    inside a run, which ends the same whether the issue tracker works or not."""

    policy = policy or Policy()
    anchored = Anchored.read(policy)
    report = verify_log(
        settings.home / "audit",
        policy.log_keys or None,
        known_checkpoints=anchored.checkpoints,
        witness_keys=policy.witness_keys,
        required_witnesses=policy.required_witnesses,
        known_roots=known_roots,
        progress=progress,
    ).to_json()
    problems = list(report["problems"])
    # Who brings a key of their own is no operator, and has no private one.
    kept = functools.partial(kept_problems, with_alerts=with_alerts, with_private_keys=not policy.log_keys)
    for look in (evidence_problems, card_problems, kept):
        try:
            problems += look(settings)
        except NethicalError as error:
            # A log that cannot be read proves nothing about the rest, which is said once.
            problems.append(str(error))
    stamped = anchored.timestamps(LogReader(settings.home / "audit"))
    problems = list(dict.fromkeys([*problems, *anchored.problems, *stamped[0]]))
    notes = [*report["notes"], *stamped[1], *kept_notes(settings)]
    return {**report, "problems": problems, "notes": notes, "ok": not problems}


def export_run(settings: Settings, run_id: str, destination: Path) -> Path:
    """Everything a stranger needs to verify one run, in one folder: its events with proofs, the cards it issued, the
    manifests of the models it decided about, the evaluations and the decisions. Never rows of data.

    Raises:
        AuditError: the run is not in the log, or the destination exists.
    """
    return export_bundle(settings.home / "audit", run_id, destination, attachments=_evidence_files(settings, run_id))


def _evidence_files(settings: Settings, run_id: str) -> dict[str, Path]:
    """Attachment name -> file, for the documents that events of the run name."""
    registry = ModelRegistry(settings.home / "models")
    objects = ObjectStore(settings.home / "data" / "objects")
    cards = {pointer.card: registry.card_path(pointer, "json") for pointer in registry.pointers(family_names())}
    found: dict[str, Path] = {}
    for event in LogReader(settings.home / "audit").find_events(run_id=run_id):
        for subject in event.event.subjects:
            stage, _, family = subject.name.partition("/")
            path = {
                MODELS.name: registry.manifest_path(subject.digest),
                MODEL_CARDS.name: cards.get(subject.digest),
                EVALUATIONS.name: objects.path(subject.digest),
                RELEASES.name: objects.path(subject.digest),
            }.get(stage)
            if path is not None and path.exists():
                short = subject.digest.partition(":")[2][:12]
                found[f"{stage.removesuffix('s')}-{family}-{short}.json"] = Path(str(path))
    return found


def card_problems(settings: Settings) -> list[str]:
    """What is wrong with the issued cards: bytes that are not what the pointer or the log names, roots that do not
    verify. One line a problem; what a card that waits to be finalised says of the log cannot be looked at yet."""
    registry = ModelRegistry(settings.home / "models")
    log = LogReader(settings.home / "audit")
    # A pending file counts for what its verified leaves say, an empty one for nothing.
    waiting = {subject.digest for event in log.pending_events(b'"card_issued"') for subject in event.subjects}
    problems: list[str] = []
    for family in family_names():
        try:
            for pointer in registry.pointers([family]):
                if pointer.card:
                    problems += _card_problem(registry, log, pointer, waits=pointer.card in waiting)
        except NethicalError as error:
            problems.append(str(error))
    return problems


def _card_problem(registry: ModelRegistry, log: LogReader, pointer: ModelPointer, *, waits: bool) -> list[str]:
    path = registry.card_path(pointer, "json")
    if not _is_issued(path, pointer.card):
        return [f"{path}: the card is missing or its bytes are not the ones that were issued; restore it"]
    if waits:
        return []
    reference = audit_reference(read_json(path))
    claims = verify_prefix_root(log.folder, reference.run_id, reference.size, reference.root)
    if claims:
        return [f"{path}: {problem}" for problem in claims]
    # A card that was issued again still cites the run of its first issue: the newest event may be of another run.
    events = list(log.find_events(event_type=EventType.CARD_ISSUED, digest=pointer.card))
    if not events:
        return [f"{path}: the log has no event that issued this card"]
    named = {subject.name: subject.digest for subject in events[-1].event.subjects}
    return _format_problems(registry, pointer, named)


def _format_problems(registry: ModelRegistry, pointer: ModelPointer, named: Mapping[str, str]) -> list[str]:
    """The formats of a card that are not what its event names, by subject; one that it does not name may not exist."""
    problems = []
    for form in FORMATS:
        path, digest = registry.card_path(pointer, form.suffix), named.get(format_subject(pointer.family, form.suffix))
        if digest is None and path.exists():
            problems.append(f"{path}: was not issued with the card of this model; remove it")
        elif digest is not None and not _is_issued(path, digest):
            problems.append(f"{path}: is missing or its bytes are not the ones that were issued; restore it")
    return problems


def _is_issued(path: Any, digest: str) -> bool:
    return path.exists() and digest_bytes(path.read_bytes()) == digest
