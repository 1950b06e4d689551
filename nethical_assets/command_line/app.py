"""``nethical``: the command line.

What belongs here: the commands about whole cycles, models and state, and how every command ends. What does not: the
subjects with commands of their own (a module each). Exit codes: 0 done; 1 a step failed or a verification is
negative; 2 bad usage, input or configuration, with one clear line; 128 and the number of the signal when interrupted.
"""

from __future__ import annotations

import gc
import re
import sys
import uuid
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from nethical_assets.command_line import (
    alerts,
    audit,
    data,
    drift,
    labels,
    lineage,
    metrics,
    models,
    quarantine,
    screening,
    serving,
    traffic,
)
from nethical_assets.command_line.interrupts import ending, exit_code, first_signal, interruptible
from nethical_assets.command_line.opening import load_home, load_home_to_show, load_settings, open_workspace
from nethical_assets.command_line.output import (
    DelimiterOption,
    EncodingOption,
    JsonOption,
    SourceOption,
    errors,
    first_digits,
    minute,
    parse_families,
    print_json,
    print_table,
    say,
    stdout_console,
    tell,
)
from nethical_assets.command_line.status_line import working
from nethical_assets.core.detectors.registry import check_family
from nethical_assets.core.ground.disk import advice
from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.core.ground.unexpected import describe_unexpected, may_quote_data
from nethical_assets.home.options import CycleOptions

# typer carries a click of its own, whose general usage error it does not export.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]

_OBJECTS_A_COLLECTION = 50_000
_WORDS = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "expected a whole number",
    "Input should be a valid number, unable to parse string as a number": "expected a number",
    "Input should be a valid ": "expected a ",
    "Input should be ": "expected a value ",
}
_INTERRUPTED = 130
"""What typer answers after Ctrl-C."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(audit.app, name="audit")
app.add_typer(drift.app, name="drift")
app.add_typer(alerts.app, name="alerts")
app.add_typer(serving.app, name="serve")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        tell(f"nethical {version('nethical-assets')}")
        raise typer.Exit


@app.callback()
def nethical(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Trains, checks, documents, releases and watches AI-safety detectors, and can prove it."""


@app.command()
def run(
    families: Annotated[str | None, typer.Option(help="Comma-separated; all when not given.")] = None,
    source: SourceOption = "auto",
    force: Annotated[bool, typer.Option("--force", help="Train again although nothing changed.")] = False,
    no_download: Annotated[bool, typer.Option("--no-download", help="Use the snapshots that are there.")] = False,
    samples: Annotated[int, typer.Option(min=0, help="At most this many rows a family; 0: as in the settings.")] = 0,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Overrides the seed of the settings.")] = None,
    as_json: JsonOption = False,
) -> None:
    """One full training cycle. Exits with 1 when its run failed, as the run is shown in the UI."""
    chosen = parse_families(families)
    settings = load_settings()
    options = CycleOptions(source=source, force=force, download=not no_download, samples=samples, seed=seed)
    from nethical_assets.command_line.console import CycleDisplay, print_cycle

    display = CycleDisplay()
    with display.running():
        # Importing the orchestrator takes a second or more: the clock moves meanwhile.
        from nethical_assets.orchestration.cycle import run_cycle
        from nethical_assets.orchestration.executor import default_workers

        workers = default_workers()
        summary = run_cycle(settings, chosen, options, said=display.say, planned=display.plan, workers=workers)
    if as_json:
        print_json(summary)
        if summary["unfiled"]:
            say(errors, f"Issues were not filed: {summary['unfiled']}")
    else:
        print_cycle(stdout_console(), summary)
    if summary["status"] == "failed":
        raise typer.Exit(1)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Champions, stages, last drift verdict, open alerts and the head of the audit log."""
    from nethical_assets.home.workspace import utc_now
    from nethical_assets.operations.status import read_status, told_of_looks

    document = read_status(load_home_to_show())
    if as_json:
        print_json(document)
        return
    rows = [{"family": family, **facts} for family, facts in document["families"].items()]
    print_table(
        "Families",
        rows,
        ("family", "version", "champion", "promoted_at", "candidates", "archived", "drift"),
        least=("archived", "candidates", "promoted_at", "champion"),
        short={"champion": first_digits, "promoted_at": minute},
    )
    audit_head = document["audit"]
    tell(f"Audit: {audit_head['size']} leaves, root {audit_head['root'] or 'none yet'}")
    held = document["alerts"]["held_back"]
    tell(f"Open alerts: {document['alerts']['open']}" + (f", {held} held back by stale data" if held else ""))
    tell(told_of_looks(document["alerts"]["looked_at"], utc_now()))
    segments = {name: number for name, number in document["inference_log"].items() if number}
    if segments:
        tell("Inference log, segments: " + ", ".join(f"{number} {name}" for name, number in segments.items()))


@app.command()
def score(
    family: Annotated[str, typer.Argument(help="Whose current model scores.")],
    file: Annotated[Path, typer.Argument(help="Raw records: CSV, TSV, JSON, JSONL, Parquet, or lines of text.")],
    output: Annotated[Path, typer.Option(help="Where the scores go: .csv, .jsonl or .parquet.")],
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score raw records with the current model: label, probability and score for each."""
    with working(f"scoring {file.name}"):
        from nethical_assets.core.reading.tables import TextLayout
        from nethical_assets.operations.scoring import score_file

        check_family(family)
        layout = TextLayout(delimiter, encoding)
        document = score_file(load_home(), family, file, output, layout)
    if as_json:
        print_json(document)
    else:
        tell(
            f"{document['rows']} records scored with {family} {document['version']}: "
            f"{document['positives']} positive; written to {output}"
        )
        for column in document["wrong_cells"]:
            tell(
                f"Counted as missing: column {column['column']}: {column['count']} of {column['records']} values, "
                f"{column['reason']} (first: record {column['first']})"
            )
        for kind, count in document["input_findings"].items():
            tell(f"Masked before they were scored, as in training: {kind} {count}")
        for note in document["notes"]:
            tell(f"Note: {note}")
        for kind, count in document["prediction_findings"].items():
            tell(f"Found in the predictions: {kind} {count}")


@app.command()
def retention(as_json: JsonOption = False) -> None:
    """Remove records of old runs, old batches of the inference log, and what killed processes left."""
    with working("removing what is kept no longer"):
        from nethical_assets.home.workspace import utc_now
        from nethical_assets.operations.retention import remove_expired_batches
        from nethical_assets.orchestration.instance import open_instance, storage_failures
        from nethical_assets.orchestration.run_history import apply_retention

        settings = load_home()
        with storage_failures(settings), open_instance(settings) as instance:
            removed = apply_retention(settings, instance, now=utc_now())
        workspace = open_workspace(settings, f"retention-{uuid.uuid4()}")
        batches = remove_expired_batches(workspace)
        workspace.finish_errand()
    if as_json:
        print_json({"runs": removed.runs, "files": removed.files, **asdict(batches)})
    else:
        tell(f"Removed the records of {removed.runs} runs, and {removed.files} files of processes that ended")
        tell(f"Removed {batches.predictions} batches of predictions and {batches.labels} of labels")


app.command("lineage")(lineage.lineage)
app.command("reproduce")(lineage.reproduce)
app.command("screen")(screening.screen)
app.command("traffic")(traffic.traffic)
app.command("label-queue")(labels.label_queue)
app.command("feedback")(labels.feedback)
app.command("metrics")(metrics.metrics)
app.command("error-card")(screening.error_card)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the UI listens; 0 takes a free port.")] = 3000,
    host: Annotated[str, typer.Option(help="The address it listens on; there is no login.")] = "127.0.0.1",
    log_level: Annotated[
        Literal["warning", "info", "debug"], typer.Option(help="What webserver and daemon write to the terminal.")
    ] = "warning",
) -> None:
    """The Dagster UI and the daemon that runs schedules and sensors, until Ctrl-C."""
    from nethical_assets.command_line.ui import serve

    serve(load_settings(), host=host, port=port, log_level=log_level)


def main() -> None:
    """Run the command line; an expected error is one line on stderr and its exit code."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # Most objects of a short process live until it ends: looking for cycles every 700 of them costs it a tenth.
    gc.set_threshold(_OBJECTS_A_COLLECTION)
    with interruptible():
        _run()


def _run() -> NoReturn:
    try:
        code = app(prog_name="nethical", standalone_mode=False) or 0
        if code == _INTERRUPTED:  # typer has caught it
            raise KeyboardInterrupt
        # What cannot be written is said here: nobody is told later.
        sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:
        code = _end(error)
    sys.exit(code)


def _end(error: BaseException) -> int:
    """Say in one line how a command ended; its exit code. An unexpected error is raised again, unless its words may
    quote data: then its kind and place are said.

    A library that is interrupted may raise an error of its own instead.
    """
    if isinstance(error, KeyboardInterrupt | typer.Abort) or first_signal() is not None:
        ending()
        _say("interrupted; what was finished is kept, start it again to go on")
        return exit_code()
    if isinstance(error, NethicalError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        _say(f"{where}{error.strerror or error}; {advice(error)}, or name another folder or file")
        return 2
    if isinstance(error, _USAGE_ERROR):
        if message := error.format_message():
            context = error.ctx
            command = "nethical" if context is None else context.command_path
            _say(f"{_in_plain_words(message)} ({command} --help lists what there is)")
        return 2
    if may_quote_data(error):
        _say(describe_unexpected(error))
        return 1
    raise error


def _in_plain_words(message: str) -> str:
    """A usage error without the words of the library that validates values."""
    for words, plain in _WORDS.items():
        message = re.sub(words, plain, message)
    return message


def _say(line: str) -> None:
    say(errors, f"nethical: {line}", style="red")


if __name__ == "__main__":
    main()
