"""What a drift report says on each of the checks of its asset: drift, accuracy, calibration.

What belongs here: from the facts of a report to passed, failed or undecided. What does not: judging a window
(``monitors``), or showing a check (``assets.checks``).

A result closes an alert when it passed and opens one when it failed: what could not tell does neither, and is never
passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

CheckVerdict = Literal["passed", "failed", "undecided"]
CHECKS: Mapping[str, str] = {
    "drift": "What the champion scores still looks like its reference.",
    "accuracy": "The champion's accuracy did not fall by more than the settings allow, measured on labelled rows; what "
    "is estimated without labels can fail it, and not pass it.",
    "calibration": "The champion's probabilities still mean what they meant when it was promoted, on labelled rows.",
}
"""The checks by name, with what holds where they pass."""


@dataclass(frozen=True)
class WatchCheck:
    """What one check says.

    Attributes:
        reason: why, in one line.
        high_priority: whether somebody should act at once.
        numbers: what was measured, by name.
    """

    name: str
    verdict: CheckVerdict
    reason: str
    high_priority: bool = False
    numbers: Mapping[str, float | int] = field(default_factory=dict)


def watch_checks(facts: Mapping[str, Any]) -> tuple[WatchCheck, ...]:
    """The result of every check, in the order of ``CHECKS``, by the facts of a drift report."""
    found = (_drift(facts), _accuracy(facts), _calibration(facts))
    if facts["verdict"] != "hold":
        return found
    said = "without traffic in the window nothing is over; before it: "
    return tuple(
        replace(one, verdict="undecided", reason=said + one.reason) if one.verdict == "passed" else one for one in found
    )


def _drift(facts: Mapping[str, Any]) -> WatchCheck:
    """Changes that are real and smaller than the threshold (``changed``) neither open nor close an alert."""
    verdicts: Mapping[str, CheckVerdict] = {"stable": "passed", "drift": "failed"}
    score = {} if facts["drift_score"] is None else {"drift_score": float(facts["drift_score"])}
    return WatchCheck(
        "drift",
        verdicts.get(facts["verdict"], "undecided"),
        " ".join(facts["reasons"]) or facts["what_next"],
        high_priority=facts["priority"] == "high",
        numbers=score,
    )


def _accuracy(facts: Mapping[str, Any]) -> WatchCheck:
    """A fall counts whether it was measured or estimated. That there is none only labels can tell: an estimate does not
    see that the same inputs have other labels now."""
    measured, estimated = _of(facts, "accuracy"), _of(facts, "estimated_accuracy")
    allowed = float(facts["accuracy_drop"])
    numbers = {"allowed_drop": allowed, **_numbers("accuracy_change", measured), **_numbers("estimated", estimated)}
    verdict = _verdict(measured, settled=("unremarkable", "changed"))
    # Reports of the version before say nothing of it.
    record = facts.get("estimates", {"trust": "untested"})
    if _fell(measured):
        changed = _told(_fell(measured), "+.3f")
        reason = f"accuracy on labelled rows changed by {changed}, beyond the allowed fall of {allowed:g}"
    elif _fell(estimated):
        verdict, value = "failed", _told(_fell(estimated), ".3f")
        labels = "no labels tell yet"
        if _decided(measured):
            labels = f"on labelled rows it changed by {_told(_decided(measured), '+.3f')}"
        reason = f"accuracy is estimated at {value}, for certain beyond the allowed fall of {allowed:g}; {labels}"
    elif verdict == "passed":
        changed = _told(_decided(measured), "+.3f")
        reason = f"accuracy on labelled rows changed by {changed}; a fall of {allowed:g} is allowed"
    else:
        reason = f"the labels do not tell ({facts['labelled_rows']} labelled rows in the window)"
        if _decided(estimated):
            reason += f"; accuracy is estimated at {_told(_decided(estimated), '.3f')}, which is no certain fall"
    if record["trust"] == "contradicted":
        reason += f". {record['reason']}"
    return WatchCheck("accuracy", verdict, reason, high_priority=verdict == "failed", numbers=numbers)


def _calibration(facts: Mapping[str, Any]) -> WatchCheck:
    found = _of(facts, "calibration")
    verdict = _verdict(found, settled=("unremarkable",))
    numbers = _numbers("calibration_change", found)
    if verdict == "failed":
        changed = _told(_fell(found), "+.3f")
        reason = f"the calibration error changed by {changed}, beyond the threshold of {facts['threshold']:g}"
    elif verdict == "passed":
        reason = f"the calibration error changed by {_told(_decided(found), '+.3f')}, which may be chance"
    elif _outcomes(found) & {"changed"}:
        reason = "calibration changed, by less than the threshold: shown, and neither an alert nor the end of one"
    else:
        reason = f"too few labelled rows to tell ({facts['labelled_rows']} in the window)"
    return WatchCheck("calibration", verdict, reason, numbers=numbers)


def _of(facts: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    return [one for one in facts["monitors"] if one["kind"] == kind]


def _verdict(monitors: Iterable[Mapping[str, Any]], *, settled: Sequence[str]) -> CheckVerdict:
    """Failed when any period drifted; passed when one could tell, and all that could are ``settled``."""
    outcomes = _outcomes(monitors)
    if "drifted" in outcomes:
        return "failed"
    told = outcomes - {"needs_more_data"}
    return "passed" if told and told <= set(settled) else "undecided"


def _outcomes(monitors: Iterable[Mapping[str, Any]]) -> set[str]:
    return {one["outcome"] for one in monitors}


def _fell(monitors: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in monitors if one["outcome"] == "drifted"]


def _decided(monitors: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in monitors if one["outcome"] != "needs_more_data"]


def _told(monitors: Sequence[Mapping[str, Any]], form: str) -> str:
    """Each period's value with its interval."""
    told = []
    for one in monitors:
        known = one["low"] is not None and one["high"] is not None
        interval = f" (95 % interval {one['low']:.3f} to {one['high']:.3f})" if known else ""
        told.append(f"{format(one['statistic'] or 0.0, form)} in the {one['period']} period{interval}")
    return " and ".join(told)


def _numbers(name: str, monitors: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    found = {f"{name}_{one['period']}": one["statistic"] for one in monitors}
    return {key: float(value) for key, value in found.items() if value is not None}
