"""``nethical models``: the models that are kept.

What belongs here: arguments and printing. What does not: the registry (``core.delivery``).
"""

from __future__ import annotations

import getpass
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from nethical_assets.command_line.opening import load_home, open_workspace
from nethical_assets.command_line.output import JsonOption, first_digits, minute, print_json, print_table, tell
from nethical_assets.command_line.status_line import working
from nethical_assets.core.detectors.registry import family_names

app = typer.Typer(no_args_is_help=True, help="Models: list, prune, rotate-key.")
_COLUMNS = ("family", "stage", "version", "model", "verdict", "decided_at")
_LEAST = ("decided_at", "version")
_SHORT = {"model": first_digits, "decided_at": minute}


@app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """Champions, candidates and replaced champions."""
    registry = open_workspace(load_home(), "models").registry
    rows: list[dict[str, Any]] = []
    for family in family_names():
        champion = registry.champion(family)
        stages = {
            "current": [champion] if champion else [],
            "candidates": registry.candidates(family),
            "archived": registry.archived(family),
        }
        rows += [{"stage": stage, **pointer.to_json()} for stage, pointers in stages.items() for pointer in pointers]
    if as_json:
        print_json({"models": rows})
    else:
        print_table("Models", rows, _COLUMNS, least=_LEAST, short=_SHORT)


@app.command("rotate-key")
def rotate_key(
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log.")],
    new_key_file: Annotated[
        Path | None,
        typer.Option(
            help="The new key; created when it is missing. Needed where NETHICAL_MODEL_KEY_FILE names the present one."
        ),
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Who rotates; the user of this session by default.")] = None,
) -> None:
    """Replace the key that signs models; what earlier keys signed goes on to verify."""
    from nethical_assets.core.lineage.pins import LogPins, rotate_model_key
    from nethical_assets.home.stores import open_audit_log, open_model_keys

    home = load_home().home
    digest = rotate_model_key(
        open_audit_log(home),
        open_model_keys(home),
        LogPins(home / "audit"),
        actor=actor or getpass.getuser(),
        reason=reason,
        new_key_file=new_key_file,
    )
    tell(f"Rotated. The audit log pins the new model signing key {digest}")


@app.command()
def prune(
    archived: Annotated[
        bool, typer.Option("--archived", help="Also champions that were replaced longer ago than settings keep them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove candidates older than the settings keep them; every removal is an audit event."""
    with working("removing what expired"):
        from nethical_assets.operations.retention import remove_expired

        workspace = open_workspace(load_home(), f"retention-{uuid.uuid4()}")
        rows = remove_expired(workspace, archived_too=archived)
    if as_json:
        print_json({"removed": rows})
    else:
        print_table("Removed", rows, _COLUMNS, least=_LEAST, short=_SHORT)
