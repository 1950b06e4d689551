"""The verdict on one window of one family, from sketches.

What belongs here: which statistics are asked, and the rule that makes a verdict of their answers. What does not: the
statistics (``statistics``), the level (``budget``), two tables (``verdict``), alerts and retraining (``core.alerts``,
``core.delivery``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from nethical_assets.core.drift.rule import Outcome, outcome
from nethical_assets.core.drift.statistics.holm import holm
from nethical_assets.core.drift.statistics.measurement import Measurement
from nethical_assets.core.ground.documents import to_document

MonitorVerdict = Literal["drift", "changed", "stable", "needs_more_data", "hold"]
Priority = Literal["none", "normal", "high"]
Kind = Literal[
    "distribution",
    "cumulative_distribution",
    "positive_rate",
    "unseen_levels",
    "calibration",
    "accuracy",
    "estimated_accuracy",
]

NEXT: dict[MonitorVerdict, str] = {
    "drift": "An alert is filed and retraining is asked for, once for this cause. The alert closes when another model "
    "is promoted or a later window is stable.",
    "changed": "Nothing is retrained: the change is real, but smaller than the threshold. It is shown here, and is "
    "called drift when it grows beyond the threshold.",
    "stable": "Nothing needs to be done. An open alert about drift of this family closes.",
    "needs_more_data": "Nothing is decided: the next window adds rows. Open alerts stay open.",
    "hold": "Nothing is decided without traffic: check that the family is still being sent requests. Open alerts stay "
    "open.",
}
_NEXT_HIGH = (
    "A high-priority alert is filed and retraining is asked for, once for this cause. Label recent rows first: the "
    "model is less often right than it was when it was promoted. Consider rolling back if an earlier model was better."
)


@dataclass(frozen=True)
class Monitor:
    """One statistic of a window.

    Attributes:
        name: the column, or the kind where it is about the whole window.
        size: of the change, in [0, 1], as far as it counts against the threshold: the effect, but of accuracies only
            how far they fell (of estimated ones, how far for certain).
    """

    name: str
    kind: Kind
    size: float
    measurement: Measurement


@dataclass(frozen=True)
class WindowMeasurements:
    """What was measured of a window, before any level is known.

    Attributes:
        evidence: digest of the window's sketches and of the fewest rows that are judged; the ledger of the budget knows
            the judgement by it.
        correlated: whether the traffic's correlation could be estimated; otherwise rows count as independent.
        monitors: every statistic, those that need more data included.
        notes: what a reader should know about how it was measured.
    """

    reference: str
    evidence: str
    rows: int
    labelled_rows: int
    sub_windows: int
    correlated: bool
    monitors: tuple[Monitor, ...]
    notes: tuple[str, ...] = ()

    @property
    def has_answers(self) -> bool:
        """Whether any statistic has an answer, so that a level is to be spent on them."""
        return any(not monitor.measurement.needs_more_data for monitor in self.monitors)


@dataclass(frozen=True)
class MonitorOutcome:
    """What became of one statistic: its p-value corrected for all of the window, and the rule's outcome.

    ``score`` is its size on the scale of the threshold, in [0, 1]; None of it where it needs more data.
    """

    monitor: Monitor
    adjusted_p_value: float | None
    score: float | None
    outcome: Outcome | Literal["needs_more_data"]


@dataclass(frozen=True)
class MonitorReport:
    """The verdict on a window.

    Attributes:
        priority: ``high`` where accuracy fell by more than allowed, ``normal`` for other drift, else ``none``.
        drift_score: in [0, 1]: the largest score among significant changes, 0 when there is none. It exceeds
            ``threshold`` exactly when the verdict is drift. Scores are effects; a fall of accuracy is scaled so that
            the allowed drop has the score of the threshold.
        level: what the budget gave all monitors of this judgement together; 0 where nothing was spent.
        reasons: why, one line each.
        what_next: what happens now, in words.
        outcomes: every monitor, significant ones first.
    """

    verdict: MonitorVerdict
    priority: Priority
    drift_score: float
    threshold: float
    accuracy_drop: float
    level: float
    reasons: tuple[str, ...]
    what_next: str
    outcomes: tuple[MonitorOutcome, ...]
    measured: WindowMeasurements

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the monitors are in ``outcomes`` only."""
        document = to_document(replace(self, measured=replace(self.measured, monitors=())))
        del document["measured"]["monitors"]
        return document


def judge_window(
    measured: WindowMeasurements, *, level: float, threshold: float, accuracy_drop: float
) -> MonitorReport:
    """The verdict on what was measured.

    A window without rows is on ``hold``. It is ``drift`` when a change is larger than the threshold and significant at
    the level, corrected for all monitors of the window (Holm); ``changed`` when one is significant but none so large;
    ``needs_more_data`` when one is so large but chance is not ruled out, or nothing could be measured; else ``stable``.
    Accuracy counts when it fell by more than ``accuracy_drop``: measured on labelled rows, or estimated with all of its
    interval below. Then the priority is ``high``. At level 0 nothing can be significant, so nothing is decided.

    Args:
        level: of all monitors together, from ``budget.spend``; in [0, 1].
        threshold: of effects, in (0, 1].
        accuracy_drop: how far accuracy may fall, in (0, 1].
    """
    asked = measured.monitors if level > 0.0 else ()
    answered = [monitor for monitor in asked if not monitor.measurement.needs_more_data]
    adjusted = holm([_p_value(monitor) for monitor in answered])
    found = [
        _outcome(monitor, p_value, level, threshold, accuracy_drop)
        for monitor, p_value in zip(answered, adjusted, strict=True)
    ]
    found.sort(key=lambda one: (one.outcome not in ("drifted", "changed"), -(one.score or 0.0), one.monitor.name))
    outcomes = [one.outcome for one in found]
    verdict: MonitorVerdict
    if measured.rows == 0:
        verdict = "hold"
    elif "drifted" in outcomes:
        verdict = "drift"
    elif "changed" in outcomes:
        verdict = "changed"
    elif "suspected" in outcomes or not found:
        verdict = "needs_more_data"
    else:
        verdict = "stable"
    high = any(one.outcome == "drifted" and _is_accuracy(one.monitor) for one in found)
    silent = tuple(
        MonitorOutcome(monitor, None, None, "needs_more_data")
        for monitor in measured.monitors
        if level <= 0.0 or monitor.measurement.needs_more_data
    )
    return MonitorReport(
        verdict=verdict,
        priority="high" if high else "normal" if verdict == "drift" else "none",
        drift_score=max((one.score or 0.0 for one in found if one.outcome in ("drifted", "changed")), default=0.0),
        threshold=threshold,
        accuracy_drop=accuracy_drop,
        level=level if found else 0.0,
        reasons=tuple(_reasons(verdict, found, silent, measured, level)),
        what_next=_NEXT_HIGH if high else NEXT[verdict],
        outcomes=(*found, *silent),
        measured=measured,
    )


def _p_value(monitor: Monitor) -> float:
    value = monitor.measurement.p_value
    return 1.0 if value is None else value


def _is_accuracy(monitor: Monitor) -> bool:
    return monitor.kind in ("accuracy", "estimated_accuracy")


def _outcome(monitor: Monitor, p_value: float, level: float, threshold: float, accuracy_drop: float) -> MonitorOutcome:
    scale = threshold / accuracy_drop if _is_accuracy(monitor) else 1.0
    score = min(1.0, monitor.size * scale)
    return MonitorOutcome(monitor, p_value, score, outcome(score, p_value, threshold=threshold, level=level))


def _reasons(
    verdict: MonitorVerdict,
    found: list[MonitorOutcome],
    silent: tuple[MonitorOutcome, ...],
    measured: WindowMeasurements,
    level: float,
) -> list[str]:
    if verdict == "hold":
        return ["The window has no traffic."]
    if level <= 0.0 and measured.has_answers:
        return [
            "The budget of false alerts is spent: nothing is decided until windows of a year ago give some of it "
            "back, or monitoring.false_alerts_a_year is raised."
        ]
    if not found:
        # Each kind says the same of all columns.
        return sorted({f"Too few for a verdict: {one.monitor.measurement.reason}." for one in silent})
    if verdict == "stable":
        return [f"No change of {len(found)} monitors over {measured.rows} rows is significant at {level:.2g}."]
    told = {"drift": "drifted", "changed": "changed", "needs_more_data": "suspected"}[verdict]
    return [_reason(one, level) for one in found if one.outcome == told]


def _reason(one: MonitorOutcome, level: float) -> str:
    measurement, p_value = one.monitor.measurement, one.adjusted_p_value or 0.0
    said = {
        "distribution": "the distribution of {name} moved",
        "cumulative_distribution": "the cumulative distribution of {name} moved",
        "positive_rate": "the share of rows called positive moved by {statistic:+.3f}",
        "unseen_levels": "{statistic:.1%} of the rows have values of {name} that the reference never had",
        "calibration": "calibration changed (error {statistic:+.3f})",
        "accuracy": "accuracy changed by {statistic:+.3f}",
        "estimated_accuracy": "accuracy is estimated at {statistic:.3f}",
    }[one.monitor.kind].format(name=one.monitor.name, statistic=measurement.statistic or 0.0)
    chance = "is ruled out" if p_value < level else "is not ruled out"
    interval = f"{measurement.low or 0.0:.3f} to {measurement.high or 0.0:.3f}"
    return (
        f"{said[0].upper()}{said[1:]}: score {one.score or 0.0:.3f}, 95 % interval {interval}; chance {chance} "
        f"(adjusted p-value {p_value:.2g}, level {level:.2g})."
    )
