"""``nethical alerts``: the issue tracker.

What belongs here: arguments and printing. What does not: the tracker (``core.alerts``).
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nethical_assets.command_line.documents import print_document
from nethical_assets.command_line.opening import load_home, open_workspace
from nethical_assets.command_line.output import JsonOption, minute, print_json, print_table, tell

if TYPE_CHECKING:
    from nethical_assets.core.alerts import IssueTracker

app = typer.Typer(no_args_is_help=True, help="The issue tracker: list, show, close.")
Number = Annotated[int, typer.Argument(min=1, help="The number of the issue.")]


@app.command("list")
def list_alerts(
    state: Annotated[Literal["open", "closed", "all"], typer.Option(help="Which issues.")] = "open",
    label: Annotated[str | None, typer.Option(help="Only issues with this label.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The issues, by number."""
    issues = [issue.to_json() for issue in _tracker().list(state=None if state == "all" else state, label=label)]
    if as_json:
        print_json({"issues": issues})
        return
    rows = [{**issue, "labels": ", ".join(issue["labels"])} for issue in issues]
    print_table(
        "Issues",
        rows,
        ("number", "title", "subject", "check", "severity", "state", "occurrences", "updated_at"),
        least=("occurrences", "updated_at", "check", "subject"),
        prose=("title",),
        short={"updated_at": minute},
    )


@app.command()
def show(number: Number, as_json: JsonOption = False) -> None:
    """One issue with its history."""
    issue = _tracker().show(number)
    if as_json:
        print_json(issue.to_json())
        return
    tell(f"#{issue.number} {issue.title} [{issue.state}]")
    tell(f"Labels: {', '.join(issue.labels)}\n")
    print_document(issue.body)
    for comment in issue.comments:
        tell(f"\n{comment.at} {comment.actor}:")
        print_document(comment.body)


@app.command()
def close(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why it is closed.")],
    actor: Annotated[str | None, typer.Option(help="Who closes it; the user of this session by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Close an issue; it is reopened when the problem occurs again."""
    issue = _tracker().close(number, reason, actor or getpass.getuser())
    if as_json:
        print_json(issue.to_json())
    else:
        tell(f"#{issue.number} is {issue.state}")


def _tracker() -> IssueTracker:
    return open_workspace(load_home(), "alerts").tracker
