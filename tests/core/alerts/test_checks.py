"""Which check results are filed, as what, and by what their issues are found again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.alerts import KINDS, LocalIssueTracker
from nethical_assets.core.alerts.checks import (
    _ADVISORY,
    _KIND_BY_CHECK,
    HIGH_PRIORITY,
    REPLACED,
    CheckResult,
    alert_of,
    resolution_of,
)
from nethical_assets.core.quality.checks import CHECKS

WHEN = datetime(2026, 11, 22, 3, tzinfo=UTC)
DECISIONS = {"gate", "regression", "champion", "drift", "accuracy", "calibration", "log_verifies", "events_reconciled"}


def result(check: str = "schema", **changes: Any) -> CheckResult:
    values: dict[str, Any] = {
        "asset": "raw/nslkdd",
        "check": check,
        "passed": False,
        "warning": False,
        "undecided": False,
        "summary": "wrong columns: duration",
        "when": WHEN,
        "occurrence": "run-1",
        "numbers": {"columns_failing": 1},
    }
    return CheckResult(**{**values, **changes})


def test_every_named_check_exists() -> None:
    assert set(_KIND_BY_CHECK) <= {*CHECKS, *DECISIONS}
    assert {*_ADVISORY} <= {*CHECKS}
    assert set(_KIND_BY_CHECK.values()) <= set(KINDS)


@pytest.mark.parametrize("check", sorted({*CHECKS, *DECISIONS}))
def test_a_failure_is_filed_whatever_the_check(check: str) -> None:
    alert = alert_of(result(check))
    assert alert is not None
    assert (alert.subject, alert.check, alert.summary) == ("raw/nslkdd", check, "wrong columns: duration")
    assert (alert.when, alert.occurrence, alert.details) == (WHEN, "run-1", {"columns_failing": 1})


@pytest.mark.parametrize("check", sorted({*CHECKS, *DECISIONS}))
def test_a_pass_or_too_little_data_is_never_filed(check: str) -> None:
    assert alert_of(result(check, passed=True)) is None
    assert alert_of(result(check, undecided=True)) is None
    assert alert_of(result(check, undecided=True, warning=True)) is None


@pytest.mark.parametrize(
    ("check", "filed"),
    [
        ("freshness", True),
        ("minimum_samples", True),
        ("schema", True),
        ("available", False),
        ("personal_data", False),
        ("duplicates", False),
        ("class_balance", False),
        ("missing_values", False),
    ],
)
def test_warnings_that_ask_nothing_of_a_person_are_not_filed(check: str, filed: bool) -> None:
    assert (alert_of(result(check, warning=True)) is not None) is filed


@pytest.mark.parametrize(
    ("check", "kind", "title", "labels"),
    [
        ("schema", "data_quality", "Dataset Validation Issues", {"ml-ops", "data-quality", "needs-attention"}),
        ("missing_values", "data_quality", "Dataset Validation Issues", {"ml-ops", "data-quality", "needs-attention"}),
        ("freshness", "stale_dataset", "Dataset Validation Issues", {"ml-ops", "data-quality", "needs-attention"}),
        ("drift", "drift", "Model Drift Alert", {"ml-ops", "drift-alert", "needs-attention"}),
        ("regression", "regression", "Model Performance Regression", {"ml-ops", "regression", "needs-investigation"}),
        ("gate", "gate_refused", "Model Below Promotion Gate", {"ml-ops", "needs-investigation"}),
        ("log_verifies", "audit_failure", "Audit Verification Failure", {"ml-ops", "needs-attention"}),
        ("events_reconciled", "audit_failure", "Audit Verification Failure", {"ml-ops", "needs-attention"}),
    ],
)
def test_kinds_titles_and_labels_of_the_specification(check: str, kind: str, title: str, labels: set[str]) -> None:
    alert = alert_of(result(check))
    assert alert is not None
    assert (alert.kind, alert.title, set(alert.declared.labels)) == (kind, f"{title}: nslkdd - 2026-11-22", labels)


@pytest.mark.parametrize(("high", "severity"), [(True, "high"), (False, "medium")])
def test_a_large_drop_of_accuracy_is_of_high_priority(high: bool, severity: str) -> None:
    alert = alert_of(result("regression", numbers={HIGH_PRIORITY: high}))
    assert alert is not None
    assert alert.effective_severity == severity


@pytest.mark.parametrize("check", sorted({*CHECKS, *DECISIONS}))
def test_a_pass_finds_the_issue_that_its_failure_opened(check: str, tmp_path: Path) -> None:
    alert = alert_of(result(check))
    assert alert is not None
    passed = result(check, passed=True, summary="all well", occurrence="run-2", numbers={})
    assert passed.fingerprint == alert.fingerprint
    tracker = LocalIssueTracker(tmp_path / "issues.sqlite")
    issue = tracker.file(alert)
    found = tracker.find(passed.fingerprint)
    assert found is not None
    assert found.number == issue.number
    tracker.close(found.number, "the check passed again", "check sensor")
    assert tracker.show(issue.number).state == "closed"


@pytest.mark.parametrize(("replaced", "state"), [(True, "closed"), (False, "open")])
def test_a_champion_that_fell_and_was_replaced_is_told_and_over(replaced: bool, state: str, tmp_path: Path) -> None:
    fell = result("champion", asset="releases/logistic", numbers={HIGH_PRIORITY: True, REPLACED: replaced}, event=7)
    results = [found for found in (resolution_of(fell, "check sensor"), alert_of(fell)) if found is not None]
    tracker = LocalIssueTracker(tmp_path / "issues.sqlite")
    for _ in range(2):
        tracker.record(results)
    (issue,) = tracker.list()
    assert (issue.state, issue.severity, issue.occurrences) == (state, "high", 1)


def test_problems_of_different_assets_and_checks_are_different() -> None:
    results = [result(), result("freshness"), result(asset="raw/guide"), result("freshness", asset="raw/guide")]
    assert len({one.fingerprint for one in results}) == 4
    assert result(summary="other", when=WHEN.replace(day=1), occurrence="run-9").fingerprint == result().fingerprint
