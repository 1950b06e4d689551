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
    from nethical_assets.core.alerts.delivery import Target

app = typer.Typer(no_args_is_help=True, help="The issue tracker: list, show, ack, close, deliver, test.")
Actor = Annotated[str | None, typer.Option(help="Who does it; the user of this session by default.")]
Number = Annotated[int, typer.Argument(min=1, help="The number of the issue.")]


@app.command("list")
def list_alerts(
    state: Annotated[Literal["open", "closed", "all"], typer.Option(help="Which issues.")] = "open",
    label: Annotated[str | None, typer.Option(help="Only issues with this label.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The issues, by number."""
    from nethical_assets.core.alerts.local_issues import as_text
    from nethical_assets.core.alerts.silence import LOOKED
    from nethical_assets.home.workspace import utc_now
    from nethical_assets.operations.status import told_of_looks

    tracker = _tracker()
    issues = [issue.to_json() for issue in tracker.list(state=None if state == "all" else state, label=label)]
    looked_at = tracker.position(LOOKED)
    held = [
        {"kind": alert.kind, "subject": alert.subject, "check": alert.check, "since": as_text(alert.when)}
        for alert in tracker.held()
    ]
    if as_json:
        print_json({"issues": issues, "held_back": held, "looked_at": looked_at})
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
    for one in held:
        tell(f"Held back by an open issue about stale data: {one['check']} of {one['subject']}")
    tell(told_of_looks(looked_at, utc_now()))


@app.command()
def show(number: Number, as_json: JsonOption = False) -> None:
    """One issue with its history."""
    issue = _tracker().show(number)
    if as_json:
        print_json(issue.to_json())
        return
    tell(f"#{issue.number} {issue.title} [{issue.state}]")
    tell(f"Labels: {', '.join(issue.labels)}\n")
    if issue.acknowledged_by:
        tell(f"Acknowledged by {issue.acknowledged_by} at {minute(issue.acknowledged_at)}\n")
    print_document(issue.body)
    for comment in issue.comments:
        tell(f"\n{comment.at} {comment.actor}:")
        print_document(comment.body)


@app.command()
def ack(
    number: Number,
    reason: Annotated[str, typer.Option(help="What is being done about it.")],
    actor: Actor = None,
    as_json: JsonOption = False,
) -> None:
    """Note who works on an open issue: it pages nobody again until it gets graver or occurs after it was closed."""
    issue = _tracker().acknowledge(number, reason, actor or getpass.getuser())
    if as_json:
        print_json(issue.to_json())
    else:
        tell(f"#{issue.number} is acknowledged by {issue.acknowledged_by}")


@app.command()
def deliver(as_json: JsonOption = False) -> None:
    """Tell the targets in the environment (GitHub, webhook) what waits for them, now."""
    from nethical_assets.home.deliveries import deliver_all

    workspace = open_workspace(load_home(), "alerts")
    told = deliver_all(workspace.home, workspace.tracker, _targets(), patient=False)
    if as_json:
        print_json({"targets": [one.to_json() for one in told]})
    for one in told if not as_json else ():
        tell(str(one))
    if any(one.problem for one in told):
        raise typer.Exit(1)


@app.command()
def test(as_json: JsonOption = False) -> None:
    """Send a test to every target in the environment."""
    from nethical_assets.core.ground.errors import NethicalError

    results = []
    for target in _targets():
        try:
            results.append({"target": target.name, "works": True, "said": target.test()})
        except NethicalError as error:
            results.append({"target": target.name, "works": False, "said": str(error)})
    if as_json:
        print_json({"targets": results})
    for result in results if not as_json else ():
        tell(f"{result['target']}: {result['said']}")
    if not all(result["works"] for result in results):
        raise typer.Exit(1)


@app.command()
def close(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why it is closed.")],
    actor: Actor = None,
    as_json: JsonOption = False,
) -> None:
    """Close an issue; it is reopened when the problem occurs again."""
    issue = _tracker().close(number, reason, actor or getpass.getuser())
    if as_json:
        print_json(issue.to_json())
    else:
        tell(f"#{issue.number} is {issue.state}")


def _targets() -> tuple[Target, ...]:
    """The targets in the environment.

    Raises:
        SettingsError: there is none, or a variable is wrong.
    """
    from nethical_assets.core.alerts.github import REPOSITORY_VARIABLE
    from nethical_assets.core.alerts.webhook import URL_VARIABLE
    from nethical_assets.core.ground.errors import SettingsError
    from nethical_assets.home.deliveries import targets

    found = targets()
    if not found:
        raise SettingsError(f"no target is named: set {REPOSITORY_VARIABLE} or {URL_VARIABLE} (docs/alerts.md)")
    return found


def _tracker() -> IssueTracker:
    return open_workspace(load_home(), "alerts").tracker
