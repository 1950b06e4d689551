"""The stage of releases: gate, comparison with the champion, and where the model goes.

What belongs here: joining a decision with the registry and the log. What does not: deciding (``core.delivery``,
``core.evaluation``). A refused gate is a normal outcome: the stage is carried out, and its check fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit import subjects
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import digest_json, pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.stages.comparing import Case, decide_about
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.shown import Bullets, Shown
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import Act, Plan, Result, Stage, Work, perform
from nethical_assets.stages.training import MODELS

if TYPE_CHECKING:
    from nethical_assets.core.delivery.release import ReleaseDecision
    from nethical_assets.core.models.registry import ModelPointer
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

UNCHANGED = "unchanged"
RETRAINED_BECAUSE = "retrained_because"
"""Under which name a stored decision says which drift report asked for the model."""
NEEDS_LABELS = "retraining gave the same model: it needs new labelled data"


def _plan(work: Work) -> Plan:
    champion = work.workspace.registry.champion(work.subject) or _lost_champion(work)
    limits = work.workspace.settings.file.performance_thresholds.model_dump(mode="json")
    # A decision is looked up by the pointer that it gave the model: the pointer has to be where the decision put it.
    materials = {"limits": digest_json(limits), **({"champion": champion.model} if champion else {})}
    return Plan(materials=materials, lookup=False)


def _release(work: Work) -> Result:
    """Decide about the candidate; the same model again is unchanged, whatever asked for it."""
    from nethical_assets.core.delivery.release import is_superseded

    workspace = work.workspace
    asked_by = _drift_report(work)
    _put_back_lost_champion(work)
    champion = workspace.evidence.champion(work.subject)
    case = Case(work, champion)
    if champion is not None and case.is_champion:
        return _measured_again(case, champion)
    known = case.registry.candidate(case.family, case.model)
    if known is not None and case.decided_before(known):
        workspace.evidence.check_standing(known, "candidates")
        decision = read_decision(workspace, known.decision)
        if not is_superseded(decision):
            return _unchanged(case, known, decision)
    return _decided(case, decide_about(case), asked_by)


def _drift_report(work: Work) -> dict[str, Any] | None:
    """The drift report that asked for this cycle, if it is one of this family: its digest, and the window it is about.

    Raises:
        IntegrityError: the log knows no such report, or what is stored of it was changed.
    """
    digest = work.workspace.options.drift_report
    if not digest:
        return None
    judged = work.workspace.evidence.named_by(digest, EventType.DRIFT_JUDGED)
    named = {one.name for one in judged.subjects if one.digest == digest} if judged is not None else set()
    if not named:
        raise IntegrityError(f"drift_report {digest!r} is no drift report that the log has; run again without it")
    if f"{subjects.DRIFT_REPORTS}/{work.subject}" not in named:
        return None
    window = json.loads(work.workspace.objects.get(digest)).get("window")
    return {"drift_report": digest, "window": None if window is None else {k: window[k] for k in ("start", "end")}}


def _lost_champion(work: Work) -> ModelPointer | None:
    from nethical_assets.core.delivery.expected import lost_champion

    return lost_champion(work.workspace.registry, work.workspace.audit_log, work.subject)


def _put_back_lost_champion(work: Work) -> None:
    """A champion is compared with whether its pointer is there or not: one that is gone is put back first."""
    lost = _lost_champion(work)
    if lost is not None:
        perform(work.workspace, _promotion(lost))


def _measured_again(case: Case, champion: ModelPointer) -> Result:
    """The champion itself: it stays as it is, and a changed limit or measurement may only say that it would not
    pass."""
    # What its own decision says of a watch is about the champion before it.
    decision = replace(read_decision(case.workspace, champion.decision), champion_watch=None)
    if not case.decided_before(champion):
        measured = decide_about(case)
        if measured.verdict != "promoted":
            return _refused_champion(case, champion, measured)
        decision = replace(
            decision,
            gate=measured.gate,
            regression=measured.regression,
            champion_watch=measured.champion_watch,
        )
    return _unchanged(case, champion, decision)


def _unchanged(case: Case, pointer: ModelPointer, decision: ReleaseDecision) -> Result:
    since = f"nothing changed since {pointer.decided_at[:10]}, when it was {pointer.verdict}"
    reason = NEEDS_LABELS if case.workspace.options.force else since
    facts = _facts(case, pointer, decision, UNCHANGED, [reason, *decision.reasons])
    return Result(pointer.decision, {"decision": pointer.decision}, facts, reused=True)


def _refused_champion(case: Case, champion: ModelPointer, decision: ReleaseDecision) -> Result:
    stored = _store(case, decision)
    facts = _facts(case, champion, decision, decision.verdict, decision.reasons)
    return Result(stored, {"decision": stored}, facts, acts=[_gate_act(case, decision, stored)])


def _decided(case: Case, decision: ReleaseDecision, asked_by: Mapping[str, Any] | None) -> Result:
    from nethical_assets.core.delivery.pinned import pinning_subject
    from nethical_assets.home.changes import place_pointer

    stored = _store(case, decision, asked_by)
    pointer = _pointer(case, decision, stored)
    facts = _facts(case, pointer, decision, decision.verdict, decision.reasons)
    gate = _gate_act(case, decision, stored, asked_by)
    if decision.verdict != "promoted":
        subjects = {**gate.subjects, **pinning_subject(pointer)}
        acts = [replace(gate, subjects=subjects, change=place_pointer(pointer, "candidates"))]
        return Result(stored, {"decision": stored}, facts, acts=acts)
    pointer = replace(pointer, reference=_reference(case))
    name = MODELS.record_name(case.family)
    acts = [gate]
    if case.champion is not None:
        replaced = replace(case.champion, replaced_at=pointer.decided_at)
        acts.append(
            Act(EventType.MODEL_ARCHIVED, {name: replaced.model}, place_pointer(replaced, "archived"), parents=[stored])
        )
    acts.append(_promotion(pointer))
    return Result(stored, {"decision": stored}, facts, acts=acts)


def _promotion(pointer: ModelPointer) -> Act:
    from nethical_assets.core.delivery.expected import promotion_payload, promotion_subjects
    from nethical_assets.home.changes import place_pointer

    return Act(
        EventType.MODEL_PROMOTED,
        promotion_subjects(pointer),
        place_pointer(pointer, "current"),
        parents=[pointer.decision],
        payload=promotion_payload(pointer),
    )


def _gate_act(case: Case, decision: ReleaseDecision, stored: str, asked_by: Mapping[str, Any] | None = None) -> Act:
    return Act(
        EventType.GATE_DECIDED,
        {RELEASES.record_name(case.family): stored, MODELS.record_name(case.family): case.model},
        parents=[case.evaluation.output, *([asked_by["drift_report"]] if asked_by else [])],
        payload={"verdict": decision.verdict, "reasons": list(decision.reasons)},
    )


def _store(case: Case, decision: ReleaseDecision, asked_by: Mapping[str, Any] | None = None) -> str:
    return case.workspace.objects.put(
        pretty_json(
            {
                "family": case.family,
                "model": case.model,
                "evaluation": case.evaluation.output,
                "verdict": decision.verdict,
                "reasons": list(decision.reasons),
                "gate": dict(decision.gate),
                "regression": dict(decision.regression),
                "champion_watch": decision.champion_watch,
                **({RETRAINED_BECAUSE: dict(asked_by)} if asked_by else {}),
            }
        )
    )


def _pointer(case: Case, decision: ReleaseDecision, stored: str) -> ModelPointer:
    from nethical_assets.core.delivery.release import next_version
    from nethical_assets.core.models.registry import ModelPointer

    champion = case.champion
    known = [one for one in case.registry.pointers([case.family]) if one.model == case.model]
    if known:
        version = known[0].version
    else:
        before = case.registry.load(champion.model)[0] if champion else None
        version = next_version(case.registry.load(case.model)[0], before, champion.version if champion else None)
    metrics = case.evaluation.facts["evaluation"]["metrics"]
    return ModelPointer(
        family=case.family,
        model=case.model,
        version=version,
        decision=stored,
        decided_at=case.workspace.now().isoformat(timespec="microseconds"),
        run_id=case.workspace.run_id,
        evaluation=case.evaluation.output,
        thresholds=case.thresholds,
        compared_with=champion.model if champion else "",
        verdict=decision.verdict,
        reasons=decision.reasons,
        metrics={name: metric["value"] for name, metric in metrics.items()},
    )


def _reference(case: Case) -> str:
    """The drift reference of a new champion, from its test rows; its digest."""
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.drift.reference import build_reference
    from nethical_assets.core.models.loading import DECISION_THRESHOLD, input_columns, load_detector

    spec = load_family(case.family)
    detector = load_detector(case.registry, case.model, spec)
    reference = build_reference(
        case.predictions["score"].to_numpy(),
        case.predictions["probability"].to_numpy(),
        detector.sketch(case.test_rows[input_columns(spec, case.test_rows)]),
        labels=case.test_rows["label"].to_numpy(dtype=float),
        decision_threshold=DECISION_THRESHOLD,
    )
    return case.workspace.objects.put(pretty_json(reference.to_json()))


def read_decision(workspace: Workspace, digest: str) -> ReleaseDecision:
    """A stored decision.

    Raises:
        IntegrityError: it is missing or was changed.
    """
    from nethical_assets.core.delivery.release import ReleaseDecision

    try:
        document = json.loads(workspace.objects.get(digest))
        return ReleaseDecision(
            document["verdict"],
            tuple(document["reasons"]),
            document["gate"],
            document["regression"],
            # Decisions of older versions say nothing of a champion that did not fall.
            document.get("champion_watch") or document.get("champion_fell"),
        )
    except (KeyError, ValueError) as error:
        raise IntegrityError(f"decision {digest} is malformed ({error}); restore it from a backup") from None


def _facts(case: Case, pointer: ModelPointer, decision: ReleaseDecision, verdict: str, reasons: Any) -> dict[str, Any]:
    from nethical_assets.core.delivery.release import is_severe_drop

    limits = case.workspace.settings.file.performance_thresholds
    return {
        "verdict": verdict,
        "decision_verdict": decision.verdict,
        "reasons": list(reasons),
        "stage": "current" if verdict == "promoted" or case.is_champion else "candidates",
        "version": pointer.version,
        "model": pointer.model,
        "champion_before": pointer.compared_with,
        "gate": dict(decision.gate),
        "regression": dict(decision.regression),
        "champion_watch": decision.champion_watch,
        "high_priority": is_severe_drop(decision.regression, limits.accuracy_drop_alert),
        "decided_at": pointer.decided_at,
    }


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    return {
        "verdict": facts["verdict"],
        "stage": facts["stage"],
        "version": facts["version"],
        "model": facts["model"],
        "champion_before": facts["champion_before"] or "none",
        "reasons": Bullets(facts["reasons"]),
    }


RELEASES = Stage(
    name="releases",
    scope="family",
    description="The gate (accuracy and calibration) and the comparison with the champion on the same test rows; a "
    "passing candidate becomes the champion, the replaced one is archived.",
    owner="team:ml-engineers",
    needs=(SPLITS, MODELS, EVALUATIONS),
    run=_release,
    plan=_plan,
    shows=_shown,
    sums_up=lambda record: {
        "verdict": record.facts["verdict"],
        "reasons": record.facts["reasons"],
        "model_digest": record.facts["model"],
    },
    of_family=True,
    in_chain=True,
)
