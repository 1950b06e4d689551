"""What waits to be told elsewhere: the changes of issues that a target has not been given yet, in their order.

What belongs here: which change is next, how far a target is, and what happened when it was tried. What does not:
sending (``delivery``), targets (``github``, ``webhook``), or what makes a change (``local_rows``, which writes it in
the transaction in which the issue changes, so that neither is there without the other).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nethical_assets.core.alerts.local_issues import PLATFORM, as_text, read
from nethical_assets.core.alerts.tracker import Change, Issue
from nethical_assets.core.ground.digests import digest_json

_MARKER_DIGITS = 32


@dataclass(frozen=True)
class Delivery:
    """One change of one issue, to be told to one target.

    Attributes:
        number: its place in the order of all changes.
        issue: as it stands now; what it says never changes after it was opened.
        at, actor, body: of the comment that the change made; of an opened issue when it was, the platform, and nothing.
        known_as: what the target calls the issue; None where it was never given it.
        uncertain: whether it may have been sent before: sending began and nobody knows how it ended, or the tracker was
            emptied and filled again since.
        attempted: whether sending began before: by a process that died, what it sent may not have arrived yet.
    """

    number: int
    change: Change
    issue: Issue
    at: str
    actor: str
    body: str
    known_as: str | None
    uncertain: bool
    attempted: bool

    @property
    def marker(self) -> str:
        """By which the change is found again at a target without custom fields: from what it says, not from its number,
        which is another one in a tracker that was filled again."""
        said = {"issue": self.issue.fingerprint, "change": self.change, "at": self.at, "body": self.body}
        return f"<!-- nethical-delivery: {digest_json(said).partition(':')[2][:_MARKER_DIGITS]} -->"


@dataclass(frozen=True)
class TargetState:
    """How far a target is.

    Attributes:
        waiting: changes that it was not given yet.
        failures: attempts in a row that failed.
        not_before: when it is tried again (ISO 8601 in UTC); empty where nothing stops it.
        problem: why the last attempt failed, one line; empty where it did not.
        refused: changes that it never took and never will.
        last_refusal: why the last of those was not taken; empty where there is none.
    """

    waiting: int
    failures: int
    not_before: str
    problem: str
    refused: int
    last_refusal: str


class Outbox:
    """The changes that one target waits for.

    A target that is new is given the issues that are open then, with their history, and everything that follows.

    Args:
        target: its name; holds no secret.
        transaction: one writing transaction on the tracker's file.
    """

    def __init__(self, target: str, transaction: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        self.target = target
        self._transaction = transaction

    def state(self) -> TargetState:
        """How far the target is."""
        with self._transaction() as connection:
            row = self._row(connection)
            waiting = connection.execute(_COUNTED, self._arguments(row)).fetchone()["waiting"]
            refusals = connection.execute(
                "SELECT problem FROM refusals WHERE target = ? ORDER BY change", (self.target,)
            ).fetchall()
            return TargetState(
                waiting=int(waiting),
                failures=row["failures"],
                not_before=row["not_before"],
                problem=row["problem"],
                refused=len(refusals),
                last_refusal=refusals[-1]["problem"] if refusals else "",
            )

    def next(self) -> Delivery | None:
        """The oldest change that waits, noted as attempted: whoever sees it again knows that it may have been sent."""
        with self._transaction() as connection:
            row = self._row(connection)
            found = connection.execute(_NEXT, self._arguments(row)).fetchone()
            if found is None:
                return None
            self._set(connection, attempted=found["id"])
            return self._delivery(connection, row, found)

    def delivered(self, delivery: Delivery, known_as: str) -> None:
        """The target has it, and everything before it."""
        with self._transaction() as connection:
            self._pass(connection, delivery)
            connection.execute(
                "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?)",
                (self.target, delivery.issue.number, known_as),
            )

    def refused(self, delivery: Delivery, problem: str) -> None:
        """The target will never take it: the next ones are delivered without it."""
        with self._transaction() as connection:
            self._pass(connection, delivery)
            connection.execute(
                "INSERT OR REPLACE INTO refusals VALUES (?, ?, ?)", (self.target, delivery.number, problem)
            )

    def failed(self, problem: str, not_before: datetime) -> None:
        """The target could not be told; it is tried again at ``not_before`` (with a time zone)."""
        with self._transaction() as connection:
            failures = self._row(connection)["failures"] + 1
            self._set(connection, failures=failures, not_before=as_text(not_before), problem=problem)

    def _pass(self, connection: sqlite3.Connection, delivery: Delivery) -> None:
        self._set(connection, delivered=delivery.number, failures=0, not_before="", problem="")

    def _row(self, connection: sqlite3.Connection) -> sqlite3.Row:
        connection.execute(
            "INSERT OR IGNORE INTO targets (target, since) SELECT ?, coalesce(max(id), 0) FROM changes", (self.target,)
        )
        found: sqlite3.Row = connection.execute("SELECT * FROM targets WHERE target = ?", (self.target,)).fetchone()
        return found

    def _arguments(self, row: sqlite3.Row) -> dict[str, Any]:
        return {"target": self.target, "delivered": row["delivered"], "since": row["since"]}

    def _set(self, connection: sqlite3.Connection, **values: Any) -> None:
        for name, value in values.items():
            connection.execute(_SET[name], (value, self.target))

    def _delivery(self, connection: sqlite3.Connection, row: sqlite3.Row, found: sqlite3.Row) -> Delivery:
        issue = read(connection, int(found["issue"]))
        known = connection.execute(
            "SELECT known_as FROM deliveries WHERE target = ? AND issue = ?", (self.target, issue.number)
        ).fetchone()
        opened = found["change"] == "opened"
        return Delivery(
            number=found["id"],
            change=found["change"],
            issue=issue,
            at=issue.created_at if opened else found["at"],
            actor=PLATFORM if opened else found["actor"],
            body="" if opened else found["body"],
            known_as=None if known is None else known["known_as"],
            uncertain=found["id"] <= max(row["attempted"], row["since"]),
            attempted=found["id"] <= row["attempted"],
        )


@dataclass(frozen=True)
class Backlog:
    """What waits for a target, and how many attempts in a row to tell it failed."""

    waiting: int
    failures: int


def backlogs(connection: sqlite3.Connection) -> dict[str, Backlog]:
    """How far every target is that was ever to be told something, by its name; nothing is changed."""
    return {
        row["target"]: Backlog(int(connection.execute(_COUNTED, dict(row)).fetchone()["waiting"]), row["failures"])
        for row in connection.execute("SELECT target, delivered, since, failures FROM targets ORDER BY target")
    }


# What was over before the target was there is not told.
_WAITING = """
FROM changes JOIN issues ON issues.number = changes.issue LEFT JOIN comments ON comments.id = changes.comment
WHERE changes.id > :delivered AND (changes.id > :since OR issues.state = 'open' OR EXISTS (
    SELECT 1 FROM deliveries WHERE target = :target AND deliveries.issue = changes.issue))
"""
_COUNTED = f"SELECT count(*) AS waiting {_WAITING}"
_NEXT = (
    "SELECT changes.id, changes.issue, change, comments.at, comments.actor, comments.body"
    f" {_WAITING} ORDER BY changes.id LIMIT 1"
)
_SET = {
    name: f"UPDATE targets SET {name} = ? WHERE target = ?"  # noqa: S608 names of columns
    for name in ("delivered", "attempted", "failures", "not_before", "problem")
}
