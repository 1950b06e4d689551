"""The validation report: every dataset with the outcome of each of its checks, for people.

What belongs here: layout. What does not: evaluating checks (``quality``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nethical_assets.core.datasets.checks import CHECKS, CheckOutcome

_SIGNS = {"pass": "pass", "warn": "**warn**", "fail": "**FAIL**"}


@dataclass(frozen=True)
class DatasetReport:
    """One dataset with its outcomes."""

    name: str
    title: str
    outcomes: tuple[CheckOutcome, ...]

    def status(self, check: str) -> str:
        """The status of one check; empty where it had nothing to look at."""
        return next((outcome.status for outcome in self.outcomes if outcome.name == check), "")

    def to_row(self) -> dict[str, str]:
        """Dataset and status of every check, as one table row."""
        return {"dataset": self.name, **{check: self.status(check) for check in CHECKS}}


def render_validation_report(reports: Sequence[DatasetReport]) -> str:
    """One table over all datasets, then what to do about everything that did not pass."""
    header = ["Dataset", *(check.replace("_", " ") for check in CHECKS)]
    lines = ["# Dataset validation", "", f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    for report in reports:
        cells = [_SIGNS.get(report.status(check), "") for check in CHECKS]
        lines.append(f"| `{report.name}` | {' | '.join(cells)} |")
    for report in reports:
        problems = [outcome for outcome in report.outcomes if outcome.status != "pass"]
        if problems:
            lines += ["", f"## {report.title} (`{report.name}`)", ""]
            lines += [f"- {_SIGNS[p.status]} {p.name}: {p.message}. What to do: {p.advice}." for p in problems]
            for problem in problems:
                lines += [
                    f"  - column `{row['column']}`: {row['check']}, {row['rows']} rows" for row in problem.failures
                ]
    return "\n".join([*lines, ""])
