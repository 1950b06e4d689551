"""``nethical label-queue`` and ``nethical feedback``: labels of logged requests.

What belongs here: arguments and printing. What does not: which rows, or what is a label (``operations.labelling``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nethical_assets.command_line.opening import load_home
from nethical_assets.command_line.output import (
    DelimiterOption,
    EncodingOption,
    JsonOption,
    minute,
    print_json,
    print_table,
    tell,
)
from nethical_assets.command_line.status_line import working
from nethical_assets.core.detectors.registry import check_family


def label_queue(
    family: Annotated[str, typer.Argument(help="Whose champion's requests are to be labelled.")],
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many requests.")] = 50,
    since: Annotated[
        str | None,
        typer.Option(help="From this time on (ISO 8601, UTC), or how long ago (36h, 7d); else the drift window."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write them here, with an empty column label: .csv, .jsonl or .parquet.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Which logged requests to label first: those that the model is least sure of or has never seen the like of."""
    with working("looking through the inference log"):
        from nethical_assets.operations.labelling import queue_labels

        check_family(family)
        document = queue_labels(load_home(), family, rows=rows, since=since, output=out)
    if as_json:
        print_json(document)
        return
    print_table(
        f"Label first: {family} {document['version']}",
        document["rows"],
        ("request_id", "at", "probability", "alike", "why"),
        least=("alike", "why", "at"),
        short={"at": minute},
    )
    tell(
        f"{document['window_rows']} requests since {minute(document['since'])}: {document['labelled']} have a label, "
        f"{document['conflicting']} were given different ones (the last counts)"
    )
    if document["unknown_labels"]:
        tell(f"{document['unknown_labels']} labels since then are of no request that is in the log (yet)")
    if document["rows"]:
        where = out or "FILE"
        tell(f"Next: fill the column label of {where} with 0 or 1, then: nethical feedback {where}")


def feedback(
    file: Annotated[
        Path, typer.Argument(help="A table with request_id and label (0 or 1): CSV, TSV, JSON, JSONL or Parquet.")
    ],
    label: Annotated[str, typer.Option(help="The column that says what was true.")] = "label",
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give the labels of logged requests: all of the file or nothing. The same file again changes nothing."""
    with working(f"reading {file.name}"):
        from nethical_assets.core.reading.tables import TextLayout
        from nethical_assets.operations.labelling import take_labels

        document = take_labels(load_home(), file, label_column=label, layout=TextLayout(delimiter, encoding))
    if as_json:
        print_json(document)
        return
    if document["taken_before"]:
        tell(f"Nothing to do: this file was taken at {minute(document['taken_before'])}, {document['labels']} labels")
    else:
        tell(f"{document['labels']} labels taken, {document['blank']} rows without one left out")
    if document["changed"]:
        tell(f"{document['changed']} requests had another label before; the new one counts")
    if document["unknown"]:
        tell(
            f"{document['unknown']} are of no request that is in the log: they are kept, and count when it is; "
            "look whether the ids are complete"
        )
    for note in document["notes"]:
        tell(f"Note: {note}")
