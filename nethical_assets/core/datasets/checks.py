"""The data checks: their names, what each one says, and the outcome a steward reads.

What belongs here: the one declaration of every check, free of pandas because the code location is defined from it. What
does not: evaluating a check (``quality``). An outcome never holds a value from the data: only columns, counts, shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class CheckKind:
    """A check as it is declared: what a pass means, and what to do otherwise."""

    description: str
    advice: str


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
}


@dataclass(frozen=True)
class CheckOutcome:
    """One check's outcome. ``failures`` is a table: column, check, failing rows, share of rows."""

    name: str
    status: Status
    message: str
    numbers: Mapping[str, float | int | str]
    failures: tuple[Mapping[str, str | int | float], ...] = ()

    @property
    def advice(self) -> str:
        """What to do when the check did not pass."""
        return CHECKS[self.name].advice

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON document."""
        return {**asdict(self), "failures": list(self.failures)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CheckOutcome:
        """The inverse of :meth:`to_json`."""
        return cls(**{**document, "failures": tuple(document["failures"])})
