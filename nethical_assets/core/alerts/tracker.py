"""The issue tracker's interface: what any backend must do with problems.

What belongs here: the issue as a value, the protocol, its errors. What does not: a backend (``local``).

Lifecycle. The first occurrence of a problem opens an issue. Another occurrence while it is open counts, and adds a
comment when its summary differs from the last one. Closing takes a reason and an actor. An occurrence after closing
reopens the same issue, so that its history stays in one place. An occurrence filed twice counts once, whatever happened
in between. A problem's identity is its fingerprint, so titles, dates and numbers may differ between occurrences.

Order. Results may become known in any order, several times, and to several readers. What counts is when they happened:
a problem is open exactly when its newest occurrence is newer than its newest resolution and than any closing by a
person who knew of it. So an older pass never closes the issue of a newer failure, and an older failure never reopens.
One that was reopened three times within a day comes and goes: it stays open until a resolution six hours after its
newest occurrence, or until a person closes it.

Inhibition. An alert that would open an issue is held back while an issue is open that explains it (``inhibition``). It
is noted there, kept, and filed when that is closed, unless a newer result said in between that it is over.

Record. The audit log is told before an issue is opened, reopened, made graver, acknowledged or closed
(``steps.Journal``). Where it takes no event, the platform files and closes all the same, since its issues are what
tells people so; the log is told when it takes events again. A person acknowledges and closes nothing without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from nethical_assets.core.alerts.kinds import Alert, Resolution, Severity
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import NethicalError

State = Literal["open", "closed"]
Change = Literal["opened", "commented", "closed", "reopened"]


class TrackerError(NethicalError):
    """The tracker's storage cannot be read or written."""

    exit_code = 1


class IssueNotFoundError(NethicalError):
    """There is no issue with that number."""


@dataclass(frozen=True)
class Comment:
    """One entry of an issue's history; ``at`` is ISO 8601 in UTC, ``body`` Markdown."""

    at: str
    actor: str
    body: str


@dataclass(frozen=True)
class Issue:
    """A problem as it stands. Times are ISO 8601 in UTC; ``closed_*`` are empty while it is open.

    ``severity`` is the highest of its occurrences since it was last opened. ``acknowledged_by`` is who works on it,
    until it occurs again graver or after it was closed.
    """

    number: int
    fingerprint: str
    kind: str
    subject: str
    check: str
    title: str
    body: str
    labels: tuple[str, ...]
    severity: Severity
    state: State
    occurrences: int
    created_at: str
    updated_at: str
    closed_at: str
    closed_by: str
    close_reason: str
    acknowledged_at: str
    acknowledged_by: str
    comments: tuple[Comment, ...]

    @property
    def text_digest(self) -> str:
        """The digest of what never changes after the issue was opened."""
        return text_digest({name: getattr(self, name) for name in TEXT})

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return to_document(self)


TEXT = ("kind", "subject", "check", "title", "body", "labels")
"""What an issue says: the fields that are written when it is opened and stay so."""


def text_digest(said: Mapping[str, Any]) -> str:
    """The digest of the fields ``TEXT`` of an issue as they are stored."""
    return digest_json({name: list(said[name]) if name == "labels" else said[name] for name in TEXT})


@dataclass(frozen=True)
class Recorded:
    """What a batch of results changed: occurrences that counted, and issues that were closed."""

    filed: int
    closed: int

    def __add__(self, other: Recorded) -> Recorded:
        return Recorded(self.filed + other.filed, self.closed + other.closed)


class IssueTracker(Protocol):
    """A place where problems are filed. Every method may raise TrackerError, IntegrityError or BusyError."""

    def file(self, alert: Alert) -> Issue:
        """Open, update or reopen the issue of the alert's problem (see the lifecycle above) and return it."""

    def record(
        self, results: Sequence[Alert | Resolution], *, reader: str | None = None, position: str = ""
    ) -> Recorded:
        """File and resolve ``results`` in the order in which they happened, each once however often this is repeated;
        with ``reader`` remember how far it has read when all are. What was held back and is not any more is filed."""

    def held(self) -> tuple[Alert, ...]:
        """The alerts that open issues hold back, in the order in which they happened."""

    def releases(self) -> bool:
        """Whether an alert was held back that nothing holds back any more: the next ``record`` files it."""

    def position(self, reader: str) -> str | None:
        """How far ``reader`` has read; None when it never recorded."""

    def note(self, fingerprint: str, key: str, text: str, actor: str) -> bool:
        """Comment on the open issue of a problem, once for each ``key``; whether a comment was added."""

    def find(self, fingerprint: str) -> Issue | None:
        """The issue of a problem, open or closed; None when it never occurred."""

    def is_open(self, fingerprint: str) -> bool:
        """Whether the issue of a problem is open."""

    def show(self, number: int) -> Issue:
        """The issue with this number. Raises IssueNotFoundError."""

    def list(self, state: State | None = None, label: str | None = None) -> tuple[Issue, ...]:
        """Issues by number, of one state and with one label where given."""

    def comment(self, number: int, text: str, actor: str) -> Issue:
        """Add a comment. Raises IssueNotFoundError."""

    def acknowledge(self, number: int, reason: str, actor: str) -> Issue:
        """Note who works on an open issue. Raises IssueNotFoundError, TrackerError where it is closed, and AuditError
        where the audit log takes no event."""

    def close(self, number: int, reason: str, actor: str) -> Issue:
        """Close the issue; closing a closed one changes nothing. Raises IssueNotFoundError."""
