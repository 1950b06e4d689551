"""``nethical drift``: one offline comparison of two tables.

What belongs here: arguments and printing. What does not: statistics (``core.drift``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nethical_assets.command_line.documents import print_document
from nethical_assets.command_line.opening import load_settings, open_workspace
from nethical_assets.command_line.output import JsonOption, print_json
from nethical_assets.command_line.status_line import working

app = typer.Typer(no_args_is_help=True, help="Drift: check.")


@app.command()
def check(
    reference: Annotated[Path, typer.Option(help="The earlier table: CSV, TSV, JSON, JSONL or Parquet.")],
    window: Annotated[Path, typer.Option(help="The later table, with the same columns.")],
    delimiter: Annotated[
        list[str] | None,
        typer.Option(help="What separates the columns of the csv and tsv files; twice: of reference, then window."),
    ] = None,
    encoding: Annotated[
        list[str] | None, typer.Option(help="The encoding of the files of text; twice: of reference, then window.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every column of two tables. Exits with 1 when they drifted apart; too few rows are no verdict."""
    with working("comparing"):
        from nethical_assets.core.drift.tables import compare_tables
        from nethical_assets.core.governance.names import with_plain_columns
        from nethical_assets.core.reading.tables import layouts_of_two, read_records, reading_of
        from nethical_assets.core.rows.labels import FILE_COLUMN

        settings = load_settings()
        limits = settings.file
        files = (reference, window)
        readings = [reading_of(file) for file in files]
        tables = [
            read_records(file, layout=layout, reading=reading).drop(columns=[FILE_COLUMN])
            for file, layout, reading in zip(
                files, layouts_of_two(files, delimiter or (), encoding or ()), readings, strict=True
            )
        ]
        report = compare_tables(
            *with_plain_columns(tables, open_workspace(settings, "drift").screener),
            threshold=limits.performance_thresholds.drift_alert_threshold,
            alpha=limits.monitoring.drift_false_alarm_rate,
            minimum_rows=limits.monitoring.drift_minimum_rows,
        )
    notes = [f"{reading.shown}: {note}" for reading in readings for note in reading.tally.notes]
    report = replace(report, notes=(*report.notes, *notes))
    if as_json:
        print_json(report.to_json())
    else:
        print_document(report.to_markdown())
    if report.verdict == "drift":
        raise typer.Exit(1)
