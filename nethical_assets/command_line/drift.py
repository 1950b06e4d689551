"""``nethical drift``: one offline comparison of two tables.

What belongs here: arguments and printing. What does not: statistics (``core.drift``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nethical_assets.command_line.documents import print_document
from nethical_assets.command_line.opening import load_settings
from nethical_assets.command_line.output import JsonOption, print_json
from nethical_assets.command_line.status_line import working

app = typer.Typer(no_args_is_help=True, help="Drift: compare two tables offline.")


@app.command()
def check(
    reference: Annotated[Path, typer.Option(help="The earlier table: CSV, TSV, JSONL or Parquet.")],
    window: Annotated[Path, typer.Option(help="The later table, with the same columns.")],
    as_json: JsonOption = False,
) -> None:
    """Compare every column of two tables. Exits with 1 when they drifted apart; too few rows are no verdict."""
    from nethical_assets.core.drift.tables import compare_tables
    from nethical_assets.core.reading.tables import read_records
    from nethical_assets.core.rows.labels import FILE_COLUMN

    with working("comparing"):
        settings = load_settings().file
        report = compare_tables(
            read_records(reference).drop(columns=[FILE_COLUMN]),
            read_records(window).drop(columns=[FILE_COLUMN]),
            threshold=settings.performance_thresholds.drift_alert_threshold,
            alpha=settings.monitoring.drift_false_alarm_rate,
            minimum_rows=settings.monitoring.drift_minimum_rows,
        )
    if as_json:
        print_json(report.to_json())
    else:
        print_document(report.to_markdown())
    if report.verdict == "drift":
        raise typer.Exit(1)
