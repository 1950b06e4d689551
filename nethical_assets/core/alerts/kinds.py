"""The kinds of problems the platform files, each declared once, and one occurrence of a problem.

What belongs here: titles, labels, severities and what makes two occurrences the same problem. What does not: what the
issue says (``body``) or where it is kept (``tracker``, ``local``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal

from nethical_assets.core.ground.digests import digest_json

Severity = Literal["low", "medium", "high", "critical"]
Detail = str | int | float | bool | None


@dataclass(frozen=True)
class AlertKind:
    """A kind of problem: ``title`` precedes name and date, ``advice`` tells the reader what to do."""

    name: str
    title: str
    labels: tuple[str, ...]
    severity: Severity
    advice: str


_KINDS = (
    AlertKind(
        "drift",
        "Model Drift Alert",
        ("ml-ops", "drift-alert", "needs-attention"),
        "high",
        "Look at the drift report's columns; the comments say whether retraining was asked for and what came of it.",
    ),
    AlertKind(
        "accuracy_drop",
        "Model Accuracy Drop",
        ("ml-ops", "regression", "needs-attention"),
        "high",
        "Look at the drift report's accuracy over time; label the rows that `nethical label-queue` names, so that a "
        "model can be trained on what the champion gets wrong.",
    ),
    AlertKind(
        "calibration",
        "Model Calibration Alert",
        ("ml-ops", "drift-alert", "needs-attention"),
        "medium",
        "The champion's probabilities are not the shares of positives any more; do not choose thresholds by them until "
        "a model trained on newer labels is promoted.",
    ),
    AlertKind(
        "data_quality",
        "Dataset Validation Issues",
        ("ml-ops", "data-quality", "needs-attention"),
        "medium",
        "Open the dataset's failed check for columns and counts; repair or restore the dataset, then validate again.",
    ),
    AlertKind(
        "stale_dataset",
        "Dataset Validation Issues",
        ("ml-ops", "data-quality", "needs-attention"),
        "low",
        "Refresh the dataset with `nethical data fetch`, or restore it from the mirror.",
    ),
    AlertKind(
        "regression",
        "Model Performance Regression",
        ("ml-ops", "regression", "needs-investigation"),
        "medium",
        "Compare the evaluation with the champion's; the champion stays in place until a candidate passes.",
    ),
    AlertKind(
        "gate_refused",
        "Model Below Promotion Gate",
        ("ml-ops", "needs-investigation"),
        "low",
        "Read the reasons in the release; the candidate is kept, the champion is unchanged.",
    ),
    AlertKind(
        "deployment_failure",
        "Model Deployment Failure",
        ("ml-ops", "needs-attention"),
        "high",
        "Restore what is damaged from a backup, or promote a model that verifies; until then the last model that the "
        "gateway could verify goes on, where there is one.",
    ),
    AlertKind(
        "run_failure",
        "Run Failure",
        ("ml-ops", "needs-investigation"),
        "high",
        "Mend what the failed step names; the last good state is in place, so run it again then.",
    ),
    AlertKind(
        "monitor_silent",
        "Monitor Silent",
        ("ml-ops", "needs-attention"),
        "high",
        "Nobody watches this family until it is mended: see that the daemon, the drift schedule and the gateway run.",
    ),
    AlertKind(
        "audit_failure",
        "Audit Verification Failure",
        ("ml-ops", "needs-attention"),
        "critical",
        "Run `nethical audit verify`; keep the folder as it is and compare it with a copy.",
    ),
)

KINDS: Mapping[str, AlertKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""Every kind by name."""


def fingerprint(kind: str, subject: str, check: str) -> str:
    """The name of a problem, 64 hexadecimal digits: what is wrong with which thing, whenever and by how much."""
    return digest_json({"kind": kind, "subject": subject, "check": check}).partition(":")[2]


@dataclass(frozen=True)
class Moment:
    """Where a result is in the order of results: by what it is about, which is the end of the window that was judged or
    else the time at which it was found; then by when it was found, and by the number of the event that told of it.

    A window that is judged before it has ended counts from when it was judged: nothing is about the future.

    Attributes:
        when: when it was found, with a time zone.
        window_end: the end of the window that it is about; None where it is about no window.
    """

    when: datetime
    event: int = 0
    window_end: datetime | None = None

    @property
    def counted_from(self) -> datetime:
        """The time that decides, in UTC."""
        return min(self.when, self.window_end or self.when).astimezone(UTC)

    def __str__(self) -> str:
        """A text that sorts as moments do, to the microsecond."""
        found = f"{_time(self.when)} " if self.window_end is not None else ""
        return f"{_time(self.counted_from)} {found}{self.event:020d}"

    @classmethod
    def parse(cls, text: str) -> Moment:
        """The moment of which ``text`` is the text; the oldest trackers noted the time alone.

        Raises:
            ValueError: it is none.
        """
        counted_from, *more = text.split(" ")
        at, event = datetime.fromisoformat(counted_from), int(more.pop()) if more else 0
        return cls(datetime.fromisoformat(more[0]), event, at) if more else cls(at, event)


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "+00:00"


@dataclass(frozen=True)
class Alert:
    """One occurrence of a problem.

    Attributes:
        kind: a name in ``KINDS``.
        subject: the dataset, family or job that has the problem.
        check: which check, metric or step found it; with kind and subject this is the problem's identity.
        summary: one sentence with the numbers of this occurrence.
        when: moment of the occurrence, with a time zone.
        occurrence: identifies the occurrence (a run id, a report's digest): filing it again counts once.
        details: name -> value, shown as a table.
        severity: of this occurrence; the kind's when None.
        event: number of the event that told of it, which orders results of one moment.
        window_end: the end of the window that was judged, with a time zone; orders results as ``Moment`` says.
    """

    kind: str
    subject: str
    check: str
    summary: str
    when: datetime
    occurrence: str
    details: Mapping[str, Detail] = field(default_factory=dict)
    severity: Severity | None = None
    event: int = 0
    window_end: datetime | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown alert kind {self.kind!r}; known: {', '.join(KINDS)}")
        if self.when.tzinfo is None or (self.window_end is not None and self.window_end.tzinfo is None):
            raise ValueError("an alert's moment needs a time zone")

    @property
    def declared(self) -> AlertKind:
        """The kind's declaration."""
        return KINDS[self.kind]

    @property
    def title(self) -> str:
        """The specification's title with the name of the dataset, family or job: ``Model Drift Alert: logistic - DAY``,
        the day being that of the occurrence in UTC."""
        name = self.subject.rpartition("/")[2]
        return f"{self.declared.title}: {name} - {self.when.astimezone(UTC).date().isoformat()}"

    @property
    def fingerprint(self) -> str:
        """The identity of the problem."""
        return fingerprint(self.kind, self.subject, self.check)

    @property
    def moment(self) -> str:
        """Where it is in the order of results."""
        return str(Moment(self.when, self.event, self.window_end))

    @property
    def effective_severity(self) -> Severity:
        """This occurrence's severity."""
        return self.severity or self.declared.severity


@dataclass(frozen=True)
class Resolution:
    """One proof that a problem is over: a check that passed, a run that succeeded, a better model.

    It closes an issue only when its moment is later than that of every known occurrence.

    Attributes:
        kind: with ``subject`` and ``check`` the problem's identity, as of ``Alert``.
        reason: one sentence for the closed issue.
        when: moment of the proof, with a time zone; ``event`` orders results of one moment.
        actor: who closes.
        window_end: the end of the window that was judged, as of ``Alert``.
    """

    kind: str
    subject: str
    check: str
    reason: str
    when: datetime
    actor: str
    event: int = 0
    window_end: datetime | None = None

    @property
    def fingerprint(self) -> str:
        """The identity of the problem."""
        return fingerprint(self.kind, self.subject, self.check)

    @property
    def moment(self) -> str:
        """Where it is in the order of results."""
        return str(Moment(self.when, self.event, self.window_end))
