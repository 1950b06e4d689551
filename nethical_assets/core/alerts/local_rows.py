"""What steps do to the rows of the local issue tracker, and what the audit log has to know of them.

What belongs here: functions on one connection, inside a transaction of the caller. What does not: transactions, files
and the audit log (``local``), or the tables (``local_schema``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from nethical_assets.core.alerts.body import COMMENT_LIMIT, render_body, render_recurrence, sanitise
from nethical_assets.core.alerts.kinds import Alert, Moment, Resolution
from nethical_assets.core.alerts.local_issues import LABEL_SEPARATOR, PLATFORM, add_comment, as_text, identity, read
from nethical_assets.core.alerts.steps import Acknowledging, Closing, Leaf, Logged, Step
from nethical_assets.core.alerts.tracker import (
    Issue,
    TrackerError,
    text_digest,
)
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.documents import to_document

LATE = "late"
"""The change that a leaf tells of when it was made while the log took no event."""

_SEVERITIES = ("low", "medium", "high", "critical")
_AHEAD = timedelta(days=1)
"""How far clocks may be ahead: what is known of a problem from a later time counts for nothing, or a clock that was
wrong once, or an edited time, would silence it until then."""
_FLAPPING_TIMES = 3
_FLAPPING_PERIOD = timedelta(days=1)
"""A problem that was reopened so often in this time comes and goes,"""
_CALM = timedelta(hours=6)
"""and is closed when it has been gone for so long."""
_COMES_AND_GOES = (
    "The problem comes and goes: it passes now, and this stays open until it passes six hours after it last occurred."
)
_Filing = Literal["opened", "reopened", "graver", "counted", "older"]


def take(connection: sqlite3.Connection, step: Step, *, unlogged: bool = False) -> bool:
    """Do what a step says; doing it again changes nothing.

    Args:
        unlogged: whether the audit log should know of it and does not.

    Returns:
        Whether an occurrence counted, or an issue was closed.
    """
    match step:
        case Alert():
            taken = _file(connection, step)
            _drop_held(connection, step, "<=")
        case Resolution():
            _remember(connection, step)
            if step.moment <= _latest():
                _drop_held(connection, step, "<")
            taken = _end(connection, step) or _explained(connection, step)
        case Closing():
            taken = _end(connection, step)
        case Acknowledging():
            _acknowledge(connection, step)
            return False
        case Logged():
            connection.execute(
                "UPDATE issues SET unlogged = 0 WHERE fingerprint = ? AND state = ?", (step.fingerprint, step.state)
            )
            return False
    if unlogged:
        connection.execute("UPDATE issues SET unlogged = 1 WHERE fingerprint = ?", (step.fingerprint,))
    return taken


def leaf_of(connection: sqlite3.Connection, step: Alert | Resolution | Closing | Acknowledging) -> Leaf | None:
    """What the audit log has to know before the step is taken; None where it changes nothing that the log knows of."""
    match step:
        case Alert():
            filing = _filing(connection, step)
            if filing in (None, "counted", "older"):
                return None
            document = {
                **identity(step),
                "change": filing,
                "severity": step.effective_severity,
                "occurrence": sanitise(step.occurrence),
                "at": as_text(step.when),
            }
            if filing == "opened":
                document["text"] = text_digest(_said(step))
            return Leaf("alert_filed", step.fingerprint, document)
        case Acknowledging():
            issue = _unacknowledged(connection, step)
            if issue is None:
                return None
            said = {"at": step.at, "actor": sanitise(step.actor), "reason": sanitise(step.reason, COMMENT_LIMIT)}
            return Leaf("alert_acknowledged", issue.fingerprint, {**identity(issue), **said})
        case Resolution() | Closing():
            issue = _ended(connection, step)
            return None if issue is None else _closing_leaf(issue, _closed_at(step), step.reason, step.actor)


def late_leaves(connection: sqlite3.Connection) -> list[tuple[Leaf, Logged]]:
    """What the audit log has not been told of issues that changed while it took no event: how they are now."""
    found: list[tuple[Leaf, Logged]] = []
    for row in connection.execute("SELECT number FROM issues WHERE unlogged = 1 ORDER BY number").fetchall():
        issue = read(connection, int(row["number"]))
        document = {**identity(issue), "change": LATE, "severity": issue.severity, "at": issue.updated_at}
        filed = Leaf("alert_filed", issue.fingerprint, {**document, "text": issue.text_digest})
        found.append((filed, Logged(issue.fingerprint, "open")))
        if issue.state == "closed":
            closed = _closing_leaf(issue, issue.closed_at, issue.close_reason, issue.closed_by)
            found.append((closed, Logged(issue.fingerprint, "closed")))
    return found


def overtaking(connection: sqlite3.Connection, alert: Alert) -> Resolution | None:
    """The newest resolution of the alert's problem where it is newer than every occurrence and the issue is open:
    results become known in any order."""
    row = connection.execute(
        "SELECT passed, reason, resolutions.actor FROM resolutions JOIN issues USING (fingerprint)"
        " WHERE fingerprint = ? AND state = 'open' AND passed > failed AND passed <= ?",
        (alert.fingerprint, _latest()),
    ).fetchone()
    if row is None:
        return None
    found = Moment.parse(row["passed"])
    problem = (alert.kind, alert.subject, alert.check)
    return Resolution(*problem, row["reason"], found.when, row["actor"], found.event, found.window_end)


def opens(connection: sqlite3.Connection, alert: Alert) -> bool:
    """Whether filing the alert would open or reopen an issue."""
    return _filing(connection, alert) in ("opened", "reopened")


def is_over(connection: sqlite3.Connection, alert: Alert) -> bool:
    """Whether a resolution is known that is newer than the alert."""
    newer = "SELECT 1 FROM resolutions WHERE fingerprint = ? AND passed > ? AND passed <= ?"
    return connection.execute(newer, (alert.fingerprint, alert.moment, _latest())).fetchone() is not None


def closing_of(connection: sqlite3.Connection, number: int, reason: str, actor: str) -> Closing:
    """The closing of an issue as it is known now.

    Raises:
        IssueNotFoundError: there is none with this number.
    """
    issue = read(connection, number)
    failed = connection.execute("SELECT failed FROM issues WHERE number = ?", (number,)).fetchone()["failed"]
    return Closing(issue.fingerprint, as_text(datetime.now(UTC)), reason, actor, failed)


def acknowledging_of(connection: sqlite3.Connection, number: int, reason: str, actor: str) -> Acknowledging:
    """The acknowledgement of an issue now.

    Raises:
        IssueNotFoundError: there is none with this number.
        TrackerError: it is closed.
    """
    issue = read(connection, number)
    if issue.state == "closed":
        raise TrackerError(f"issue {number} is closed; there is nothing to acknowledge")
    return Acknowledging(issue.fingerprint, as_text(datetime.now(UTC)), reason, actor)


def _latest() -> str:
    """The latest moment that is believed."""
    return (datetime.now(UTC) + _AHEAD).isoformat()


def _believed(failed: str, against: str) -> str:
    """When a problem occurred last, against a moment that is not in the future: only what is not there either."""
    return "" if against <= _latest() < failed else failed


def _filing(connection: sqlite3.Connection, alert: Alert) -> _Filing | None:
    """What filing the alert does; None for an occurrence that was filed before."""
    known = connection.execute(
        "SELECT number, state, severity, failed FROM issues WHERE fingerprint = ?", (alert.fingerprint,)
    ).fetchone()
    if known is None:
        return "opened"
    added = not _is_filed(connection, known["number"], alert)
    failed = _believed(known["failed"], alert.moment)
    newer = alert.moment > failed or (added and alert.moment == failed)
    if not newer:
        return "older" if added else None
    if is_over(connection, alert):
        return "older"
    if known["state"] == "closed":
        return "reopened"
    graver = _SEVERITIES.index(alert.effective_severity) > _SEVERITIES.index(known["severity"])
    return "graver" if graver else "counted"


def _is_filed(connection: sqlite3.Connection, number: int, alert: Alert) -> bool:
    filed = "SELECT 1 FROM occurrences WHERE issue = ? AND occurrence = ?"
    return connection.execute(filed, (number, sanitise(alert.occurrence))).fetchone() is not None


def _file(connection: sqlite3.Connection, alert: Alert) -> bool:
    """Whether the occurrence counted."""
    filing = _filing(connection, alert)
    if filing is None:
        return False
    if filing == "opened":
        _open(connection, alert)
        return True
    known = connection.execute(
        "SELECT number, severity, last_summary FROM issues WHERE fingerprint = ?", (alert.fingerprint,)
    ).fetchone()
    added = connection.execute(
        "INSERT OR IGNORE INTO occurrences VALUES (?, ?)", (known["number"], sanitise(alert.occurrence))
    ).rowcount
    if filing == "older":
        connection.execute(
            "UPDATE issues SET occurrences = occurrences + ?, failed = max(failed, ?) WHERE number = ?",
            (added, alert.moment, known["number"]),
        )
    else:
        _update(connection, alert, known, reopened=filing == "reopened", counts=bool(added))
    return True


def _drop_held(connection: sqlite3.Connection, step: Alert | Resolution, comparison: Literal["<", "<="]) -> None:
    """An occurrence that was held back, where the step is at least as new, or newer."""
    connection.execute(
        f"DELETE FROM held WHERE fingerprint = ? AND moment {comparison} ?",  # noqa: S608
        (step.fingerprint, step.moment),
    )


def _remember(connection: sqlite3.Connection, resolution: Resolution) -> None:
    """Also without an issue: an older occurrence may yet become known."""
    connection.execute(
        "INSERT INTO resolutions VALUES (?, ?, ?, ?) ON CONFLICT (fingerprint) DO UPDATE SET passed ="
        " excluded.passed, reason = excluded.reason, actor = excluded.actor"
        " WHERE excluded.passed > passed OR passed > ?",
        (resolution.fingerprint, resolution.moment, resolution.reason, resolution.actor, _latest()),
    )


def _ended(connection: sqlite3.Connection, step: Resolution | Closing) -> Issue | None:
    """The issue that the step closes: a resolution is later than every occurrence, a person knew of all of them."""
    row = connection.execute(
        "SELECT number, failed FROM issues WHERE fingerprint = ? AND state = 'open'", (step.fingerprint,)
    ).fetchone()
    if row is None:
        return None
    if isinstance(step, Resolution):
        failed = _believed(row["failed"], step.moment)
        ends = failed < step.moment and not _flaps(connection, row["number"], failed, step)
    else:
        ends = row["failed"] <= step.knew
    return read(connection, int(row["number"])) if ends else None


def _flaps(connection: sqlite3.Connection, number: int, failed: str, step: Resolution) -> bool:
    """Whether the problem comes and goes, and has not been gone for long: who is told each time stops to listen."""
    passed = Moment.parse(step.moment).counted_from
    if not failed or passed - Moment.parse(failed).counted_from >= _CALM:
        return False
    reopened = connection.execute(
        "SELECT count(*) AS times FROM changes JOIN comments ON comments.id = comment"
        " WHERE changes.issue = ? AND change = 'reopened' AND comments.at > ?",
        (number, as_text(step.when - _FLAPPING_PERIOD)),
    ).fetchone()["times"]
    return bool(reopened >= _FLAPPING_TIMES)


def _explained(connection: sqlite3.Connection, step: Resolution) -> bool:
    """Say once, where a problem is over for now and its issue stays open, why; nothing counts as changed by it."""
    row = connection.execute(
        "SELECT number, failed FROM issues WHERE fingerprint = ? AND state = 'open'", (step.fingerprint,)
    ).fetchone()
    if row is not None and (failed := _believed(row["failed"], step.moment)) < step.moment:
        key = f"comes and goes {failed[:10]}"
        noted = connection.execute("INSERT OR IGNORE INTO notes VALUES (?, ?)", (row["number"], key)).rowcount
        if noted:
            add_comment(connection, row["number"], as_text(step.when), PLATFORM, _COMES_AND_GOES)
    return False


def _closed_at(step: Resolution | Closing) -> str:
    return as_text(step.when) if isinstance(step, Resolution) else step.at


def _end(connection: sqlite3.Connection, step: Resolution | Closing) -> bool:
    """Whether an issue was closed."""
    issue = _ended(connection, step)
    if issue is not None:
        _close(connection, issue, _closed_at(step), step.reason, step.actor)
    return issue is not None


def _unacknowledged(connection: sqlite3.Connection, step: Acknowledging) -> Issue | None:
    """The open issue that the step acknowledges and did not before."""
    row = connection.execute(
        "SELECT number FROM issues WHERE fingerprint = ? AND state = 'open' AND NOT EXISTS"
        " (SELECT 1 FROM notes WHERE issue = number AND note = ?)",
        (step.fingerprint, _note_of(step)),
    ).fetchone()
    return None if row is None else read(connection, int(row["number"]))


def _acknowledge(connection: sqlite3.Connection, step: Acknowledging) -> None:
    issue = _unacknowledged(connection, step)
    if issue is None:
        return
    by = sanitise(step.actor)
    connection.execute("INSERT INTO notes VALUES (?, ?)", (issue.number, _note_of(step)))
    add_comment(connection, issue.number, step.at, by, f"Acknowledged: {sanitise(step.reason, COMMENT_LIMIT)}")
    connection.execute(
        "UPDATE issues SET acknowledged_at = ?, acknowledged_by = ?, updated_at = ? WHERE number = ?",
        (step.at, by, step.at, issue.number),
    )


def _note_of(step: Acknowledging) -> str:
    return f"acknowledged {digest_json(to_document(step))}"


def _closing_leaf(issue: Issue, at: str, reason: str, actor: str) -> Leaf:
    said = {"at": at, "actor": sanitise(actor), "reason": sanitise(reason, COMMENT_LIMIT)}
    return Leaf("alert_closed", issue.fingerprint, {**identity(issue), **said})


def _close(connection: sqlite3.Connection, issue: Issue, at: str, reason: str, actor: str) -> None:
    said, by = sanitise(reason, COMMENT_LIMIT), sanitise(actor)
    add_comment(connection, issue.number, at, by, f"Closed: {said}", "closed")
    connection.execute(
        "UPDATE issues SET state = 'closed', updated_at = ?, closed_at = ?, closed_by = ?, close_reason = ?"
        " WHERE number = ?",
        (at, at, by, said, issue.number),
    )


def _said(alert: Alert) -> dict[str, Any]:
    """What the issue of a new problem says."""
    return {
        **identity(alert),
        "title": sanitise(alert.title),
        "body": render_body(alert),
        "labels": alert.declared.labels,
    }


def _open(connection: sqlite3.Connection, alert: Alert) -> None:
    at, said = as_text(alert.when), _said(alert)
    cursor = connection.execute(
        'INSERT INTO issues (fingerprint, kind, subject, "check", title, body, labels, severity, state, occurrences,'
        " last_summary, created_at, updated_at, failed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'open', 1, ?, ?, ?, ?)",
        (
            alert.fingerprint,
            *(said[name] for name in ("kind", "subject", "check", "title", "body")),
            LABEL_SEPARATOR.join(said["labels"]),
            alert.effective_severity,
            sanitise(alert.summary, COMMENT_LIMIT),
            at,
            at,
            alert.moment,
        ),
    )
    connection.execute("INSERT INTO occurrences VALUES (?, ?)", (cursor.lastrowid, sanitise(alert.occurrence)))
    connection.execute("INSERT INTO changes (issue, change) VALUES (?, 'opened')", (cursor.lastrowid,))


def _update(
    connection: sqlite3.Connection, alert: Alert, known: Mapping[str, Any], *, reopened: bool, counts: bool
) -> None:
    """The problem occurred again, later than anything known of it."""
    number, at = int(known["number"]), as_text(alert.when)
    severity = alert.effective_severity
    if reopened or _SEVERITIES.index(severity) > _SEVERITIES.index(known["severity"]):
        connection.execute("UPDATE issues SET acknowledged_at = '', acknowledged_by = '' WHERE number = ?", (number,))
    if reopened:
        add_comment(connection, number, at, PLATFORM, "Reopened: the problem occurred again.\n", "reopened")
    else:
        severity = max(severity, known["severity"], key=_SEVERITIES.index)
    summary = sanitise(alert.summary, COMMENT_LIMIT)
    if summary != known["last_summary"] or reopened:
        add_comment(connection, number, at, PLATFORM, render_recurrence(alert))
    connection.execute(
        "UPDATE issues SET state = 'open', severity = ?, occurrences = occurrences + ?, last_summary = ?,"
        " updated_at = ?, closed_at = '', closed_by = '', close_reason = '', failed = ? WHERE number = ?",
        (severity, int(counts), summary, at, alert.moment, number),
    )
