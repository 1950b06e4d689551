"""``nethical audit``: verifying the log.

What belongs here: arguments and printing. What does not: the log (``core.audit``).
"""

from __future__ import annotations

import typer
from rich.console import Console

from nethical_assets.commands.output import JsonOption, print_json
from nethical_assets.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="The audit log: verify it.")


@app.command()
def verify(as_json: JsonOption = False) -> None:
    """Recompute everything from disk. Exits with 1 when anything was changed, and names it."""
    from nethical_assets.pipeline.audit import verify as verify_all

    report = verify_all(load_settings())
    if as_json:
        print_json(report)
    else:
        console = Console()
        for problem in report["problems"]:
            console.print(f"PROBLEM {problem}", style="red", highlight=False)
        if report["ok"]:
            console.print(f"The audit log verifies: {report['size']} leaves, root {report['root']}", highlight=False)
    if not report["ok"]:
        raise typer.Exit(1)
