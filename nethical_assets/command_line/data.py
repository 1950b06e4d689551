"""``nethical data``: listing, fetching, validating and restoring datasets.

What belongs here: arguments and printing. What does not: the stages (``stages``).
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nethical_assets.command_line.documents import print_document
from nethical_assets.command_line.opening import load_home, load_home_to_show, load_settings, open_workspace
from nethical_assets.command_line.output import JsonOption, SourceOption, minute, print_json, print_table, tell
from nethical_assets.command_line.status_line import working
from nethical_assets.home.options import CycleOptions

if TYPE_CHECKING:
    from nethical_assets.core.rows.catalog import DatasetEntry
    from nethical_assets.home.settings import Settings
    from nethical_assets.home.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="Datasets: list, fetch, validate, restore.")
Origin = Literal["backup", "mirror"]
Names = Annotated[list[str] | None, typer.Argument(help="Names or slugs of the catalog; all when none is given.")]


@app.command("list")
def list_datasets(as_json: JsonOption = False) -> None:
    """The catalog, and the snapshot that is there for each entry."""
    from nethical_assets.core.datasets.discovery import guess_note, guessed_encodings

    workspace = _workspace(load_home_to_show())
    rows: list[dict[str, Any]] = []
    for entry in workspace.settings.catalog.dataset:
        snapshot = workspace.snapshots.latest(entry.name)
        rows.append(
            {
                "name": entry.name,
                "slug": entry.slug,
                "kind": entry.kind,
                "families": [*entry.families, *entry.evaluation_families],
                "rows": snapshot.rows if snapshot else None,
                "source": snapshot.source if snapshot else None,
                "refreshed_at": snapshot.refreshed_at if snapshot else None,
                "digest": snapshot.digest if snapshot else None,
                "backups": len(workspace.backups.list(entry.name)),
                "guessed_encodings": [] if snapshot is None else guessed_encodings(snapshot.discovery),
            }
        )
    if as_json:
        print_json({"datasets": rows})
        return
    shown = [{**row, "families": ", ".join(row["families"])} for row in rows]
    print_table(
        "Datasets",
        shown,
        ("name", "slug", "kind", "families", "rows", "source", "refreshed_at"),
        least=("slug", "kind", "refreshed_at", "families"),
        prose=("families",),
        short={"refreshed_at": minute},
    )
    for row in rows:
        if row["guessed_encodings"]:
            tell(f"{row['name']}: {guess_note(row['guessed_encodings'])}")


@app.command()
def fetch(
    names: Names = None,
    source: SourceOption = "auto",
    force: Annotated[bool, typer.Option("--force", help="Download even when nothing changed upstream.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the snapshots up to date. Exits with 1 when a dataset that was named cannot be had."""
    rows = []
    with working("fetching") as status:
        from nethical_assets.stages.fetching import DAMAGED, RAW, SKIPPED
        from nethical_assets.stages.stage import carry_out

        settings = load_settings()
        workspace = _workspace(settings, CycleOptions(source=source, force_download=force))
        for entry in _entries(settings, names):
            record = carry_out(RAW, workspace, entry.name)
            workspace.records.publish(record, workspace.run_id)
            rows.append({"name": entry.name, **record.facts})
            if not as_json:
                status.print(f"{entry.name}: {record.facts['status']} ({record.facts['reason']})")
        workspace.finish_errand()
    if as_json:
        print_json({"datasets": rows})
    if names and any(row["status"] in (SKIPPED, DAMAGED) for row in rows):
        raise typer.Exit(1)


@app.command()
def restore(
    name: Annotated[str, typer.Argument(help="A name or slug of the catalog.")],
    origin: Annotated[
        Origin | None, typer.Option("--from", help="Where from; a backup, or else the mirror, when not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring back a dataset from a verified copy. The next run validates it before anything trains on it."""
    with working(f"restoring {name}"):
        from nethical_assets.operations.restoring import restore as restore_dataset

        settings = load_home()
        workspace = _workspace(settings)
        record = restore_dataset(workspace, settings.catalog.entry(name), origin)
        workspace.finish_errand()
    if as_json:
        print_json({"name": record.subject, **record.facts})
        return
    tell(f"{record.subject}: restored {record.facts['rows']} rows ({record.facts['reason']})")
    tell(f"The next run validates it before it trains on it; or now: nethical data validate {record.subject}")


@app.command()
def validate(names: Names = None, as_json: JsonOption = False) -> None:
    """Assess the snapshots, without names also what was built from them.

    Exits with 1 when a check fails, or when there is nothing of a dataset that was named.
    """
    with working("validating"):
        from nethical_assets.core.quality.report import DatasetReport, render_validation_report, unremarkable
        from nethical_assets.stages.checking import assess_raw, family_reports

        settings = load_settings()
        entries = _entries(settings, names)
        workspace = _workspace(load_home(settings))
        reports = [DatasetReport(entry.name, entry.title, assess_raw(workspace, entry)) for entry in entries]
        if not names:
            reports += family_reports(workspace)
        workspace.finish_errand()
    if as_json:
        print_json(
            {
                "datasets": {
                    report.name: [
                        {**outcome.to_json(), **({} if outcome.status == "pass" else {"what_to_do": outcome.advice})}
                        for outcome in report.outcomes
                    ]
                    for report in reports
                }
            }
        )
    else:
        idle, passed = unremarkable(reports)
        print_document(render_validation_report(reports), least=[check.replace("_", " ") for check in (*idle, *passed)])
    absent = [report for report in reports if names and report.status("available") != "pass"]
    if absent or any(outcome.status == "fail" for report in reports for outcome in report.outcomes):
        raise typer.Exit(1)


def _entries(settings: Settings, names: list[str] | None) -> list[DatasetEntry]:
    if not names:
        return list(settings.catalog.dataset)
    return [settings.catalog.entry(name) for name in names]


def _workspace(settings: Settings, options: CycleOptions | None = None) -> Workspace:
    return open_workspace(settings, f"data-{uuid.uuid4()}", options)
