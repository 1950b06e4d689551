"""What an issue says is what was filed: edits are found, and what the platform and people append is none."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nethical_assets.core.alerts import LocalIssueTracker, Resolution, local_rows
from nethical_assets.core.audit import AuditLog
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import tracker_path
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations.kept import kept_problems
from tests.core.alerts.conftest import NOON, make_alert

EDITED: dict[str, Any] = {
    "kind": "drift",
    "subject": "raw/guide",
    "check": "schema",
    "title": "Nothing is wrong",
    "body": "Nothing is wrong.",
    "labels": "ml-ops",
    "severity": "low",
    "state": "open",
    "fingerprint": "0" * 64,
    "closed_at": "2026-03-01T11:00:00+00:00",
    "closed_by": "eve",
    "close_reason": "it was nothing",
    "unlogged": 1,
}
APPENDED = {
    # Who works on it is in a leaf of its own, where somebody does.
    *("number", "occurrences", "last_summary", "created_at", "updated_at", "failed"),
    *("acknowledged_at", "acknowledged_by"),
}
"""What an issue's history is made of: in no leaf."""


@pytest.fixture
def tracker(settings: Settings) -> LocalIssueTracker:
    """A tracker whose issues the log knows."""
    AuditLog(settings.home / "audit").heartbeat("first")
    return Workspace(settings, CycleOptions(), "alerts").tracker


def edit(settings: Settings, column: str, value: Any) -> None:
    with contextlib.closing(sqlite3.connect(tracker_path(settings.home))) as connection:
        assert connection.execute(f'UPDATE issues SET "{column}" = ? WHERE number = 1', (value,)).rowcount == 1
        connection.commit()


def test_every_edit_of_what_an_issue_says_is_named(settings: Settings, tracker: LocalIssueTracker) -> None:
    tracker.file(make_alert())
    tracker.close(1, "mended", "ada")
    assert kept_problems(settings) == []
    with contextlib.closing(sqlite3.connect(tracker_path(settings.home))) as connection:
        connection.row_factory = sqlite3.Row
        (row,) = connection.execute("SELECT * FROM issues").fetchall()
    assert set(row.keys()) == {*EDITED, *APPENDED}
    for column, value in EDITED.items():
        assert row[column] != value
        edit(settings, column, value)
        problems = kept_problems(settings)
        assert problems, column
        assert all("alerts" in problem for problem in problems)
        edit(settings, column, row[column])
        assert kept_problems(settings) == []


def test_what_is_appended_is_no_edit(settings: Settings, tracker: LocalIssueTracker) -> None:
    def file(minutes: int, **changes: Any) -> None:
        tracker.file(make_alert(when=NOON + timedelta(minutes=minutes), occurrence=f"run {minutes}", **changes))
        assert kept_problems(settings) == []

    file(0)
    file(1)
    file(2, summary="4 of 42 columns miss more than 20 % of values", severity="critical")
    file(3, severity="low")
    assert tracker.show(1).severity == "critical"
    tracker.comment(1, "I look into it", "ada")
    assert tracker.note(make_alert().fingerprint, "retraining", "retraining was asked for", "nethical")
    assert kept_problems(settings) == []
    tracker.close(1, "mended", "ada")
    assert kept_problems(settings) == []
    tracker.comment(1, "it was the upstream file", "ada")
    file(60, severity="high")
    assert (tracker.show(1).state, tracker.show(1).severity) == ("open", "high")
    passed = Resolution("data_quality", "raw/nslkdd", "missing_values", "passed", NOON + timedelta(days=1), "nethical")
    tracker.record([passed])
    assert tracker.show(1).state == "closed"
    assert kept_problems(settings) == []
    edit(settings, "title", "another")
    assert len(kept_problems(settings)) == 1


def test_an_edited_issue_is_not_made_good_by_closing_or_reopening_it(
    settings: Settings, tracker: LocalIssueTracker
) -> None:
    tracker.file(make_alert())
    edit(settings, "title", "Nothing is wrong")
    tracker.close(1, "mended", "ada")
    assert "title" in kept_problems(settings)[0]
    tracker.file(make_alert(when=NOON + timedelta(hours=1), occurrence="run 2"))
    assert tracker.show(1).state == "open"
    assert "title" in kept_problems(settings)[0]


def test_a_lost_tracker_that_files_anew_says_what_the_newest_leaf_says(
    settings: Settings, tracker: LocalIssueTracker
) -> None:
    tracker.file(make_alert())
    tracker_path(settings.home).unlink()
    tracker.file(make_alert(when=NOON + timedelta(days=3), occurrence="run 9"))
    assert kept_problems(settings) == []


def test_issues_whose_leaves_name_no_text_still_verify(
    settings: Settings, tracker: LocalIssueTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = local_rows.leaf_of

    def older(connection: Any, step: Any) -> Any:
        leaf = told(connection, step)
        document = {} if leaf is None else {name: value for name, value in leaf.document.items() if name != "text"}
        return None if leaf is None or document.get("change") == "graver" else replace(leaf, document=document)

    with monkeypatch.context() as patched:
        patched.setattr(local_rows, "leaf_of", older)
        tracker.file(make_alert(severity="low"))
        tracker.file(make_alert(when=NOON + timedelta(minutes=1), occurrence="run 2", severity="critical"))
        assert kept_problems(settings) == []
    tracker.file(make_alert(when=NOON + timedelta(minutes=2), occurrence="run 3", severity="critical"))
    tracker.close(1, "mended", "ada")
    assert kept_problems(settings) == []
