"""Release decisions: what becomes of a trained and evaluated model.

What belongs here: combining the gate, the comparison with the champion and the watch over the champion into one
verdict, and semantic versions. What does not: measuring (``core.evaluation``) or moving pointers (``home.acts``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nethical_assets.core.evaluation.estimate import Estimate
from nethical_assets.core.evaluation.gate import MINIMUM_ROWS
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.models.registry import ModelManifest

ReleaseVerdict = Literal["promoted", "candidate"]
WatchVerdict = Literal["held", "fell", "needs_more_data"]
FALLEN_HOLD = (
    "Only a candidate that is more accurate on the same rows for certain replaces it: look at what changed in the "
    "family's datasets."
)
FALLEN_REPLACED = "The candidate is more accurate on the same rows for certain, so it replaces it."
TRIAL_REFUSAL = "It was trained on a sample, with fewer rows than the champion, so it cannot replace the champion."
SYNTHETIC_REFUSAL = "It was trained on synthetic data and the champion on real data, so it cannot replace the champion."
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class ReleaseDecision:
    """What was decided and why. ``gate`` and ``regression`` are the evidence as JSON documents.

    ``champion_watch`` is the ``ChampionWatch`` as a JSON document; None where there was nothing to watch.
    """

    verdict: ReleaseVerdict
    reasons: tuple[str, ...]
    gate: Mapping[str, Any]
    regression: Mapping[str, Any]
    champion_watch: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ChampionWatch:
    """The champion's accuracy when it was released against that on rows that were labelled since.

    Attributes:
        recorded, now: accuracy in [0, 1], None where undefined; ``recorded_rows`` and ``rows`` it was measured on.
        drop: ``recorded - now``, with its 95 % interval ``drop_low`` to ``drop_high``.
        limit: the drop that is tolerated.
    """

    verdict: WatchVerdict
    reason: str
    recorded: float | None
    recorded_rows: int
    now: float | None
    rows: int
    drop: float | None
    drop_low: float | None
    drop_high: float | None
    limit: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return to_document(self)


def watch_champion(
    recorded: Estimate,
    recorded_rows: int,
    now: Estimate,
    rows: int,
    *,
    limit: float,
    minimum_rows: int = MINIMUM_ROWS,
    units: tuple[int, int] | None = None,
) -> ChampionWatch:
    """Whether the champion fell by more than ``limit`` since its own evaluation.

    The interval of the drop follows from those of both accuracies (Newcombe 1998, method 10; Zou and Donner 2008), as
    if the two samples shared no row, which is cautious where they do. From ``minimum_rows`` rows in both samples on,
    a drop above the limit counts if its interval excludes 0; below, only if it lies wholly above the limit. Rows in
    groups count as many as there are groups: ``units`` then, and now.
    """
    drop, low, high = _drop(recorded, now)

    def watch(verdict: WatchVerdict, reason: str) -> ChampionWatch:
        return ChampionWatch(verdict, reason, recorded.value, recorded_rows, now.value, rows, drop, low, high, limit)

    if drop is None or low is None or high is None:
        return watch("needs_more_data", f"The champion's accuracy is undefined on these {rows} rows.")
    measured = (
        f"the champion's accuracy was {recorded.value:.4f} on {recorded_rows} rows when it was released and is "
        f"{now.value:.4f} on these {rows} (lower by {drop:+.4f}, 95 % interval {low:+.4f} to {high:+.4f})"
    )
    settled = min(units or (recorded_rows, rows)) >= minimum_rows
    if drop > limit and low > (0.0 if settled else limit):
        return watch(
            "fell",
            f"The champion fell: {measured}, more than {limit:g}. Its labels or its data changed.",
        )
    if drop > limit or not (settled or high <= limit):
        return watch(
            "needs_more_data", f"It cannot be told whether the champion fell by more than {limit:g}: {measured}."
        )
    return watch("held", f"The champion held: {measured}.")


def _drop(recorded: Estimate, now: Estimate) -> tuple[float, float, float] | tuple[None, None, None]:
    numbers = (recorded.value, recorded.low, recorded.high, now.value, now.low, now.high)
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        return None, None, None
    before, before_low, before_high, after, after_low, after_high = known
    drop = before - after
    low = drop - math.hypot(before - before_low, after_high - after)
    return drop, low, drop + math.hypot(before_high - before, after - after_low)


def decide_release(
    gate: Mapping[str, Any],
    regression: Mapping[str, Any],
    *,
    champion: ChampionWatch | None = None,
    replaces_real_data: bool = False,
    is_trial: bool = False,
) -> ReleaseDecision:
    """Promote exactly when the gate passed and there is no regression; "needs more data" never promotes.

    A model trained on synthetic data never replaces one trained on real data, however well it does on its own rows.
    Only a candidate that is more accurate for certain (``beats_champion``) replaces a champion that fell: as good as a
    fallen one is easily said, and where labels are wrong at random nothing learns them.

    Args:
        gate: verdict ``pass``, ``fail`` or ``needs_more_data``, and ``reasons``.
        regression: verdict ``pass``, ``fail``, ``needs_more_data`` or ``no_champion``, and ``reasons``.
        champion: the watch over the present champion, which may be this model; None where there is none, where these
            are the rows that it was released on, or where it cannot be held against them.
        is_trial: whether it was trained on fewer rows than the champion because somebody asked for a sample.
        replaces_real_data: whether the candidate is trained on synthetic data and the champion on real data.
    """
    better = gate["verdict"] == "pass" and regression["verdict"] in ("pass", "no_champion")
    fell = champion if champion is not None and champion.verdict == "fell" else None
    beaten = beats_champion(regression)
    refusal = (
        *((f"{fell.reason} {FALLEN_HOLD}",) if fell is not None and not beaten else ()),
        *((SYNTHETIC_REFUSAL,) if replaces_real_data else ()),
        *((TRIAL_REFUSAL,) if is_trial else ()),
    )
    promoted = better and not refusal
    undecided = (champion.reason,) if champion is not None and champion.verdict == "needs_more_data" else ()
    replaced = (f"{fell.reason} {FALLEN_REPLACED}" if promoted else fell.reason,) if fell is not None and beaten else ()
    return ReleaseDecision(
        verdict="promoted" if promoted else "candidate",
        reasons=(*refusal, *gate["reasons"], *regression["reasons"], *undecided, *replaced),
        gate=gate,
        regression=regression,
        champion_watch=None if champion is None else champion.to_json(),
    )


def beats_champion(regression: Mapping[str, Any]) -> bool:
    """Whether the candidate is more accurate than the champion on the same rows, and the paired 95 % interval excludes
    that it is not."""
    highest = [row["loss_high"] for row in regression.get("comparisons", ()) if row["metric"] == "accuracy"]
    return any(loss is not None and loss < 0.0 for loss in highest)


def is_superseded(decision: ReleaseDecision) -> bool:
    """Whether a stored decision is to be made anew: older versions let nothing replace a champion that fell."""
    watch = decision.champion_watch or {}
    refused = {SYNTHETIC_REFUSAL, TRIAL_REFUSAL} & set(decision.reasons)
    passes = decision.gate["verdict"] == decision.regression["verdict"] == "pass"
    held_back = decision.verdict == "candidate" and watch.get("verdict") == "fell"
    return held_back and passes and not refused and beats_champion(decision.regression)


def is_severe_drop(regression: Mapping[str, Any], accuracy_drop: float) -> bool:
    """Whether the candidate's accuracy is below the champion's, on the same rows, by more than ``accuracy_drop``."""
    losses = [row["loss"] for row in regression.get("comparisons", ()) if row["metric"] == "accuracy"]
    return any(loss is not None and loss > accuracy_drop for loss in losses)


def next_version(candidate: ModelManifest, champion: ModelManifest | None, champion_version: str | None) -> str:
    """The semantic version of ``candidate``: the first is 1.0.0; then the major part grows when the inputs changed, the
    minor part when the code changed, the patch part when only data or settings did.

    Raises:
        IntegrityError: the champion's version is not semantic.
    """
    if champion is None or champion_version is None:
        return "1.0.0"
    parts = _VERSION.fullmatch(champion_version)
    if parts is None:
        raise IntegrityError(f"{champion_version!r} is not a semantic version such as 1.0.0; restore the pointer")
    major, minor, patch = (int(part) for part in parts.groups())
    if candidate.input_columns != champion.input_columns:
        return f"{major + 1}.0.0"
    if candidate.training.get("code") != champion.training.get("code"):
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"
