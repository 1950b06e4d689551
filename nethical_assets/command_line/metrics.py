"""``nethical metrics``: what is exported of a home to Prometheus.

What belongs here: arguments and printing. What does not: collecting (``operations.collecting``), or the gateway's own
metrics, which it answers itself (``serving.metrics``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nethical_assets.command_line.opening import load_home
from nethical_assets.command_line.output import JsonOption, errors, print_json, say


def metrics(
    textfile: Annotated[
        Path | None, typer.Option(help="Replace this file, which ends in .prom, for the node exporter.")
    ] = None,
    push: Annotated[str | None, typer.Option(help="Tell the Pushgateway at this address.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also recompute the audit log, and all that is kept: takes seconds.")
    ] = False,
    daemon: Annotated[
        bool, typer.Option("--daemon", help="Also when schedules and sensors looked last: takes a second.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Metrics of the pipeline for Prometheus. Exits with 1 when something could not be read or does not verify."""
    from nethical_assets.operations import exposition
    from nethical_assets.operations.collecting import collect

    if textfile is not None:
        exposition.check_textfile(textfile)
    if push is not None:
        exposition.check_address(push)
    settings = load_home()
    found = collect(settings, verify=verify)
    if daemon:
        from nethical_assets.orchestration.looks import collect_looks

        collect_looks(settings, found)
    for problem in found.problems:
        say(errors, f"nethical: {problem}")
    if textfile is not None:
        exposition.write_textfile(found, textfile)
    if push is not None:
        exposition.push(found, push)
    if as_json:
        print_json(exposition.to_json(found))
    elif textfile is None and push is None:
        sys.stdout.write(exposition.text(found).decode())
    if found.problems:
        raise typer.Exit(1)
