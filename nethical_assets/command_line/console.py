"""What ``nethical run`` shows: progress on stderr, the result table.

What belongs here: what is said of a cycle. What does not: doing anything, drawing a line that moves (``status_line``),
or laying out tables and paragraphs (``output``).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from nethical_assets.command_line.output import say, show_table
from nethical_assets.command_line.status_line import Said, StatusLine
from nethical_assets.home.progress import Event, observed_by

_SIGNS = {"promoted": "green", "candidate": "yellow", "unchanged": "cyan", "error": "red"}
_SECONDS_BETWEEN_LINES = 30.0


class CycleDisplay:
    """What a cycle is at, how many of its stages are done, and for how long: in a line that moves on a terminal, in one
    line a stage elsewhere."""

    def __init__(self) -> None:
        self.planned: Collection[tuple[str, str]] = ()
        self.done: set[tuple[str, str]] = set()
        self.at_work: dict[tuple[str, str], float] = {}
        self.status = StatusLine(self._said, _SECONDS_BETWEEN_LINES)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show progress while the context is open."""
        with observed_by(self.observe), self.status.shown():
            yield

    def plan(self, stages: Collection[tuple[str, str]]) -> None:
        """Take note of the stages, each with its subject, that the cycle will go through."""
        self.planned = stages

    def say(self, line: str) -> None:
        """Say what the cycle waits for."""
        self.status.print(line)

    def observe(self, event: Event, stage: str, subject: str) -> None:
        """Take note of a stage that started or ended."""
        now = time.monotonic()
        if event == "started":
            self.at_work[stage, subject] = now
            return
        began = self.at_work.pop((stage, subject), now)
        if event == "interrupted":  # that is said once, and not of each stage
            return
        if (stage, subject) in self.planned:
            self.done.add((stage, subject))
        if not self.status.on_terminal or event == "failed":
            heading = self.status.heading()
            self.status.print(f"{heading:<14} {stage:<12} {subject:<28} {event} in {now - began:.1f}s")

    def _said(self) -> Said:
        head = f"{len(self.done)}/{len(self.planned)}" if self.planned else "preparing"
        return head, [" ".join(one) for one in list(self.at_work)]


def print_cycle(console: Console, summary: Mapping[str, Any]) -> None:
    """The table of a finished cycle, what was skipped, and where to look next."""
    families = summary["families"]
    rows = [
        {
            "Family": family,
            "Data": result["source"],
            "Rows": result["rows"],
            "Accuracy (95 %)": _interval(result["metrics"].get("accuracy")),
            "ECE": _value(result["metrics"].get("ece")),
            "F1": _value(result["metrics"].get("f1")),
            "Verdict": Text(result["verdict"], _SIGNS[result["verdict"]]),
        }
        for family, result in families.items()
    ]
    show_table(console, "Training cycle", rows, list(rows[0]), least=("Data", "Rows", "F1", "ECE"))
    for family, result in families.items():
        console.print(Text.assemble((family, "bold"), ": ", (result["verdict"], _SIGNS[result["verdict"]])))
        for reason in result["reasons"]:
            say(console, reason, indent="  ")
        if result["card"]:
            say(console, f"Card: {result['card']}", indent="  ")
    for name, dataset in summary["datasets"].items():
        if dataset["status"] in ("skipped", "damaged"):
            say(console, f"{dataset['status'].capitalize()} {name}: {dataset['reason']}", style="yellow")
    checks, audit = summary["checks"], summary["audit"]
    for line in (
        f"Data came from: {summary['sources']}",
        f"Checks: {checks['passed']} passed, {checks['failed']} did not; {checks['issues']} of these became issues "
        "(see: nethical alerts list)",
        f"Audit: {audit['size']} leaves, root {audit['root']}",
        f"Took {summary['wall_seconds']:.1f} s. Run {summary['run_id']}.",
        "Open the UI with: make ui    Verify the audit log with: nethical audit verify",
    ):
        say(console, line)
    for what, path in (("the audit log", audit["key_created"]), ("models", audit["model_key_created"])):
        if path:
            say(
                console,
                f"A signing key for {what} was created: {path}. Back it up, and keep it secret.",
                style="bold yellow",
            )
    if summary["unfiled"]:
        say(
            console,
            f"Issues are not filed yet: {summary['unfiled']}. The next run, or the daemon of the UI, files them.",
            style="yellow",
        )
    for line in summary["told_elsewhere"]:
        say(console, f"Alerts to {line}")
    if summary["status"] == "failed":
        say(console, _failure(summary["failures"]), style="bold red")


def _failure(failures: Sequence[Mapping[str, str]]) -> str:
    """The last line of a failed cycle: what failed first, and why."""
    if not failures:
        return "Failed: the run's log in the UI says why"
    more = f" ({len(failures) - 1} more steps failed)" if len(failures) > 1 else ""
    return f"Failed at {failures[0]['step']}: {failures[0]['error']}{more}"


def _value(metric: Mapping[str, Any] | None) -> str:
    return "-" if metric is None or metric["value"] is None else f"{metric['value']:.3f}"


def _interval(metric: Mapping[str, Any] | None) -> str:
    if metric is None or metric["value"] is None:
        return "-"
    return f"{metric['value']:.3f} ({metric['low']:.3f}-{metric['high']:.3f})"
