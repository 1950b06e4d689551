"""``nethical quarantine``: deciding about the rows that screening kept out.

What belongs here: arguments and printing. What does not: the store (``core.governance.quarantine``). Only ``show``
prints a row's content, and only to the person who asks for it.
"""

from __future__ import annotations

import getpass
from typing import Annotated, Literal

import typer

from nethical_assets.command_line.opening import load_home
from nethical_assets.command_line.output import JsonOption, first_digits, minute, print_json, print_table, tell
from nethical_assets.core.detectors.registry import check_family
from nethical_assets.core.ground.documents import to_document

app = typer.Typer(no_args_is_help=True, help="Rows that screening kept out: list, show, release, confirm.")
Family = Annotated[str, typer.Argument(help="The family.")]
Row = Annotated[str, typer.Argument(help="The row id, or a prefix that only one row has.")]
Reason = Annotated[str, typer.Option(help="Why; it goes to the audit log.")]
Actor = Annotated[str | None, typer.Option(help="Who decides; the user of this session by default.")]


@app.command("list")
def list_rows(
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    status: Annotated[Literal["held", "released", "confirmed"] | None, typer.Option(help="Only this status.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The rows, without their content."""
    from nethical_assets.operations.quarantine import quarantine_workspace

    workspace = quarantine_workspace(load_home())
    chosen = None if family is None else check_family(family)
    entries = [to_document(entry) for entry in workspace.quarantine.entries(chosen, status=status)]
    if as_json:
        print_json({"rows": entries})
        return
    rows = [{**entry, "reasons": ", ".join(entry["reasons"])} for entry in entries]
    print_table(
        "Quarantine",
        rows,
        ("family", "row_id", "reasons", "label", "status", "quarantined_at"),
        least=("quarantined_at", "label", "reasons"),
        prose=("reasons",),
        short={"row_id": first_digits, "quarantined_at": minute},
    )


@app.command()
def show(family: Family, row: Row, as_json: JsonOption = False) -> None:
    """The content of one row: personal text, for whoever decides about it."""
    from nethical_assets.operations.quarantine import quarantine_workspace

    content = quarantine_workspace(load_home()).quarantine.show(check_family(family), row)
    if as_json:
        print_json(content)
    else:
        for name, value in content.items():
            tell(f"{name}: {value}")


@app.command()
def release(family: Family, row: Row, reason: Reason, actor: Actor = None, as_json: JsonOption = False) -> None:
    """Let a row into the next cycle (still masked)."""
    _decide("release", family, row, reason, actor, as_json)


@app.command()
def confirm(family: Family, row: Row, reason: Reason, actor: Actor = None, as_json: JsonOption = False) -> None:
    """Keep a row out for good."""
    _decide("confirm", family, row, reason, actor, as_json)


def _decide(
    verdict: Literal["release", "confirm"], family: str, row: str, reason: str, actor: str | None, as_json: bool
) -> None:
    from nethical_assets.operations.quarantine import decide

    event = decide(load_home(), verdict, check_family(family), row, actor=actor or getpass.getuser(), reason=reason)
    if as_json:
        print_json(event)
    else:
        tell(f"{event['family']} {event['row_id'][:16]} is {event['status']}")
