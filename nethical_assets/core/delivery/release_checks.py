"""What a release says as checks: the comparison with the champion, and the watch over it.

What belongs here: from the facts of a release to the verdicts of its checks. What does not: deciding about a release
(``release``), or how a check is shown (the orchestrator).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

CheckVerdict = Literal["passed", "failed", "undecided"]


@dataclass(frozen=True)
class ReleaseCheck:
    """One check of a release.

    Attributes:
        verdict: ``undecided`` where it could not tell: neither an alert nor the end of one.
        replaced: whether a champion that fell is champion no more.
    """

    verdict: CheckVerdict
    reason: str
    replaced: bool = False


def regression_verdict(facts: Mapping[str, Any]) -> CheckVerdict:
    """Of the comparison with the champion: a champion that cannot be compared says nothing about a model that did not
    take its place."""
    verdict = facts["regression"]["verdict"]
    if verdict == "no_champion":
        return "undecided" if facts["champion_before"] and facts["stage"] != "current" else "passed"
    return "passed" if verdict == "pass" else "failed" if verdict == "fail" else "undecided"


def watch_of(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was seen of the champion, empty where nothing was. Facts of older versions know only of one that fell."""
    return facts.get("champion_watch") or facts.get("champion_fell") or {}


def champion_check(facts: Mapping[str, Any]) -> ReleaseCheck:
    """Whether the champion of that moment held on these rows. A model that is the champion itself, on the rows that it
    was released on, holds by that."""
    watch = watch_of(facts)
    if watch:
        if watch["verdict"] == "fell":
            replaced = facts["verdict"] == "promoted"
            said = f" Version {facts['version']}, which is more accurate on the same rows, took its place."
            return ReleaseCheck("failed", watch["reason"] + (said if replaced else ""), replaced)
        return ReleaseCheck("passed" if watch["verdict"] == "held" else "undecided", watch["reason"])
    if facts["verdict"] != "promoted" and facts["stage"] == "current":
        return ReleaseCheck("passed", "these are the rows that the champion was released on")
    if not facts["champion_before"]:
        return ReleaseCheck("passed", "there was no champion to watch")
    return ReleaseCheck(
        "undecided",
        "nothing tells whether the champion fell: it was trained on synthetic data or reads other columns than these "
        "rows have, or the decision is of a version that did not say",
    )
