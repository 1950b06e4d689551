"""The ``available`` checks: whether a dataset, or a family, has real data, and if not, what to do.

What belongs here: the outcomes of these checks from the facts of records. What does not: the causes themselves
(``core.datasets.availability``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nethical_assets.core.datasets.availability import ADVICE, THERE_BUT_UNUSABLE, Cause, advice_for, gravest
from nethical_assets.core.quality.checks import CheckOutcome


def raw_availability(dataset: str, facts: Mapping[str, Any] | None) -> CheckOutcome:
    """The outcome of ``available`` of one dataset, from the facts of its record; None: it was never fetched.

    It fails where the source has something that cannot be used, also while an older snapshot is in use.
    """
    if facts is None:
        return CheckOutcome("available", "warn", "it was never fetched", {}, what_to_do=ADVICE["not_asked"])
    cause: Cause | None = facts.get("cause")
    if cause is None and "snapshot" in facts:
        return CheckOutcome("available", "pass", f"{facts['source']}: {facts['rows']} rows", {"rows": facts["rows"]})
    cause = cause or "not_asked"
    stale = "snapshot" in facts
    return CheckOutcome(
        "available",
        "fail" if cause in THERE_BUT_UNUSABLE else "pass" if stale else "warn",
        str(facts["reason"]),
        {"cause": cause, **({"rows": facts["rows"]} if stale else {})},
        what_to_do=advice_for(dataset, cause),
    )


def family_availability(facts: Mapping[str, Any]) -> CheckOutcome:
    """The outcome of ``available`` of a canonical dataset: whether it is real, and if not, whose fault that is."""
    if not facts["synthetic"]:
        return CheckOutcome("available", "pass", f"real data from {facts['source']}", {})
    skipped = facts["skipped"]
    cause = gravest(row["cause"] for row in skipped)
    worst = [row for row in skipped if row["cause"] == cause]
    told = "; ".join(f"{row['dataset']} ({row['reason']})" for row in worst)
    return CheckOutcome(
        "available",
        "fail" if cause in THERE_BUT_UNUSABLE else "warn",
        "the rows are synthetic: no source could serve real data" + (f": {told}" if told else ""),
        {"cause": cause, "sources": len(skipped)},
        what_to_do=advice_for(worst[0]["dataset"], cause) if worst else ADVICE[cause],
    )
