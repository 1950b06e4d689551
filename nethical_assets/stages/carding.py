"""The card stage: issuing the card of the model that was last decided about, and checking issued cards.

What belongs here: collecting the evidence of one family. What does not: the content of a card (``core.cards``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nethical_assets.core.audit import verify_prefix_root
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.cards import (
    FORMATS,
    AuditReference,
    CardEvidence,
    audit_reference,
    build_card,
    card_bytes,
    card_digest,
    render_all,
)
from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import IntegrityError, NethicalError
from nethical_assets.core.ground.storage import read_json, write_atomically
from nethical_assets.core.models.registry import ModelPointer, ModelRegistry
from nethical_assets.home.progress import stage
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.releasing import UNCHANGED


def issue_card(workspace: Workspace, family: str, records: Mapping[str, StageRecord]) -> tuple[StageRecord, str]:
    """The card record of the decided model, and the card as Markdown; an unchanged model keeps its card."""
    with stage("model_cards", family), workspace.registry.locked():
        registry = workspace.registry
        pointer = find_pointer(registry, family, str(records["releases"].facts["model"]))
        # A champion that was decided about again and refused stays the champion, with the card of its own decision.
        kept = records["releases"].facts["verdict"] == UNCHANGED or pointer.decision != records["releases"].digest
        if kept and (formats := _issued_formats(workspace, pointer)):
            card = read_json(registry.card_path(pointer, "json"))
            markdown = registry.card_path(pointer, "md").read_text(encoding="utf-8")
            return replace(_record(registry, pointer, card, formats), reused=True), markdown
        card = json.loads(card_bytes(build_card(_evidence(workspace, family, pointer, records))))
        rendered = render_all(card)
        for suffix, data in rendered.items():
            write_atomically(registry.card_path(pointer, suffix), data)
        write_atomically(registry.card_path(pointer, "json"), card_bytes(card))
        registry.attach_card(pointer, card_digest(card))
        digests = {suffix: digest_bytes(data) for suffix, data in rendered.items()}
        workspace.record_event(
            "card_issued",
            {
                f"model_cards/{family}": card_digest(card),
                **{_format_subject(family, suffix): digest for suffix, digest in digests.items()},
                f"models/{family}": pointer.model,
            },
            parents=[pointer.decision],
        )
        return _record(registry, pointer, card, digests), rendered["md"].decode()


def find_pointer(registry: ModelRegistry, family: str, model: str) -> ModelPointer:
    """The pointer of a decided model.

    Raises:
        IntegrityError: the model has no pointer: it was decided about and then removed.
    """
    champion = registry.champion(family)
    pointer = champion if champion is not None and champion.model == model else registry.candidate(family, model)
    if pointer is None:
        raise IntegrityError(f"model {model} of family {family} has no pointer; materialize releases/{family} again")
    return pointer


def card_problems(settings: Settings) -> list[str]:
    """What is wrong with the issued cards: bytes that are not what the pointer or the log names, roots that do not
    verify. One line a problem; cards of models whose run has not been finalised yet are left alone."""
    registry = ModelRegistry(settings.home / "models")
    log = LogReader(settings.home / "audit")
    unfinished = set(log.pending_runs())
    problems: list[str] = []
    for family in family_names():
        try:
            for pointer in registry.pointers([family]):
                if pointer.card and pointer.run_id not in unfinished:
                    problems += _card_problem(registry, log, pointer)
        except NethicalError as error:
            problems.append(str(error))
    return problems


def _card_problem(registry: ModelRegistry, log: LogReader, pointer: ModelPointer) -> list[str]:
    path = registry.card_path(pointer, "json")
    if not _is_issued(path, pointer.card):
        return [f"{path}: the card is missing or its bytes are not the ones that were issued; restore it"]
    reference = audit_reference(read_json(path))
    claims = verify_prefix_root(log.folder, reference.run_id, reference.size, reference.root)
    if claims:
        return [f"{path}: {problem}" for problem in claims]
    events = list(log.find_events(run_id=reference.run_id, event_type=EventType.CARD_ISSUED, digest=pointer.card))
    if not events:
        return [f"{path}: the log of run {reference.run_id} has no event that issued this card"]
    named = {subject.name: subject.digest for subject in events[-1].event.subjects}
    return _format_problems(registry, pointer, named)


def _format_problems(registry: ModelRegistry, pointer: ModelPointer, named: Mapping[str, str]) -> list[str]:
    """The formats of a card that are not what its event names, by subject; one that it does not name may not exist."""
    problems = []
    for form in FORMATS:
        path, digest = registry.card_path(pointer, form.suffix), named.get(_format_subject(pointer.family, form.suffix))
        if digest is None and path.exists():
            problems.append(f"{path}: was not issued with the card of this model; remove it")
        elif digest is not None and not _is_issued(path, digest):
            problems.append(f"{path}: is missing or its bytes are not the ones that were issued; restore it")
    return problems


def _format_subject(family: str, suffix: str) -> str:
    """By what name the log knows a card in one format."""
    return f"model_cards/{family}.{suffix}"


def _issued_formats(workspace: Workspace, pointer: ModelPointer) -> dict[str, str]:
    """The digests of the formats of the pointer's card; empty unless it and all of them are still as issued."""
    record = workspace.load_record("model_cards", pointer.family)
    if record is None or not pointer.card or record.digest != pointer.card:
        return {}
    formats: dict[str, str] = record.facts.get("formats", {})
    path = workspace.registry.card_path
    complete = set(formats) == {form.suffix for form in FORMATS} and _is_issued(path(pointer, "json"), pointer.card)
    intact = complete and all(_is_issued(path(pointer, suffix), digest) for suffix, digest in formats.items())
    return formats if intact else {}


def _is_issued(path: Any, digest: str) -> bool:
    return path.exists() and digest_bytes(path.read_bytes()) == digest


def _evidence(
    workspace: Workspace, family: str, pointer: ModelPointer, records: Mapping[str, StageRecord]
) -> CardEvidence:
    spec = load_family(family)
    settings = workspace.settings.file
    manifest, _ = workspace.registry.load(pointer.model)
    size, root = workspace.recorder.prefix_root()
    drift = workspace.load_record("drift_reports", family)
    licences = {
        entry.name: entry.licence
        for entry in workspace.settings.catalog.for_family(family)
        if f"raw/{entry.name}" in records["datasets"].inputs
    }
    return CardEvidence(
        family=family,
        title=spec.title,
        model_form=spec.model_form,
        intended_use=spec.intended_use,
        limits=spec.limits,
        input_columns=manifest.input_columns,
        dataset={**records["datasets"].facts, "licences": licences},
        screening=records["screened"].facts,
        splits=records["splits"].facts,
        model=records["models"].facts,
        evaluation=records["evaluations"].facts,
        release=records["releases"].facts,
        training_config={
            **manifest.training,
            "libraries": dict(manifest.libraries),
            "train_ratio": settings.training.train_ratio,
            "validation_ratio": settings.training.validation_ratio,
            "performance_thresholds": settings.performance_thresholds.model_dump(mode="json"),
            "settings": workspace.settings.digest(),
        },
        digests={
            "model": pointer.model,
            "dataset": records["datasets"].objects["frame"],
            "screened": records["screened"].objects["frame"],
            "splits": records["splits"].objects["frame"],
            "evaluation": pointer.evaluation,
            "decision": pointer.decision,
            "dataset_record": records["datasets"].digest,
            "screening_record": records["screened"].digest,
            "evaluation_record": records["evaluations"].digest,
            **records["datasets"].inputs,
        },
        audit=AuditReference(workspace.run_id, size, root),
        drift_report_id=drift.digest if drift is not None else None,
        model_path=f"models/store/{pointer.model.partition(':')[2]}",
        issued_at=pointer.decided_at,
        input_kind=spec.kind,
    )


def _record(
    registry: ModelRegistry, pointer: ModelPointer, card: Mapping[str, Any], formats: Mapping[str, str]
) -> StageRecord:
    return StageRecord(
        stage="model_cards",
        subject=pointer.family,
        fingerprint=pointer.decision,
        digest=card_digest(card),
        inputs={"decision": pointer.decision, "model": pointer.model},
        objects={},
        facts={
            "path": str(registry.card_path(pointer, "json")),
            "version": pointer.version,
            "audit_merkle_root": card["audit_merkle_root"],
            "formats": dict(formats),
            "paths": {form.title: str(registry.card_path(pointer, form.suffix)) for form in FORMATS},
        },
    )
