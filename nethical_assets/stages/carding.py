"""The stage of model cards: the card of the model that was last decided about, in every format.

What belongs here: collecting the evidence of one family, and issuing a card or finding that it was issued. What does
    not: the content of a card (``core.cards``), or checking issued cards (``operations.verification``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit import subjects
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.releasing import RELEASES, RETRAINED_BECAUSE, UNCHANGED
from nethical_assets.stages.screening import SCREENED
from nethical_assets.stages.shown import FilePath, Markdown, Shown
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import Act, Plan, Result, Stage, Work
from nethical_assets.stages.training import MODELS
from nethical_assets.stages.watching import DRIFT_REPORTS

if TYPE_CHECKING:
    from nethical_assets.core.cards import AuditReference, CardEvidence
    from nethical_assets.core.models.registry import ModelPointer
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

CARD_FORMAT = "json"


def format_subject(family: str, suffix: str) -> str:
    """By what name the log knows a card in one format."""
    return f"{MODEL_CARDS.record_name(family)}.{suffix}"


def _issue(work: Work) -> Result:
    """The card of the decided model; an unchanged model keeps its card, a damaged one gets the issued bytes again."""
    from nethical_assets.core.cards import build_card, card_bytes, card_digest, render_all

    workspace, release = work.workspace, work.of(RELEASES)
    pointer = _find_pointer(workspace, work.subject, str(release.facts["model"]))
    # A champion that was decided about again and refused stays the champion, with the card of its own decision.
    kept = release.facts["verdict"] == UNCHANGED or pointer.decision != release.output
    issued = _issued(workspace, pointer) if kept else None
    if issued is not None:
        card = json.loads(issued[CARD_FORMAT])
        files = {suffix: workspace.objects.put(data) for suffix, data in issued.items()}
        digest = digest_bytes(issued[CARD_FORMAT])
        intact = pointer.card == digest and all(
            _is_file(workspace.registry.card_path(pointer, suffix), files[suffix]) for suffix in files
        )
        acts = [] if intact else [_act(work, pointer, digest, files)]
        return Result(digest, files, _facts(workspace, pointer, card), acts=acts, reused=intact)
    card = json.loads(card_bytes(build_card(_evidence(work, pointer))))
    formats = {CARD_FORMAT: card_bytes(card), **render_all(card)}
    files = {suffix: workspace.objects.put(data) for suffix, data in formats.items()}
    facts = _facts(workspace, pointer, card)
    return Result(card_digest(card), files, facts, acts=[_act(work, pointer, card_digest(card), files)])


def _issued(workspace: Workspace, pointer: ModelPointer) -> dict[str, bytes] | None:
    """The bytes of every format of the pointer's card as the log names them, from wherever they are still intact; None
    where no card was issued, or one of them is lost. The card is the newest that the log issued by the pointer's
    decision, whatever the pointer names."""
    from nethical_assets.core.delivery.issued import issued_cards

    # The leaves of older versions do not say by which decision a card was issued.
    newest = next(reversed(issued_cards(workspace.audit_log, pointer)), pointer.card)
    event = workspace.evidence.named_by(newest, EventType.CARD_ISSUED) if newest else None
    if event is None:
        return None
    prefix = format_subject(pointer.family, "")
    named = {one.name.removeprefix(prefix): one.digest for one in event.subjects if one.name.startswith(prefix)}
    found: dict[str, bytes] = {}
    for suffix, digest in {CARD_FORMAT: newest, **named}.items():
        path = workspace.registry.card_path(pointer, suffix)
        if _is_file(path, digest):
            found[suffix] = path.read_bytes()
        elif _is_stored(workspace, digest):
            found[suffix] = workspace.objects.get(digest)
        else:
            return None
    return found


def _act(work: Work, pointer: ModelPointer, card: str, files: Mapping[str, str]) -> Act:
    from nethical_assets.home.changes import attach_card

    family = work.subject
    others = {format_subject(family, suffix): digest for suffix, digest in files.items() if suffix != CARD_FORMAT}
    return Act(
        EventType.CARD_ISSUED,
        {MODEL_CARDS.record_name(family): card, **others},
        attach_card(pointer, card, files),
        parents=[pointer.model, pointer.decision],
    )


def _find_pointer(workspace: Workspace, family: str, model: str) -> ModelPointer:
    """The pointer of a decided model.

    Raises:
        IntegrityError: the model has none: it was decided about and then removed.
    """
    champion = workspace.registry.champion(family)
    if champion is not None and champion.model == model:
        return champion
    pointer = workspace.registry.candidate(family, model)
    if pointer is None:
        raise IntegrityError(
            f"model {model} of family {family} has no pointer; materialize {RELEASES.record_name(family)} again"
        )
    return pointer


def _is_file(path: Any, digest: str) -> bool:
    return path.exists() and digest_bytes(path.read_bytes()) == digest


def _is_stored(workspace: Workspace, digest: str) -> bool:
    try:
        workspace.objects.get(digest)
    except IntegrityError:
        return False
    return True


def _evidence(work: Work, pointer: ModelPointer) -> CardEvidence:
    from nethical_assets.core.cards import CardEvidence
    from nethical_assets.core.detectors.registry import load_family

    workspace, family = work.workspace, work.subject
    spec, settings = load_family(family), workspace.settings.file
    manifest, _ = workspace.registry.load(pointer.model)
    dataset, screened, splits = work.of(DATASETS), work.of(SCREENED), work.of(SPLITS)
    drift = work.find(DRIFT_REPORTS)
    licences = {entry.name: entry.licence for entry in work.entries if RAW.record_name(entry.name) in dataset.inputs}
    return CardEvidence(
        family=family,
        title=spec.title,
        model_form=spec.model_form,
        intended_use=spec.intended_use,
        limits=spec.limits,
        input_columns=manifest.input_columns,
        dataset={**dataset.facts, "licences": licences},
        screening=screened.facts,
        splits=splits.facts,
        model=work.of(MODELS).facts,
        evaluation=work.of(EVALUATIONS).facts,
        # The decision that put the model there: what a later run decided ("unchanged") is not about this card.
        release={"version": pointer.version, "verdict": pointer.verdict, "reasons": pointer.reasons},
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
            "dataset": dataset.output,
            "screened": screened.output,
            "splits": splits.output,
            "evaluation": pointer.evaluation,
            "decision": pointer.decision,
            "dataset_record": dataset.digest,
            "screening_record": screened.digest,
            "evaluation_record": work.of(EVALUATIONS).digest,
            **dataset.inputs,
        },
        audit=_reference(workspace, pointer),
        drift_report_id=drift.output if drift is not None else None,
        retrained_because=_retrained_because(workspace, pointer),
        model_path=f"models/store/{pointer.model.partition(':')[2]}",
        issued_at=pointer.decided_at,
        trained_at=work.of(MODELS).facts["trained_at"],
        input_kind=spec.kind,
    )


def _retrained_because(workspace: Workspace, pointer: ModelPointer) -> Mapping[str, Any] | None:
    """The drift report that asked for the model, as the decision about it says."""
    because: Mapping[str, Any] | None = json.loads(workspace.objects.get(pointer.decision)).get(RETRAINED_BECAUSE)
    return because


def _reference(workspace: Workspace, pointer: ModelPointer) -> AuditReference:
    """What a card cites: the events so far of the run that decided, which is this one unless it died before."""
    from nethical_assets.core.cards import AuditReference

    own = pointer.run_id == workspace.run_id
    recorder = workspace.recorder if own else workspace.audit_log.recorder(pointer.run_id)
    return AuditReference(pointer.run_id, *recorder.prefix_root())


def _facts(workspace: Workspace, pointer: ModelPointer, card: Mapping[str, Any]) -> dict[str, Any]:
    from nethical_assets.core.cards import FORMATS

    path = workspace.registry.card_path
    return {
        "path": str(path(pointer, CARD_FORMAT)),
        "version": pointer.version,
        "audit_merkle_root": card["audit_merkle_root"],
        "paths": {form.title: str(path(pointer, form.suffix)) for form in FORMATS},
    }


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    return {
        "card": Markdown(workspace.objects.get(record.objects["md"]).decode()),
        "path": FilePath(workspace.places.opened(facts["path"])),
        "version": facts["version"],
        "audit_merkle_root": facts["audit_merkle_root"],
        **{title: FilePath(path) for title, path in workspace.places.opened(facts["paths"]).items()},
    }


MODEL_CARDS = Stage(
    name=subjects.MODEL_CARDS,
    scope="family",
    description="What the model is, what it was trained and measured on, what was decided, and the audit root by which "
    "all of it can be verified.",
    owner="team:ml-engineers",
    needs=(DATASETS, SCREENED, SPLITS, MODELS, EVALUATIONS, RELEASES),
    known_by_object=False,
    run=_issue,
    plan=lambda work: Plan(lookup=False),
    shows=_shown,
    sums_up=lambda record: {"card": record.facts["path"]},
    kinds=frozenset({"markdown", "html", "json"}),
)
