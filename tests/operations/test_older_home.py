"""A home whose log is of a version that named no alerts and pinned no key: what it kept is not called tampering."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nethical_assets.core.alerts import LocalIssueTracker
from nethical_assets.core.audit import AuditLog
from nethical_assets.core.audit.writer import KEY_RUN_PREFIX, LogWriter
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import tracker_path
from nethical_assets.operations.kept import kept_problems
from tests.core.alerts.conftest import make_alert


def file_unannounced(settings: Settings, when: datetime, **changes: Any) -> None:
    """What a tracker does that tells the log nothing: an older version's, or a person's with an editor."""
    LocalIssueTracker(tracker_path(settings.home)).record([make_alert(when=when, **changes)])


@pytest.fixture
def older_log(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AuditLog:
    """A log with one chunk and no pinned key."""
    append = LogWriter.append

    def append_no_pin(writer: LogWriter, view: Any, private: Any, run_id: str, leaves: Any) -> Any:
        return None if run_id.startswith(KEY_RUN_PREFIX) else append(writer, view, private, run_id, leaves)

    log = AuditLog(settings.home / "audit")
    with monkeypatch.context() as patched:
        patched.setattr(LogWriter, "append", append_no_pin)
        log.heartbeat("older")
    return log


def test_issues_from_before_the_log_named_them_are_no_problem(settings: Settings, older_log: AuditLog) -> None:
    file_unannounced(settings, datetime.now(UTC) - timedelta(days=1))
    assert kept_problems(settings) == []
    older_log.heartbeat("newer")
    assert kept_problems(settings) == []
    file_unannounced(settings, datetime.now(UTC) + timedelta(seconds=1), subject="another")
    (problem,) = kept_problems(settings)
    assert "knows of no filing" in problem


def test_in_a_log_of_this_version_every_issue_has_to_be_known(settings: Settings) -> None:
    AuditLog(settings.home / "audit").heartbeat("first")
    file_unannounced(settings, datetime(2020, 1, 1, tzinfo=UTC))
    (problem,) = kept_problems(settings)
    assert "knows of no filing" in problem


def test_a_lost_signing_key_is_not_replaced_by_another_one(settings: Settings) -> None:
    folder = settings.home / "audit"
    AuditLog(folder).heartbeat("first")
    key = folder / "keys" / "signing-key.pem"
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(AuditError, match="is missing; restore it from a backup"):
        AuditLog(folder).heartbeat("second")
    assert not key.exists()
    key.write_bytes(kept)
    key.chmod(0o600)
    AuditLog(folder).heartbeat("third")
