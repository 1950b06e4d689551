"""The data checks: their names, what each one says, and the outcome a steward reads.

What belongs here: the one declaration of every check, free of pandas because the code location is defined from it. What
does not: evaluating a check (``quality``). An outcome never holds a value from the data: only columns, counts, shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nethical_assets.core.ground.documents import from_document, to_document

Status = Literal["pass", "warn", "fail"]
Subject = Literal["raw", "datasets", "splits"]

EXAMPLES = 10
"""At most this many row numbers are given as examples."""


@dataclass(frozen=True)
class CheckKind:
    """A check as it is declared: what a pass means, what to do otherwise, and which stages' tables have it."""

    description: str
    advice: str
    subjects: tuple[Subject, ...] = ("raw", "datasets")


CHECKS: Mapping[str, CheckKind] = {
    "available": CheckKind(
        "A source could serve the dataset.",
        "set Kaggle credentials, or name a mirror folder with NETHICAL_DATA_MIRROR; then: nethical data fetch",
    ),
    "schema": CheckKind(
        "The columns the catalog promises are there and have their types.",
        "compare the file with its catalog entry: a column was renamed, removed or changed its type",
    ),
    "minimum_samples": CheckKind(
        "There are enough rows for verdicts to mean something.",
        "add rows, or accept wider intervals: small samples make verdicts uncertain",
    ),
    "missing_values": CheckKind(
        "No column misses too many of its values.",
        "ask the owner of the data, or take the column out of the catalog entry",
    ),
    "class_balance": CheckKind(
        "The minority class is not too small.",
        "add rows of the minority class, or judge the model by precision and recall instead of accuracy",
    ),
    "duplicates": CheckKind(
        "Not too many rows repeat another row.",
        "duplicates are removed before splitting; many of them mean less information than the row count says",
    ),
    "freshness": CheckKind("The last successful refresh is recent enough.", "run: nethical data fetch"),
    "personal_data": CheckKind(
        "No personal data or secrets were found.",
        "nothing has to be done for training: findings are masked there; consider a source without personal data",
    ),
    "newest_record": CheckKind(
        "The newest record is recent enough, and none lies in the future.",
        "look for a newer edition of the dataset; what a model learns from old records may no longer happen",
        ("raw",),
    ),
    "licence": CheckKind(
        "The licence of the data is known.",
        "read the licence on the dataset's page and write it into the catalog entry",
        ("raw",),
    ),
    "near_duplicates": CheckKind(
        "Not too many texts are nearly the same as another one (MinHash over runs of three words).",
        "compare the example rows; templates that repeat teach less than their number says and flatter test results",
    ),
    "distribution": CheckKind(
        "Columns and labels are distributed as in the previous snapshot.",
        "ask the owner of the data what changed; if it is a mistake, go back: nethical data restore NAME",
        ("raw",),
    ),
    "label_errors": CheckKind(
        "Few labels look wrong to a model that never saw them (confident learning, out of fold).",
        "read the example rows and correct their labels at the source; the most doubtful come first",
        ("datasets",),
    ),
    "leakage": CheckKind(
        "No input column alone predicts the label.",
        "find out how the column comes about: if it is known only after the label is, take it out of the inputs",
        ("datasets",),
    ),
    "source_overlap": CheckKind(
        "The sources of the family share few rows after normalisation.",
        "drop one of two sources that copy each other: results across sources then mean less than they seem to",
        ("datasets",),
    ),
    "split_overlap": CheckKind(
        "No row and no group is in two splits, and few test texts nearly repeat a training text.",
        "declare the column that the rows have in common as the group_column of the catalog entry",
        ("splits",),
    ),
}


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
    """

    name: str
    status: Status
    message: str
    numbers: Mapping[str, float | int | str]
    failures: tuple[Mapping[str, str | int | float], ...] = ()
    example_rows: tuple[int, ...] = ()
    failing_since: str = ""

    @property
    def advice(self) -> str:
        """What to do when the check did not pass."""
        return CHECKS[self.name].advice

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
