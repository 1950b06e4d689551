"""The release stage: gate, comparison with the champion, pointers.

What belongs here: joining the decision with the registry and the log. What does not: deciding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nethical_assets.core.datasets.splits import TEST
from nethical_assets.core.delivery.release import ReleaseDecision, decide_release, is_severe_drop, next_version
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.drift.reference import build_reference
from nethical_assets.core.evaluation.gate import decide as decide_gate
from nethical_assets.core.evaluation.metrics import Evaluation
from nethical_assets.core.evaluation.regression import compare_with_champion
from nethical_assets.core.ground.digests import digest_json, pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.models.registry import ModelPointer
from nethical_assets.home.progress import stage
from nethical_assets.home.records import StageRecord, get_table
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.operations.lineage import Origin, attest
from nethical_assets.stages.training import input_columns, load_detector, predict

UNCHANGED = "unchanged"


@dataclass(frozen=True)
class _Case:
    """One candidate before the decision: what it is and what it is compared with."""

    workspace: Workspace
    family: str
    split: StageRecord
    model: StageRecord
    evaluation: StageRecord
    champion: ModelPointer | None

    @property
    def digest(self) -> str:
        """The candidate's model digest."""
        return str(self.model.facts["model"])

    def earlier_decision(self, thresholds: str) -> ModelPointer | None:
        """The pointer of an earlier decision on the same model, evaluation, limits and champion, if there is one."""
        champion = self.champion
        known = self.workspace.registry.candidate(self.family, self.digest)
        for pointer in (champion, known):
            if pointer is None or pointer.model != self.digest:
                continue
            same = pointer.evaluation == self.evaluation.objects["evaluation"] and pointer.thresholds == thresholds
            compared = pointer is champion or pointer.compared_with == (champion.model if champion else "")
            if same and compared:
                return pointer
        return None


def release_model(
    workspace: Workspace, family: str, split: StageRecord, model: StageRecord, evaluation: StageRecord
) -> StageRecord:
    """Decide about the candidate and move the pointers; nothing moves when the same was decided before."""
    with stage("releases", family), workspace.registry.locked():
        case = _Case(workspace, family, split, model, evaluation, workspace.registry.champion(family))
        limits = workspace.settings.file.performance_thresholds
        thresholds = digest_json(limits.model_dump(mode="json"))
        earlier = None if workspace.options.force else case.earlier_decision(thresholds)
        if earlier is not None:
            decision = _decision(workspace, earlier.decision)
            record = _record(case, earlier, decision, UNCHANGED)
        else:
            decision = _decide(case)
            pointer = _move(case, decision, thresholds)
            record = _record(case, pointer, decision, decision.verdict)
        champion = str(record.facts["champion_before"])
        attest(
            workspace,
            record,
            record.digest,
            origins=[
                Origin("models", family, case.digest),
                Origin("evaluations", family, evaluation.objects["evaluation"]),
            ],
            materials={"limits": thresholds, **({"champion": champion} if champion else {})},
        )
        return record


def _decide(case: _Case) -> ReleaseDecision:
    limits = case.workspace.settings.file.performance_thresholds
    evaluation = Evaluation.from_json(case.evaluation.facts["evaluation"])
    gate = decide_gate(
        evaluation, accuracy_min=limits.accuracy_min, ece_max=limits.ece_max, policy=limits.ece_policy
    ).to_json()
    return decide_release(
        gate, _regression(case), replaces_real_data=_replaces_real_data(case), is_trial=_is_trial(case)
    )


def _is_trial(case: _Case) -> bool:
    """Whether a person asked for few rows, and the champion was trained on more."""
    if case.champion is None or case.champion.model == case.digest or not case.workspace.options.samples:
        return False
    registry = case.workspace.registry
    rows = [registry.load(model)[0].training["train_rows"] for model in (case.digest, case.champion.model)]
    return bool(rows[0] < rows[1])


def _replaces_real_data(case: _Case) -> bool:
    registry = case.workspace.registry
    if case.champion is None or not registry.load(case.digest)[0].training["synthetic"]:
        return False
    return not registry.load(case.champion.model)[0].training["synthetic"]


def _regression(case: _Case) -> Mapping[str, Any]:
    """The candidate against the champion, both scored on the candidate's test rows."""
    workspace, settings = case.workspace, case.workspace.settings.file
    frame = get_table(workspace.objects, case.split.objects["frame"])
    test = frame[frame["split"] == TEST].reset_index(drop=True)
    candidate = get_table(workspace.objects, case.evaluation.objects["predictions"])
    champion = None
    special: dict[str, Any] = {}
    if case.champion is not None and case.champion.model == case.digest:
        special = {"reasons": ["This model is the champion."]}
    elif case.champion is not None:
        manifest, _ = workspace.registry.load(case.champion.model)
        unknown = sorted(set(manifest.input_columns) - set(test.columns))
        if not unknown:
            spec = load_family(case.family)
            detector = load_detector(workspace, case.champion.model, spec)
            champion = predict(detector, spec, test, manifest.input_columns)["probability"].to_numpy()
        elif manifest.training["synthetic"]:
            special = {"reasons": ["The champion was trained on synthetic data with other inputs."]}
        else:
            reason = f"The champion reads {', '.join(unknown[:5])}, which these test rows do not have."
            special = {"verdict": "needs_more_data", "reasons": [reason]}
    report = compare_with_champion(
        test["label"].to_numpy(),
        candidate["probability"].to_numpy(),
        champion,
        tolerance=settings.performance_thresholds.regression_tolerance,
        ece_bins=settings.performance_thresholds.ece_bins,
        bootstrap_samples=settings.training.bootstrap_samples,
        seed=settings.training.seed,
    ).to_json()
    return {**report, **special}


def _move(case: _Case, decision: ReleaseDecision, thresholds: str) -> ModelPointer:
    """Store the decision, then move the pointers, and record both."""
    workspace, registry = case.workspace, case.workspace.registry
    document = {
        "family": case.family,
        "model": case.digest,
        "evaluation": case.evaluation.objects["evaluation"],
        "verdict": decision.verdict,
        "reasons": list(decision.reasons),
        "gate": dict(decision.gate),
        "regression": dict(decision.regression),
    }
    decision_digest = workspace.objects.put(pretty_json(document))
    manifest, _ = registry.load(case.digest)
    champion = case.champion
    champion_manifest = registry.load(champion.model)[0] if champion else None
    known = [one for one in registry.pointers([case.family]) if one.model == case.digest]
    if known:
        version = known[0].version
    else:
        version = next_version(manifest, champion_manifest, champion.version if champion else None)
    metrics = case.evaluation.facts["evaluation"]["metrics"]
    pointer = ModelPointer(
        family=case.family,
        model=case.digest,
        version=version,
        decision=decision_digest,
        decided_at=utc_now().isoformat(timespec="microseconds"),
        run_id=workspace.run_id,
        evaluation=case.evaluation.objects["evaluation"],
        thresholds=thresholds,
        compared_with=champion.model if champion else "",
        verdict=decision.verdict,
        reasons=decision.reasons,
        metrics={name: metric["value"] for name, metric in metrics.items()},
    )
    workspace.record_event(
        "gate_decided",
        {f"releases/{case.family}": decision_digest, f"models/{case.family}": case.digest},
        parents=[case.evaluation.objects["evaluation"]],
        payload={"verdict": decision.verdict, "reasons": list(decision.reasons)},
    )
    if decision.verdict != "promoted":
        if champion is None or champion.model != case.digest:
            registry.set_candidate(pointer)
        return pointer
    pointer = ModelPointer.from_json({**pointer.to_json(), "reference": _reference(case)})
    registry.promote(pointer)
    workspace.record_event(
        "model_promoted",
        {f"models/{case.family}": case.digest, "drift reference": pointer.reference},
        parents=[decision_digest],
        payload={"version": version},
    )
    if champion is not None and champion.model != case.digest:
        workspace.record_event("model_archived", {f"models/{case.family}": champion.model}, parents=[decision_digest])
    return pointer


def _reference(case: _Case) -> str:
    """The drift reference of a new champion, from its test rows; its digest."""
    workspace = case.workspace
    spec = load_family(case.family)
    frame = get_table(workspace.objects, case.split.objects["frame"])
    test = frame[frame["split"] == TEST].reset_index(drop=True)
    predictions = get_table(workspace.objects, case.evaluation.objects["predictions"])
    detector = load_detector(workspace, case.digest, spec)
    reference = build_reference(
        predictions["score"].to_numpy(),
        predictions["probability"].to_numpy(),
        detector.sketch(test[input_columns(spec, test)]),
    )
    return workspace.objects.put(pretty_json(reference.to_json()))


def _decision(workspace: Workspace, digest: str) -> ReleaseDecision:
    """A stored decision.

    Raises:
        IntegrityError: it is missing or was changed.
    """
    try:
        document = json.loads(workspace.objects.get(digest))
        return ReleaseDecision(
            document["verdict"], tuple(document["reasons"]), document["gate"], document["regression"]
        )
    except (KeyError, ValueError) as error:
        raise IntegrityError(f"decision {digest} is malformed ({error}); restore it from a backup") from None


def _record(case: _Case, pointer: ModelPointer, decision: ReleaseDecision, verdict: str) -> StageRecord:
    champion = case.workspace.registry.champion(case.family)
    reasons = list(decision.reasons)
    if verdict == UNCHANGED:
        reasons = [f"nothing changed since {pointer.decided_at[:10]}, when it was {decision.verdict}", *reasons]
    facts = {
        "verdict": verdict,
        "decision_verdict": decision.verdict,
        "reasons": reasons,
        "stage": "current" if champion is not None and champion.model == pointer.model else "candidates",
        "version": pointer.version,
        "model": pointer.model,
        "champion_before": pointer.compared_with,
        "gate": dict(decision.gate),
        "regression": dict(decision.regression),
        "high_priority": is_severe_drop(
            decision.regression, case.workspace.settings.file.performance_thresholds.accuracy_drop_alert
        ),
        "decided_at": pointer.decided_at,
    }
    return StageRecord(
        stage="releases",
        subject=case.family,
        fingerprint=digest_json({"model": case.digest, "evaluation": pointer.evaluation, "limits": pointer.thresholds}),
        digest=pointer.decision,
        inputs={"model": case.digest, "evaluation": pointer.evaluation},
        objects={"decision": pointer.decision},
        facts=facts,
        reused=verdict == UNCHANGED,
    )
