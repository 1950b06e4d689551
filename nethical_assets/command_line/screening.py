"""``nethical screen`` and ``nethical error-card``: screening a file, and measuring the rules.

What belongs here: arguments and printing. What does not: rules, screening or measuring (``core.governance``). Matched
text is never printed: findings say what, where and how severe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nethical_assets.command_line.documents import print_document
from nethical_assets.command_line.opening import load_settings, open_workspace
from nethical_assets.command_line.output import DelimiterOption, EncodingOption, JsonOption, print_json, tell
from nethical_assets.command_line.status_line import working
from nethical_assets.core.ground.errors import SettingsError

Format = Literal["csv", "tsv", "json", "jsonl", "lines", "parquet"]


def screen(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON, JSONL, Parquet, or lines of text.")],
    text_column: Annotated[str, typer.Option(help="The column that holds the text.")],
    output: Annotated[Path | None, typer.Option(help="Where the findings go: .csv, .jsonl or .parquet.")] = None,
    file_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="<format>",
            help="When the name does not say it: csv, tsv, json, jsonl, lines or parquet.",
        ),
    ] = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    names: Annotated[bool, typer.Option("--names", help="Also names and addresses, through presidio (slow).")] = False,
    language_model: Annotated[
        str | None, typer.Option(help="An installed spaCy model for --names; a blank one finds few names.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Screen one column of a file: row, kind, rule, offsets, severity and decision of every finding."""
    with working(f"screening {file.name}"):
        from nethical_assets.core.governance.files import screen_file, write_findings
        from nethical_assets.core.reading.tables import refuse_source

        if output is not None:
            refuse_source(output, file)
        workspace = open_workspace(load_settings(), "screen")
        recogniser = None
        if names:
            from nethical_assets.core.governance.recogniser import PresidioRecogniser

            recogniser = PresidioRecogniser(language_model)
        result = screen_file(
            file,
            text_column,
            workspace.screener,
            file_format=file_format,
            delimiter=delimiter,
            encoding=encoding,
            recogniser=recogniser,
        )
    summary = result.summary()
    if output is not None:
        write_findings(result, output)
        summary["output"] = str(output)
    if as_json:
        print_json(summary if output is not None else {**summary, "records": result.to_records()})
        return
    tell(f"{summary['rows']} rows, {summary['findings']} findings in {summary['rows_with_findings']} of them")
    for kind, count in summary["by_kind"].items():
        tell(f"  {kind}: {count}")
    for note in summary["notes"]:
        tell(f"Note: {note}")
    if output is not None:
        tell(f"Findings written to {output}")


def error_card(
    data_root: Annotated[
        Path | None,
        typer.Option(
            help="A folder with the files of each dataset in OWNER/NAME/files/; NETHICAL_DATA_MIRROR by default."
        ),
    ] = None,
    half: Annotated[
        Literal["held_out", "tuning"], typer.Option(help="Which half of the corpora; rules were tuned on the other.")
    ] = "held_out",
    as_json: JsonOption = False,
) -> None:
    """Measure the screening rules on labelled corpora: precision and recall with intervals.

    Exits with 1 when an aim is not met.
    """
    with working("measuring the screening rules"):
        from nethical_assets.core.evaluation.error_card import build_error_card, render_error_card

        settings = load_settings()
        root = data_root or settings.mirror
        if root is None:
            raise SettingsError("the error card needs the labelled corpora: name a folder with --data-root")
        card = build_error_card(root, open_workspace(settings, "error-card").screener, half=half)
    if as_json:
        print_json(card)
    else:
        print_document(render_error_card(card))
    if not all(aim["met"] for aim in card["aims"]):
        raise typer.Exit(1)
