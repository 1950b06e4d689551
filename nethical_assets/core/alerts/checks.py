"""Which check results are problems, and of which kind.

What belongs here: from one check result to an alert, or to the end of one. What does not: reading results from the
orchestrator, or filing (``tracker``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from nethical_assets.core.alerts.kinds import KINDS, Alert, Detail, Resolution, fingerprint

HIGH_PRIORITY = "high_priority"
"""The number of a check result that is true where the failure is worse than the check's limit alone says."""
REPLACED = "replaced"
"""The number of a failed check of a champion that is true where another model took its place because of that: the
issue is filed, and is over."""
WINDOW_END = "window_end"
"""The number of a check result that says which window was judged: its end, ISO 8601 with a time zone."""

_ADVISORY = {
    "available",
    "personal_data",
    "duplicates",
    "near_duplicates",
    "class_balance",
    "missing_values",
    "newest_record",
    "licence",
}
KIND_OF_MODEL_CHECK: Mapping[str, str] = MappingProxyType(
    {"drift": "drift", "accuracy": "accuracy_drop", "calibration": "calibration"}
)
"""What is said of a champion by its drift reports: check -> kind. Another champion ends it."""
KIND_OF_CHAMPION_CHECK: Mapping[str, str] = MappingProxyType({"champion": "regression"})
"""What is said of a champion by the releases of its candidates: check -> kind. Another champion ends it."""
_KIND_BY_CHECK = {
    **KIND_OF_MODEL_CHECK,
    **KIND_OF_CHAMPION_CHECK,
    "freshness": "stale_dataset",
    "gate": "gate_refused",
    "regression": "regression",
    "log_verifies": "audit_failure",
    "events_reconciled": "audit_failure",
}


@dataclass(frozen=True)
class CheckResult:
    """One result of one check.

    Attributes:
        asset: the checked asset, such as ``raw/nslkdd``.
        warning: whether a failure is only a warning.
        undecided: whether the check could not tell for lack of data.
        occurrence: the run that evaluated it.
        numbers: what was measured; never values from data.
        event: number of the event of this evaluation, which orders evaluations of one moment.
    """

    asset: str
    check: str
    passed: bool
    warning: bool
    undecided: bool
    summary: str
    when: datetime
    occurrence: str
    numbers: Mapping[str, Detail] = field(default_factory=dict)
    event: int = 0

    @property
    def window_end(self) -> datetime | None:
        """The end of the window that was judged, where the result is about one."""
        said = self.numbers.get(WINDOW_END)
        try:
            found = datetime.fromisoformat(said) if isinstance(said, str) else None
        except ValueError:
            return None
        return found if found is not None and found.tzinfo is not None else None

    @property
    def kind(self) -> str:
        """The alert kind of a failure of this check."""
        return _KIND_BY_CHECK.get(self.check, "data_quality")

    @property
    def fingerprint(self) -> str:
        """The identity of the problem that a failure of this check is."""
        return fingerprint(self.kind, self.asset, self.check)


def advice_of(check: str) -> str:
    """What to do when a check did not pass, as its issue says."""
    return KINDS[_KIND_BY_CHECK.get(check, "data_quality")].advice


def alert_of(result: CheckResult) -> Alert | None:
    """The alert of a failed check; None when it passed, when it lacks data, or when it only informs.

    Warnings are filed too, except those that say nothing a person has to act on: an optional dataset that no source
    has, personal data that is masked anyway, duplicates and imbalance that training deals with, gaps in columns that
    nobody reads, records that are old by nature, a licence that is not written down.
    """
    if result.passed or result.undecided or (result.warning and result.check in _ADVISORY):
        return None
    return Alert(
        kind=result.kind,
        subject=result.asset,
        check=result.check,
        summary=result.summary,
        when=result.when,
        occurrence=_occurrence(result),
        details=dict(result.numbers),
        severity="high" if result.numbers.get(HIGH_PRIORITY) else None,
        event=result.event,
        window_end=result.window_end,
    )


def resolution_of(result: CheckResult, actor: str) -> Resolution | None:
    """What a passed check proves, or a failed one whose champion was replaced; None of every other."""
    problem = (result.kind, result.asset, result.check)
    if not result.passed:
        if not result.numbers.get(REPLACED):
            return None
        reason = f"another model was promoted in its place: {result.summary}"
        # It comes after the occurrence that the same result is.
        return Resolution(*problem, reason, result.when, actor, result.event + 1)
    about = f" of the window that ended at {result.numbers[WINDOW_END]}" if result.window_end else ""
    reason = f"the check{about} passed again: {result.summary}"
    return Resolution(*problem, reason, result.when, actor, result.event, result.window_end)


def _occurrence(result: CheckResult) -> str:
    """A window that is judged again is the same occurrence of what it shows; one run may judge several."""
    return result.occurrence if result.window_end is None else f"window that ended at {result.numbers[WINDOW_END]}"
