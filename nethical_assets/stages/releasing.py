"""The stage of releases: gate, comparison with the champion, and where the model goes.

What belongs here: joining a decision with the registry and the log. What does not: deciding (``core.delivery``,
``core.evaluation``). A refused gate is a normal outcome: the stage is carried out, and its check fails.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import digest_json, pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.shown import Bullets, Shown
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import Act, Plan, Result, Stage, Work, perform
from nethical_assets.stages.training import MODELS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from nethical_assets.core.delivery.release import ChampionWatch, ReleaseDecision
    from nethical_assets.core.models.registry import ModelPointer, ModelRegistry
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

UNCHANGED = "unchanged"
NEEDS_LABELS = "retraining gave the same model: it needs new labelled data"


@dataclass(frozen=True)
class _Case:
    """One candidate before the decision: what it is and what it is compared with."""

    work: Work
    champion: ModelPointer | None

    @property
    def workspace(self) -> Workspace:
        return self.work.workspace

    @property
    def registry(self) -> ModelRegistry:
        return self.work.workspace.registry

    @property
    def family(self) -> str:
        return self.work.subject

    @property
    def model(self) -> str:
        """The candidate's model digest."""
        return self.work.of(MODELS).output

    @property
    def evaluation(self) -> StageRecord:
        return self.work.of(EVALUATIONS)

    @functools.cached_property
    def thresholds(self) -> str:
        """The digest of the limits of the decision."""
        return digest_json(self.workspace.settings.file.performance_thresholds.model_dump(mode="json"))

    @functools.cached_property
    def test_rows(self) -> pd.DataFrame:
        from nethical_assets.core.datasets.splits import TEST
        from nethical_assets.core.ground.parquet import get_table

        frame = get_table(self.workspace.objects, self.work.of(SPLITS).output)
        return frame[frame["split"] == TEST].reset_index(drop=True)

    @functools.cached_property
    def predictions(self) -> pd.DataFrame:
        from nethical_assets.core.ground.parquet import get_table

        return get_table(self.workspace.objects, self.evaluation.objects["predictions"])

    @property
    def is_champion(self) -> bool:
        """Whether the candidate is the champion itself."""
        return self.champion is not None and self.champion.model == self.model

    def decided_before(self, pointer: ModelPointer | None) -> bool:
        """Whether ``pointer`` holds a decision on this evaluation, these limits and this champion."""
        return (
            pointer is not None
            and pointer.evaluation == self.evaluation.output
            and pointer.thresholds == self.thresholds
            and (self.is_champion or pointer.compared_with == (self.champion.model if self.champion else ""))
        )


def _plan(work: Work) -> Plan:
    champion = work.workspace.registry.champion(work.subject) or _lost_champion(work)
    limits = work.workspace.settings.file.performance_thresholds.model_dump(mode="json")
    # A decision is looked up by the pointer that it gave the model: the pointer has to be where the decision put it.
    materials = {"limits": digest_json(limits), **({"champion": champion.model} if champion else {})}
    return Plan(materials=materials, lookup=False)


def _release(work: Work) -> Result:
    """Decide about the candidate; the same model again is unchanged, whatever asked for it."""
    workspace = work.workspace
    _put_back_lost_champion(work)
    champion = workspace.evidence.champion(work.subject)
    case = _Case(work, champion)
    if champion is not None and case.is_champion:
        return _measured_again(case, champion)
    known = case.registry.candidate(case.family, case.model)
    if known is not None and case.decided_before(known):
        workspace.evidence.check_standing(known, "candidates")
        return _unchanged(case, known, read_decision(workspace, known.decision))
    return _decided(case, _decide(case))


def _lost_champion(work: Work) -> ModelPointer | None:
    from nethical_assets.core.delivery.expected import lost_champion

    return lost_champion(work.workspace.registry, work.workspace.audit_log, work.subject)


def _put_back_lost_champion(work: Work) -> None:
    """A champion is compared with whether its pointer is there or not: one that is gone is put back first."""
    lost = _lost_champion(work)
    if lost is not None:
        perform(work.workspace, _promotion(lost))


def _measured_again(case: _Case, champion: ModelPointer) -> Result:
    """The champion itself: it stays as it is, and a changed limit or measurement may only say that it would not
    pass."""
    decision = read_decision(case.workspace, champion.decision)
    if not case.decided_before(champion):
        measured = _decide(case)
        if measured.verdict != "promoted":
            return _refused_champion(case, champion, measured)
        decision = replace(decision, gate=measured.gate, regression=measured.regression)
    return _unchanged(case, champion, decision)


def _unchanged(case: _Case, pointer: ModelPointer, decision: ReleaseDecision) -> Result:
    since = f"nothing changed since {pointer.decided_at[:10]}, when it was {pointer.verdict}"
    reason = NEEDS_LABELS if case.workspace.options.force else since
    facts = _facts(case, pointer, decision, UNCHANGED, [reason, *decision.reasons])
    return Result(pointer.decision, {"decision": pointer.decision}, facts, reused=True)


def _refused_champion(case: _Case, champion: ModelPointer, decision: ReleaseDecision) -> Result:
    stored = _store(case, decision)
    facts = _facts(case, champion, decision, decision.verdict, decision.reasons)
    return Result(stored, {"decision": stored}, facts, acts=[_gate_act(case, decision, stored)])


def _decided(case: _Case, decision: ReleaseDecision) -> Result:
    from nethical_assets.core.delivery.pinned import pinning_subject
    from nethical_assets.home.changes import place_pointer

    stored = _store(case, decision)
    pointer = _pointer(case, decision, stored)
    facts = _facts(case, pointer, decision, decision.verdict, decision.reasons)
    gate = _gate_act(case, decision, stored)
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


def _gate_act(case: _Case, decision: ReleaseDecision, stored: str) -> Act:
    return Act(
        EventType.GATE_DECIDED,
        {RELEASES.record_name(case.family): stored, MODELS.record_name(case.family): case.model},
        parents=[case.evaluation.output],
        payload={"verdict": decision.verdict, "reasons": list(decision.reasons)},
    )


def _decide(case: _Case) -> ReleaseDecision:
    from nethical_assets.core.delivery.release import decide_release
    from nethical_assets.core.evaluation.gate import decide
    from nethical_assets.core.evaluation.metrics import Evaluation

    limits = case.workspace.settings.file.performance_thresholds
    evaluation = Evaluation.from_json(case.evaluation.facts["evaluation"])
    regression, watch = _against_champion(case)
    gate = decide(evaluation, accuracy_min=limits.accuracy_min, ece_max=limits.ece_max, policy=limits.ece_policy)
    return decide_release(
        gate.to_json(),
        regression,
        champion=watch,
        replaces_real_data=_replaces_real_data(case),
        is_trial=_is_trial(case),
    )


def _is_trial(case: _Case) -> bool:
    """Whether a person asked for few rows, and the champion was trained on more."""
    if case.champion is None or case.is_champion or not case.workspace.options.samples:
        return False
    rows = [case.registry.load(model)[0].training["train_rows"] for model in (case.model, case.champion.model)]
    return bool(rows[0] < rows[1])


def _replaces_real_data(case: _Case) -> bool:
    if case.champion is None or not case.registry.load(case.model)[0].training["synthetic"]:
        return False
    return not case.registry.load(case.champion.model)[0].training["synthetic"]


def _against_champion(case: _Case) -> tuple[Mapping[str, Any], ChampionWatch | None]:
    """The candidate against the champion on the candidate's test rows, and the champion against itself."""
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.evaluation.regression import compare_with_champion
    from nethical_assets.core.models.loading import load_detector, predict

    settings, test = case.workspace.settings.file, case.test_rows
    champion = None
    watch = None
    special: dict[str, Any] = {}
    if case.is_champion:
        special = {"reasons": ["This model is the champion."]}
    elif case.champion is not None:
        manifest, _ = case.registry.load(case.champion.model)
        unknown = sorted(set(manifest.input_columns) - set(test.columns))
        if not unknown:
            spec = load_family(case.family)
            detector = load_detector(case.registry, case.champion.model, spec)
            champion = predict(detector, spec, test, manifest.input_columns)["probability"].to_numpy()
            if manifest.training["synthetic"] == case.registry.load(case.model)[0].training["synthetic"]:
                watch = _watch(case, case.champion, champion)
        elif manifest.training["synthetic"]:
            special = {"reasons": ["The champion was trained on synthetic data with other inputs."]}
        else:
            reason = f"The champion reads {', '.join(unknown[:5])}, which these test rows do not have."
            special = {"verdict": "needs_more_data", "reasons": [reason]}
    report = compare_with_champion(
        test["label"].to_numpy(),
        case.predictions["probability"].to_numpy(),
        champion,
        tolerance=settings.performance_thresholds.regression_tolerance,
        ece_bins=settings.performance_thresholds.ece_bins,
        bootstrap_samples=settings.training.bootstrap_samples,
        seed=settings.training.seed,
        sources=test["source"].to_numpy(dtype=object),
        groups=test["group"].to_numpy(dtype=object),
    ).to_json()
    return {**report, **special}, watch


def _watch(case: _Case, champion: ModelPointer, probabilities: npt.NDArray[np.float64]) -> ChampionWatch:
    """The champion on these test rows against its own evaluation.

    Raises:
        IntegrityError: the champion's evaluation is missing or was changed.
    """
    from nethical_assets.core.delivery.release import watch_champion
    from nethical_assets.core.evaluation.metrics import Evaluation, accuracy_of

    recorded = Evaluation.from_json(json.loads(case.workspace.objects.get(champion.evaluation)))
    test = case.test_rows
    now = accuracy_of(
        test["label"].to_numpy(),
        probabilities,
        sources=test["source"].to_numpy(dtype=object),
        groups=test["group"].to_numpy(dtype=object),
    )
    limit = case.workspace.settings.file.performance_thresholds.accuracy_drop_alert
    return watch_champion(recorded.metrics["accuracy"], recorded.rows, now, len(test), limit=limit)


def _store(case: _Case, decision: ReleaseDecision) -> str:
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
                "champion_fell": decision.champion_fell,
            }
        )
    )


def _pointer(case: _Case, decision: ReleaseDecision, stored: str) -> ModelPointer:
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


def _reference(case: _Case) -> str:
    """The drift reference of a new champion, from its test rows; its digest."""
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.drift.reference import build_reference
    from nethical_assets.core.models.loading import input_columns, load_detector

    spec = load_family(case.family)
    detector = load_detector(case.registry, case.model, spec)
    reference = build_reference(
        case.predictions["score"].to_numpy(),
        case.predictions["probability"].to_numpy(),
        detector.sketch(case.test_rows[input_columns(spec, case.test_rows)]),
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
            document.get("champion_fell"),
        )
    except (KeyError, ValueError) as error:
        raise IntegrityError(f"decision {digest} is malformed ({error}); restore it from a backup") from None


def _facts(case: _Case, pointer: ModelPointer, decision: ReleaseDecision, verdict: str, reasons: Any) -> dict[str, Any]:
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
        "champion_fell": decision.champion_fell,
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
