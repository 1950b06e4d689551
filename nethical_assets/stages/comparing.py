"""A candidate and what it is compared with: limits, its test rows, the champion on the same rows.

What belongs here: gathering what a decision rests on. What does not: deciding (``core.delivery``,
``core.evaluation``), or what follows from a decision (``releasing``).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nethical_assets.core.ground.digests import digest_json
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import Work
from nethical_assets.stages.training import MODELS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from nethical_assets.core.delivery.release import ChampionWatch, ReleaseDecision
    from nethical_assets.core.models.registry import ModelPointer, ModelRegistry
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace


@dataclass(frozen=True)
class Case:
    """One candidate before the decision: what it is and what it is compared with."""

    work: Work
    champion: ModelPointer | None

    @property
    def workspace(self) -> Workspace:
        """The stores of this run."""
        return self.work.workspace

    @property
    def registry(self) -> ModelRegistry:
        """The models of the home."""
        return self.work.workspace.registry

    @property
    def family(self) -> str:
        """The family of the candidate."""
        return self.work.subject

    @property
    def model(self) -> str:
        """The candidate's model digest."""
        return self.work.of(MODELS).output

    @property
    def evaluation(self) -> StageRecord:
        """The record of how the candidate was measured."""
        return self.work.of(EVALUATIONS)

    @functools.cached_property
    def thresholds(self) -> str:
        """The digest of the limits of the decision."""
        return digest_json(self.workspace.settings.file.performance_thresholds.model_dump(mode="json"))

    @functools.cached_property
    def test_rows(self) -> pd.DataFrame:
        """The rows of the split that nothing was fitted on."""
        from nethical_assets.core.datasets.splits import TEST
        from nethical_assets.core.ground.parquet import get_table

        frame = get_table(self.workspace.objects, self.work.of(SPLITS).output)
        return frame[frame["split"] == TEST].reset_index(drop=True)

    @functools.cached_property
    def predictions(self) -> pd.DataFrame:
        """The candidate's predictions of the test rows."""
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


def decide_about(case: Case) -> ReleaseDecision:
    """The decision on one candidate: the gate, and the comparison with the champion.

    Raises:
        IntegrityError: something that was stored of the champion is missing or was changed.
    """
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


def _is_trial(case: Case) -> bool:
    """Whether a person asked for few rows, and the champion was trained on more."""
    if case.champion is None or case.is_champion or not case.workspace.options.samples:
        return False
    rows = [case.registry.load(model)[0].training["train_rows"] for model in (case.model, case.champion.model)]
    return bool(rows[0] < rows[1])


def _replaces_real_data(case: Case) -> bool:
    if case.champion is None or not case.registry.load(case.model)[0].training["synthetic"]:
        return False
    return not case.registry.load(case.champion.model)[0].training["synthetic"]


def _against_champion(case: Case) -> tuple[Mapping[str, Any], ChampionWatch | None]:
    """The candidate against the champion on the candidate's test rows, and the champion against itself."""
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.evaluation.regression import compare_with_champion
    from nethical_assets.core.models.loading import load_detector, predict

    settings, test = case.workspace.settings.file, case.test_rows
    champion = None
    watch = None
    special: dict[str, Any] = {}
    if case.champion is not None and case.is_champion:
        special = {"reasons": ["This model is the champion."]}
        if case.evaluation.output != case.champion.evaluation:
            watch = _watch(case, case.champion, case.predictions["probability"].to_numpy())
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


def _watch(case: Case, champion: ModelPointer, probabilities: npt.NDArray[np.float64]) -> ChampionWatch:
    """The champion on these test rows against its own evaluation.

    Raises:
        IntegrityError: the champion's evaluation is missing or was changed.
    """
    from nethical_assets.core.delivery.release import watch_champion
    from nethical_assets.core.evaluation.clusters import count_units
    from nethical_assets.core.evaluation.metrics import Evaluation, accuracy_of

    recorded = Evaluation.from_json(json.loads(case.workspace.objects.get(champion.evaluation)))
    test = case.test_rows
    sources, groups = (test[name].to_numpy(dtype=object) for name in ("source", "group"))
    now = accuracy_of(test["label"].to_numpy(), probabilities, sources=sources, groups=groups)
    units = (recorded.units, count_units(groups, sources, len(test)))
    limit = case.workspace.settings.file.performance_thresholds.accuracy_drop_alert
    return watch_champion(recorded.metrics["accuracy"], recorded.rows, now, len(test), limit=limit, units=units)
