"""Release decisions: what becomes of a trained and evaluated model.

What belongs here: combining the gate and the comparison with the champion into one verdict, and semantic versions. What
does not: measuring (``core.evaluation``) or moving pointers (``registry``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.models.registry import ModelManifest

ReleaseVerdict = Literal["promoted", "candidate"]
TRIAL_REFUSAL = "It was trained on a sample, with fewer rows than the champion, so it cannot replace the champion."
SYNTHETIC_REFUSAL = "It was trained on synthetic data and the champion on real data, so it cannot replace the champion."
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class ReleaseDecision:
    """What was decided and why. ``gate`` and ``regression`` are the evidence as JSON documents."""

    verdict: ReleaseVerdict
    reasons: tuple[str, ...]
    gate: Mapping[str, Any]
    regression: Mapping[str, Any]


def decide_release(
    gate: Mapping[str, Any], regression: Mapping[str, Any], *, replaces_real_data: bool = False, is_trial: bool = False
) -> ReleaseDecision:
    """Promote exactly when the gate passed and there is no regression; "needs more data" never promotes.

    A model trained on synthetic data never replaces one trained on real data, however well it does on its own rows.

    Args:
        gate: verdict ``pass``, ``fail`` or ``needs_more_data``, and ``reasons``.
        regression: verdict ``pass``, ``fail``, ``needs_more_data`` or ``no_champion``, and ``reasons``.
        is_trial: whether it was trained on fewer rows than the champion because somebody asked for a sample.
        replaces_real_data: whether the candidate is trained on synthetic data and the champion on real data.
    """
    better = gate["verdict"] == "pass" and regression["verdict"] in ("pass", "no_champion")
    refusal = (*((SYNTHETIC_REFUSAL,) if replaces_real_data else ()), *((TRIAL_REFUSAL,) if is_trial else ()))
    promoted = better and not refusal
    return ReleaseDecision(
        verdict="promoted" if promoted else "candidate",
        reasons=(*refusal, *gate["reasons"], *regression["reasons"]),
        gate=gate,
        regression=regression,
    )


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
