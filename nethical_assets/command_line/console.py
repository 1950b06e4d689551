"""What the command line shows: progress on stderr, the result table.

What belongs here: rendering with rich. What does not: doing anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nethical_assets.home.progress import Event, observed_by

_SIGNS = {"promoted": "green", "candidate": "yellow", "unchanged": "cyan", "error": "red"}


class CycleDisplay:
    """Stage, family and elapsed seconds while a cycle runs: live on a terminal, one line a stage elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = time.monotonic()
        self.finished = 0
        self.at_work: dict[tuple[str, str], float] = {}
        self.live: Live | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show progress while the context is open."""
        with observed_by(self.observe):
            if not self.console.is_terminal:
                yield
                return
            with Live(get_renderable=self._line, console=self.console, refresh_per_second=5, transient=True):
                yield

    def say(self, line: str) -> None:
        """Say what the cycle waits for."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def observe(self, event: Event, stage: str, subject: str) -> None:
        """Take note of a stage that started or ended."""
        now = time.monotonic()
        if event == "started":
            self.at_work[stage, subject] = now
            return
        began = self.at_work.pop((stage, subject), now)
        self.finished += event == "finished"
        if not self.console.is_terminal or event == "failed":
            self.console.print(
                f"{now - self.started:7.1f}s  {stage:<12} {subject:<28} {event} in {now - began:.1f}s",
                highlight=False,
            )

    def _line(self) -> Text:
        elapsed = time.monotonic() - self.started
        at_work = list(self.at_work)
        stages = list(dict.fromkeys(stage for stage, _ in at_work)) or ["waiting"]
        subjects = list(dict.fromkeys(subject for _, subject in at_work))
        return Text.assemble(
            (f"{elapsed:6.1f}s ", "dim"),
            (f"{', '.join(stages):<12} ", "bold"),
            ", ".join(subjects),
            (f"   {self.finished} stages done", "dim"),
        )


def print_cycle(console: Console, summary: Mapping[str, Any]) -> None:
    """The table of a finished cycle, what was skipped, and where to look next."""
    table = Table(title="Training cycle", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("Family", "Data", "Rows", "Accuracy (95 %)", "ECE", "F1", "Verdict"):
        table.add_column(name, no_wrap=True)
    for family, result in summary["families"].items():
        metrics = result["metrics"]
        table.add_row(
            family,
            result["source"] or "-",
            "-" if result["rows"] is None else str(result["rows"]),
            _interval(metrics.get("accuracy")),
            _value(metrics.get("ece")),
            _value(metrics.get("f1")),
            Text(result["verdict"], _SIGNS[result["verdict"]]),
        )
    console.print(table)
    for family, result in summary["families"].items():
        console.print(Text.assemble((family, "bold"), ": ", (result["verdict"], _SIGNS[result["verdict"]])))
        for reason in result["reasons"]:
            console.print(f"  {reason}", highlight=False, markup=False, soft_wrap=True)
        if result["card"]:
            console.print(f"  Card: {result['card']}", highlight=False, markup=False, soft_wrap=True)
    for name, dataset in summary["datasets"].items():
        if dataset["status"] in ("skipped", "damaged"):
            line = f"{dataset['status'].capitalize()} {name}: {dataset['reason']}"
            console.print(line, highlight=False, markup=False, soft_wrap=True, style="yellow")
    checks, audit = summary["checks"], summary["audit"]
    for line in (
        f"Data came from: {summary['sources']}",
        f"Checks: {checks['passed']} passed, {checks['failed']} did not; {checks['issues']} of these became issues "
        "(see: nethical alerts list)",
        f"Audit: {audit['size']} leaves, root {audit['root']}",
        f"Took {summary['wall_seconds']:.1f} s. Run {summary['run_id']}.",
        "Open the UI with: make ui    Verify the audit log with: nethical audit verify",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for what, path in (("the audit log", audit["key_created"]), ("models", audit["model_key_created"])):
        if path:
            console.print(
                f"A signing key for {what} was created: {path}. Back it up, and keep it secret.",
                style="bold yellow",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    if summary["unfiled"]:
        console.print(
            f"Issues are not filed yet: {summary['unfiled']}. The next run, or the daemon of the UI, files them.",
            style="yellow",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if summary["status"] == "failed":
        console.print(_failure(summary["failures"]), style="bold red", highlight=False, markup=False, soft_wrap=True)


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
