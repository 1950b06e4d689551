"""``nethical drift``: one offline comparison of two tables.

What belongs here: arguments and printing. What does not: statistics (``core.drift``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nethical_assets.command_line.documents import print_document
from nethical_assets.command_line.opening import load_settings, open_workspace
from nethical_assets.command_line.output import JsonOption, print_json
from nethical_assets.command_line.status_line import working
from nethical_assets.core.ground.errors import DatasetError

if TYPE_CHECKING:
    from nethical_assets.core.drift.scored_tables import ScoredTablesReport
    from nethical_assets.core.drift.verdict import DriftReport

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
    score: Annotated[
        str | None,
        typer.Option(help="The column of predicted probabilities of both tables: positive rate and calibration too."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="With --score: the column of what was true, 0, 1 or empty: accuracy too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every column of two tables. Exits with 1 when they drifted apart; too few rows are no verdict."""
    if label is not None and score is None:
        raise DatasetError("--label: labels are compared with predictions; name their column with --score too")
    with working("comparing"):
        from nethical_assets.core.drift.scored_tables import compare_scored_tables
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
        plain = with_plain_columns(tables, open_workspace(settings, "drift").screener)
        thresholds, monitoring = limits.performance_thresholds, limits.monitoring
        notes = [f"{reading.shown}: {note}" for reading in readings for note in reading.tally.notes]
        report: DriftReport | ScoredTablesReport
        if score is None:
            compared = compare_tables(
                *plain,
                threshold=thresholds.drift_alert_threshold,
                alpha=monitoring.drift_false_alarm_rate,
                minimum_rows=monitoring.drift_minimum_rows,
            )
            report = replace(compared, notes=(*compared.notes, *notes))
        else:
            judged = compare_scored_tables(
                *plain,
                score=score,
                label=label,
                threshold=thresholds.drift_alert_threshold,
                accuracy_drop=thresholds.accuracy_drop_alert,
                alpha=monitoring.drift_false_alarm_rate,
                minimum_rows=monitoring.drift_minimum_rows,
                minimum_labelled_rows=monitoring.drift_minimum_labelled_rows,
            )
            report = replace(judged, notes=(*judged.notes, *notes))
    if as_json:
        print_json(report.to_json())
    else:
        print_document(report.to_markdown())
    if report.verdict == "drift":
        raise typer.Exit(1)
