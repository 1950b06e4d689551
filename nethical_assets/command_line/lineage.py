"""``nethical lineage`` and ``nethical reproduce``: where a model comes from, and whether it can be made again.

What belongs here: arguments and printing. What does not: verification (``core.lineage``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from nethical_assets.command_line.opening import load_home
from nethical_assets.command_line.output import (
    JsonOption,
    first_digits,
    print_json,
    say,
    show_table,
    stdout_console,
    tell,
)
from nethical_assets.command_line.status_line import working
from nethical_assets.core.ground.documents import to_document

if TYPE_CHECKING:
    from nethical_assets.core.lineage.chain import Link

Model = Annotated[str, typer.Argument(help="A family (its champion), a model digest, or the beginning of one.")]


def lineage(
    model: Model,
    key: Annotated[
        Path | None, typer.Option(help="Trust this public key (PEM) only, not the ones that the audit log pins.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The chain from raw data to the model's pointer, every link verified. Exits with 1 at a broken one."""
    with working(f"verifying {model}"):
        from nethical_assets.operations.lineage import trace_model

        found = trace_model(load_home(), model, key)
    broken = found.broken
    if as_json:
        print_json({"ok": broken is None, "broken": None if broken is None else _name(broken), **to_document(found)})
    else:
        console = stdout_console()
        say(console, f"{found.family} {found.version} ({found.stage}), model {found.model}")
        if found.synthetic:
            say(console, "raw data: none, the canonical dataset is synthetic")
        rows = [
            {
                "status": Text(link.status, "red" if link.status == "broken" else ""),
                "link": _name(link),
                "digest": link.digest,
                "leaf": link.leaf,
                "signed_by": link.signer,
            }
            for link in found.links
        ]
        short = {"digest": first_digits, "signed_by": first_digits}
        show_table(console, "", rows, list(rows[0]) if rows else (), least=("signed_by", "leaf"), short=short)
        for link in found.links:
            for problem in link.problems:
                say(console, f"{_name(link)}: {problem}", indent="    ", style="red")
        if broken is None:
            say(console, f"All {len(found.links)} links verify.")
        else:
            say(console, f"The first broken link is {_name(broken)}: {broken.problems[0]}", style="red")
    if broken is not None:
        raise typer.Exit(1)


def reproduce(model: Model, as_json: JsonOption = False) -> None:
    """Train a model again from its stored splits. Exits with 1 when the result is not the same, byte by byte."""
    with working(f"training {model} again"):
        from nethical_assets.operations.lineage import reproduce_model

        pointer, outcome = reproduce_model(load_home(), model)
    if as_json:
        print_json({"family": pointer.family, "version": pointer.version, **outcome.to_json()})
    elif outcome.same:
        tell(f"{pointer.family} {pointer.version} was reproduced: {outcome.retrained}")
    else:
        tell(f"{pointer.family} {pointer.version} was not reproduced: {outcome.stored} -> {outcome.retrained}")
        for difference in outcome.differences:
            tell(f"    {difference}")
    if not outcome.same:
        raise typer.Exit(1)


def _name(link: Link) -> str:
    return f"{link.stage}/{link.name}"
