from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from nethical_assets.core.alerts import KINDS, fingerprint


def test_titles_and_labels_of_the_specification(alert):
    assert alert(kind="drift", subject="drift_reports/logistic").title == "Model Drift Alert: logistic - 2026-03-01"
    assert KINDS["drift"].labels == ("ml-ops", "drift-alert", "needs-attention")
    assert alert().title == "Dataset Validation Issues: nslkdd - 2026-03-01"
    assert KINDS["data_quality"].labels == ("ml-ops", "data-quality", "needs-attention")
    assert KINDS["regression"].labels == ("ml-ops", "regression", "needs-investigation")
    titles = {name: kind.title for name, kind in KINDS.items()}
    assert titles["accuracy_drop"] == "Model Accuracy Drop" and KINDS["accuracy_drop"].severity == "high"
    assert titles["deployment_failure"] == "Model Deployment Failure"
    assert {"regression", "drift", "stale_dataset", "data_quality", "run_failure", "audit_failure"} < set(KINDS)
    assert {"accuracy_drop", "calibration", "deployment_failure", "monitor_silent"} < set(KINDS)


def test_every_kind_is_complete():
    for name, kind in KINDS.items():
        assert kind.name == name and kind.labels[0] == "ml-ops" and kind.title and kind.advice.endswith(".")


def test_the_day_in_a_title_is_the_day_in_utc(alert):
    late = datetime(2026, 3, 1, 23, 30, tzinfo=timezone(-timedelta(hours=5)))
    assert alert(when=late).title.endswith("2026-03-02")


def test_identity_is_kind_subject_and_check_only(alert):
    first = alert()
    later = alert(summary="4 of 42", when=datetime(2026, 4, 1, tzinfo=UTC), occurrence="run 9", details={})
    assert first.fingerprint == later.fingerprint == fingerprint("data_quality", "raw/nslkdd", "missing_values")
    others = [alert(kind="stale_dataset"), alert(subject="raw/guide"), alert(check="freshness")]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4
    # Parts cannot run into each other.
    assert fingerprint("drift", "a", "bc") != fingerprint("drift", "ab", "c")


def test_unknown_kinds_and_local_times_are_refused(alert):
    with pytest.raises(ValueError, match="unknown alert kind 'nope'; known: drift"):
        alert(kind="nope")
    with pytest.raises(ValueError, match="time zone"):
        alert(when=datetime(2026, 3, 1))
