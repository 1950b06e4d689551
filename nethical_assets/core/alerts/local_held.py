"""Alerts that are held back, as rows of the local issue tracker: kept until what holds them back is over.

What belongs here: functions on one connection, inside a transaction of the caller. What does not: what holds what back
(``inhibition``), or filing (``local_rows``).

The newest occurrence of a problem is kept. It is dropped in the transaction that files it or that learns that the
problem is over, so a process that is killed anywhere loses none and files none twice.
"""

from __future__ import annotations

import json
import sqlite3

from nethical_assets.core.alerts import local_rows as rows
from nethical_assets.core.alerts.body import COMMENT_LIMIT, sanitise
from nethical_assets.core.alerts.inhibition import Inhibition, remark
from nethical_assets.core.alerts.kinds import Alert
from nethical_assets.core.alerts.local_issues import PLATFORM, add_comment, as_text
from nethical_assets.core.alerts.steps import Step, step_document, step_of
from nethical_assets.core.ground.digests import pretty_json


def is_held(connection: sqlite3.Connection, step: Step, inhibition: Inhibition) -> bool:
    """Whether the step is an occurrence that would open or reopen an issue and is held back."""
    if not isinstance(step, Alert) or not _open_causes(connection, step, inhibition):
        return False
    return rows.opens(connection, step)


def hold(connection: sqlite3.Connection, alert: Step, inhibition: Inhibition) -> None:
    """Keep an alert that is held, and say so on what holds it back, once for each time that that was opened; who works
    on it is told of it again."""
    if not isinstance(alert, Alert) or rows.is_over(connection, alert):
        return
    connection.execute(
        "INSERT INTO held VALUES (?, ?, ?) ON CONFLICT (fingerprint) DO UPDATE SET step = excluded.step,"
        " moment = excluded.moment WHERE excluded.moment > moment",
        (alert.fingerprint, alert.moment, pretty_json(step_document(alert)).decode()),
    )
    at = as_text(alert.when)
    for number in _open_causes(connection, alert, inhibition):
        reopened = connection.execute(
            "SELECT count(*) AS times FROM changes WHERE issue = ? AND change = 'reopened'", (number,)
        ).fetchone()["times"]
        key = f"holds back {alert.fingerprint} {reopened}"
        if connection.execute("INSERT OR IGNORE INTO notes VALUES (?, ?)", (number, key)).rowcount:
            said = sanitise(remark(alert), COMMENT_LIMIT)
            add_comment(connection, number, at, PLATFORM, said)
            connection.execute(
                "UPDATE issues SET updated_at = max(updated_at, ?), acknowledged_at = '', acknowledged_by = ''"
                " WHERE number = ?",
                (at, number),
            )


def released(connection: sqlite3.Connection, inhibition: Inhibition) -> list[Alert]:
    """What was held back and nothing holds back any more, in the order in which it happened."""
    kept = held(connection)
    return [alert for alert in kept if not _open_causes(connection, alert, inhibition)]


def held(connection: sqlite3.Connection) -> list[Alert]:
    """What is held back, in the order in which it happened."""
    found = connection.execute("SELECT step FROM held ORDER BY moment, fingerprint").fetchall()
    steps = [step_of(json.loads(row["step"])) for row in found]
    return [step for step in steps if isinstance(step, Alert)]


def _open_causes(connection: sqlite3.Connection, alert: Alert, inhibition: Inhibition) -> list[int]:
    """The numbers of the open issues that hold the alert back."""
    found = [
        connection.execute("SELECT number FROM issues WHERE fingerprint = ? AND state = 'open'", (cause,)).fetchone()
        for cause in inhibition.causes(alert)
    ]
    return [int(row["number"]) for row in found if row is not None]
