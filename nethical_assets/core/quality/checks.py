"""The data checks: their names, what each one says, and the outcome a steward reads.

What belongs here: the one declaration of every check, free of pandas because the code location is defined from it. What
does not: evaluating a check (``report``). An outcome never holds a value from the data: only columns, counts, shares.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from nethical_assets.core.ground.documents import from_document, to_document

Status = Literal["pass", "warn", "fail"]
Subject = Literal["delivered", "canonical", "divided"]
"""What a check looks at: rows of one source as they were delivered, the rows of a family, or their division."""

EXAMPLES = 10
"""At most this many row numbers are given as examples."""


@dataclass(frozen=True)
class CheckKind:
    """A check as it is declared: what a pass means, what to do otherwise, and which stages' tables have it.

    ``stops``: the tables at which it stops the families that read them, where the settings name it; all by default.
    """

    description: str
    advice: str
    subjects: tuple[Subject, ...] = ("delivered", "canonical")
    stops: tuple[Subject, ...] | None = None

    @property
    def stops_at(self) -> tuple[Subject, ...]:
        """Where it stops families."""
        return self.subjects if self.stops is None else self.stops


CHECKS: Mapping[str, CheckKind] = {
    "available": CheckKind(
        "A source could serve the dataset.",
        "fetch the dataset (nethical data fetch), and read why no source could serve it",
        # One source of several may be missing: what counts is whether the family has real data.
        stops=("canonical",),
    ),
    "schema": CheckKind(
        "The columns the catalog promises are there and have their types.",
        "compare the file with its catalog entry: a column was renamed, removed or changed its type",
    ),
    "minimum_samples": CheckKind(
        "There are enough rows for verdicts to mean something.",
        "add rows, or accept wider intervals: small samples make verdicts uncertain",
        # A small source beside a large one is no reason to stop.
        stops=("canonical",),
    ),
    "missing_values": CheckKind(
        "No column misses too many of its values.",
        "ask the owner of the data why the values are missing, or have the catalog entry name another column",
    ),
    "class_balance": CheckKind(
        "The minority class is not too small.",
        "add rows of the minority class, or judge the model by precision and recall instead of accuracy",
        stops=("canonical",),
    ),
    "duplicates": CheckKind(
        "Not too many rows repeat another row.",
        "duplicates are removed before splitting; many of them mean less information than the row count says",
        # A canonical dataset has none left.
        stops=("delivered",),
    ),
    "freshness": CheckKind("The last successful refresh is recent enough.", "run: nethical data fetch"),
    "personal_data": CheckKind(
        "No personal data or secrets were found.",
        "nothing has to be done for training: every column of every record is screened before a family reads it; "
        "snapshots, backups and the mirror keep what came: consider a source without personal data",
    ),
    "newest_record": CheckKind(
        "The newest record is recent enough, and none lies in the future.",
        "look for a newer edition of the dataset; what a model learns from old records may no longer happen",
        ("delivered",),
    ),
    "licence": CheckKind(
        "The licence of the data is known.",
        "read the licence on the dataset's page and write it into the catalog entry",
        ("delivered",),
    ),
    "near_duplicates": CheckKind(
        "Not too many texts are nearly the same as another one (MinHash over runs of three words).",
        "compare the example rows; templates that repeat teach less than their number says and flatter test results",
    ),
    "distribution": CheckKind(
        "Columns and labels are distributed as in the previous snapshot.",
        "ask the owner of the data what changed; if it is a mistake, go back: nethical data restore NAME",
        ("delivered",),
    ),
    "label_errors": CheckKind(
        "Few labels look wrong to a model that never saw them (confident learning, out of fold).",
        "read the example rows and correct their labels at the source; the most doubtful come first",
        ("canonical",),
    ),
    "leakage": CheckKind(
        "No input column alone predicts the label.",
        "find out how the column comes about: if it is known only after the label is, take it out of the inputs",
        ("canonical",),
    ),
    "source_overlap": CheckKind(
        "The sources of the family share few rows after normalisation.",
        "drop one of two sources that copy each other: results across sources then mean less than they seem to",
        ("canonical",),
    ),
    "split_overlap": CheckKind(
        "No row, group or input is in two splits, and few test texts nearly repeat a training text.",
        "declare the column that the rows have in common as the group_column of the catalog entry",
        ("divided",),
    ),
}


BLOCKABLE = tuple(sorted(name for name, kind in CHECKS.items() if kind.stops_at))
"""The checks that the settings may name to stop a family."""


def checks_of(subject: Subject) -> Mapping[str, CheckKind]:
    """The checks that a stage's tables have, by name."""
    return {name: kind for name, kind in CHECKS.items() if subject in kind.subjects}


@dataclass(frozen=True)
class CheckOutcome:
    """One check's outcome.

    Attributes:
        failures: a table: column, check, failing rows, share of rows.
        example_rows: numbers of rows to look at, counted from 0 in the snapshot (raw) or the stage's table.
        failing_since: when a validation first found this problem, which every one since has found too (ISO 8601).
        what_to_do: advice for this outcome, where it depends on the cause; the check's own when empty.
        undecided: whether it could not tell: a warning that stops nothing, and neither a problem nor the end of one.
    """

    name: str
    status: Status
    message: str
    numbers: Mapping[str, float | int | str]
    failures: tuple[Mapping[str, str | int | float], ...] = ()
    example_rows: tuple[int, ...] = ()
    failing_since: str = ""
    what_to_do: str = ""
    undecided: bool = False

    @property
    def advice(self) -> str:
        """What to do when the check did not pass."""
        return self.what_to_do or CHECKS[self.name].advice

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON document."""
        return to_document(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any], where: str = "outcome of a data check") -> CheckOutcome:
        """The inverse of :meth:`to_json`.

        Raises:
            IntegrityError: it is no such document; the line starts with ``where``.
        """
        return from_document(cls, document, where)


def stops(name: str, subject: Subject, blocking: Collection[str]) -> bool:
    """Whether the check ``name`` of a table of ``subject`` stops families by the settings."""
    return name in blocking and subject in CHECKS[name].stops_at


def enforced(outcomes: Sequence[CheckOutcome], subject: Subject, blocking: Collection[str]) -> tuple[CheckOutcome, ...]:
    """The outcomes with every warning of a check that stops families as the failure it is then."""
    return tuple(
        replace(outcome, status="fail")
        if outcome.status == "warn" and not outcome.undecided and stops(outcome.name, subject, blocking)
        else outcome
        for outcome in outcomes
    )


def stopping(outcomes: Sequence[CheckOutcome], subject: Subject, blocking: Collection[str]) -> list[CheckOutcome]:
    """The outcomes that stop the families which read the table, warnings included."""
    return [
        outcome
        for outcome in outcomes
        if outcome.status != "pass" and not outcome.undecided and stops(outcome.name, subject, blocking)
    ]
