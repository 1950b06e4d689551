"""The validation report: every dataset with the outcome of each of its checks, for people.

What belongs here: layout. What does not: evaluating checks (``quality``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nethical_assets.core.quality.checks import CHECKS, CheckOutcome

_SIGNS = {"pass": "pass", "warn": "**warn**", "fail": "**FAIL**"}
_SHARES = {
    "minority class": ("class_balance", "minority_share"),
    "repeated rows": ("duplicates", "share"),
    "nearly repeated": ("near_duplicates", "share"),
    "worst gaps": ("missing_values", "worst_share"),
    "doubtful labels": ("label_errors", "share"),
}


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
    """One table over all datasets, which checks all of them passed, their shares as bars, then what to do about
    everything that did not pass."""
    header = ["Dataset", *(check.replace("_", " ") for check in CHECKS)]
    lines = ["# Dataset validation", "", f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    for report in reports:
        cells = [_SIGNS.get(report.status(check), "") for check in CHECKS]
        lines.append(f"| `{report.name}` | {' | '.join(cells)} |")
    lines += ["", *_all_passed(reports), "", *_bars(reports)]
    for report in reports:
        problems = [outcome for outcome in report.outcomes if outcome.status != "pass"]
        if problems:
            lines += ["", f"## {report.title} (`{report.name}`)", ""]
            for problem in problems:
                lines += _problem(problem)
    return "\n".join([*lines, ""])


def unremarkable(reports: Sequence[DatasetReport]) -> tuple[list[str], list[str]]:
    """The checks that had nothing to look at in any of the reports, and those that passed wherever they looked."""
    found = {check: {report.status(check) for report in reports} - {""} for check in CHECKS}
    return [check for check in CHECKS if not found[check]], [check for check in CHECKS if found[check] == {"pass"}]


def _all_passed(reports: Sequence[DatasetReport]) -> list[str]:
    """Said in words, because a narrow terminal has no room for their columns."""
    idle, passed = (", ".join(check.replace("_", " ") for check in checks) for checks in unremarkable(reports))
    parts = [f"Passed wherever they looked: {passed}."] if passed else []
    return [" ".join([*parts, f"Nothing to look at: {idle}."] if idle else parts)]


def bar(share: float, cells: int = 10) -> str:
    """A share in [0, 1] as a bar of text; what is not zero is never drawn as empty."""
    full = min(cells, max(round(share * cells), int(share > 0)))
    return "\u2588" * full + "\u2591" * (cells - full)


def _problem(problem: CheckOutcome) -> list[str]:
    since = f" Since {problem.failing_since[:16].replace('T', ' ')} UTC." if problem.failing_since else ""
    lines = [f"- {_SIGNS[problem.status]} {problem.name}: {problem.message}. What to do: {problem.advice}.{since}"]
    for row in problem.failures:
        share = float(row["share"])
        lines.append(f"  - column `{row['column']}`: {row['check']}, {row['rows']} rows `{bar(share)}` {share:.1%}")
    if problem.example_rows:
        lines.append(f"  - rows to look at, counted from 0: {', '.join(map(str, problem.example_rows))}")
    return lines


def _bars(reports: Sequence[DatasetReport]) -> list[str]:
    """The shares that say most about a dataset, one line a dataset, as fixed-width text."""
    measured = [(report.name, _shares(report)) for report in reports]
    shown = [(name, shares) for name, shares in measured if any(share is not None for share in shares)]
    if not shown:
        return []
    width = max(len(name) for name, _ in shown)
    titles = "  ".join(f"{title:<17}" for title in _SHARES)
    lines = ["```text", f"{'':<{width}}  {titles}".rstrip()]
    for name, shares in shown:
        drawn = ["" if share is None else f"{bar(share)} {share:6.1%}" for share in shares]
        lines.append(f"{name:<{width}}  {'  '.join(f'{text:<17}' for text in drawn)}".rstrip())
    return [*lines, "```"]


def _shares(report: DatasetReport) -> list[float | None]:
    numbers = {outcome.name: outcome.numbers for outcome in report.outcomes}
    found = []
    for check, key in _SHARES.values():
        value = numbers.get(check, {}).get(key)
        found.append(float(value) if value is not None else None)
    return found
