"""Promotions and rollbacks that were recorded and could not be carried out, as alerts.

What belongs here: which acts are about which champion. What does not: acts (``home.acts``), or what is said of them
(``core.alerts.deployment``).
"""

from __future__ import annotations

from nethical_assets.core.alerts import Alert, IssueTracker, Recorded
from nethical_assets.core.alerts.deployment import UnfinishedPromotion, judge_promotions
from nethical_assets.core.delivery.pinned import model_subject
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.home.changes import promoted_by
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now

_OBSERVER = "alerts"


def file_promotions(settings: Settings, tracker: IssueTracker) -> Recorded:
    """File what could not be carried out, and close what was since. Costs a look into a folder where nothing is."""
    acts = Workspace(settings, CycleOptions(), _OBSERVER).acts
    # One that somebody put back is tried now: until it was carried out it is not over.
    acts.settle()
    unfinished: dict[str, list[UnfinishedPromotion]] = {}
    for name, begun, change in acts.unfinished_changes():
        pointer = promoted_by(change)
        if pointer is not None:
            unfinished.setdefault(pointer.family, []).append(UnfinishedPromotion(name, begun, pointer.model))
    now = utc_now()
    results = [
        result
        for family in family_names()
        for result in judge_promotions(model_subject(family), unfinished.get(family, ()), now)
        if isinstance(result, Alert) or tracker.is_open(result.fingerprint)
    ]
    return tracker.record(results) if results else Recorded(0, 0)
