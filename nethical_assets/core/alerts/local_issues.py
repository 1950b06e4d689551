"""One issue of the local tracker and its history, as rows.

What belongs here: reading an issue, and adding to its history, on one connection inside a transaction of the caller.
What does not: what steps do to issues (``local_rows``).
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from nethical_assets.core.alerts.body import sanitise
from nethical_assets.core.alerts.kinds import Alert
from nethical_assets.core.alerts.tracker import Change, Comment, Issue, IssueNotFoundError

PLATFORM = "nethical"
"""The actor of comments that no person wrote."""
LABEL_SEPARATOR = ","
"""Between the labels of an issue in its row."""
_INTERNAL = {"labels", "last_summary", "failed", "unlogged"}


def read(connection: sqlite3.Connection, number: int) -> Issue:
    """The issue with this number.

    Raises:
        IssueNotFoundError: there is none.
    """
    row = connection.execute("SELECT * FROM issues WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise IssueNotFoundError(f"there is no issue {number}; `nethical alerts list` shows those there are")
    comments = connection.execute(
        "SELECT at, actor, body FROM comments WHERE issue = ? ORDER BY id", (number,)
    ).fetchall()
    values = {name: row[name] for name in row.keys() if name not in _INTERNAL}  # noqa: SIM118
    return Issue(
        **values,
        labels=tuple(row["labels"].split(LABEL_SEPARATOR)),
        comments=tuple(Comment(**dict(comment)) for comment in comments),
    )


def add_comment(
    connection: sqlite3.Connection, number: int, at: str, actor: str, body: str, change: Change = "commented"
) -> None:
    """Add an entry to an issue's history, which is delivered as ``change``; the texts are sanitised already."""
    cursor = connection.execute(
        "INSERT INTO comments (issue, at, actor, body) VALUES (?, ?, ?, ?)", (number, at, actor, body)
    )
    connection.execute(
        "INSERT INTO changes (issue, change, comment) VALUES (?, ?, ?)", (number, change, cursor.lastrowid)
    )


def as_text(when: datetime) -> str:
    """ISO 8601 in UTC, to the second."""
    return when.astimezone(UTC).isoformat(timespec="seconds")


def identity(problem: Alert | Issue) -> dict[str, str]:
    """What a problem is known by, as it is stored."""
    return {"kind": problem.kind, "subject": sanitise(problem.subject), "check": sanitise(problem.check)}
