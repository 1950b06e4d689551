"""The stages of screening: what was found in every row, what was masked, what was kept out; and how good the rules are.

What belongs here: screening a family's rows, and the error card of the rules. What does not: rules and decisions
(``core.governance``). Matched text never appears: only kinds and counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.errors import SettingsError
from nethical_assets.stages.canonical import DATASETS, FOUND
from nethical_assets.stages.shown import COLUMN_SCHEMA, ROW_COUNT, ColumnTypes, Markdown, Shown, Table
from nethical_assets.stages.stage import Act, Plan, Result, Stage, Work

if TYPE_CHECKING:
    from pathlib import Path

    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

_TOLD = ("records_screened", "columns_screened", "by_kind", "rows_masked", "quarantined")


def _plan_screening(work: Work) -> Plan:
    released = sorted(work.workspace.released_rows(work.subject))
    facts, ruleset = work.of(DATASETS).facts, work.workspace.ruleset.digest
    # What was masked in the records is counted here too, and can differ where the canonical rows do not.
    counted = {"columns": facts["screened_columns"], "records": facts["screening"]}
    counted["protected"] = work.of(DATASETS).objects.get(FOUND)
    return Plan({**counted, "released": released}, {"ruleset": ruleset})


def _screen(work: Work) -> Result:
    """Every row of the canonical dataset through every screening rule: masked, kept out, or as it was. What was masked
    before, in its records and when it was stored, is counted with it."""
    from nethical_assets.core.governance.frames import screen_frame
    from nethical_assets.core.governance.protection import earlier_findings, rows_kept_out
    from nethical_assets.core.governance.quarantine import REASONS_COLUMN
    from nethical_assets.core.governance.records import with_records
    from nethical_assets.core.governance.values import Reading
    from nethical_assets.core.ground.parquet import column_types, get_table, put_table
    from nethical_assets.core.rows.columns import GROUP

    workspace, family, dataset = work.workspace, work.subject, work.of(DATASETS)
    frame = get_table(workspace.objects, dataset.output)
    # Tables of older versions hold such values, which are found in them.
    found = get_table(workspace.objects, dataset.objects[FOUND]) if FOUND in dataset.objects else None
    result = screen_frame(
        frame,
        {name: Reading(reading) for name, reading in dataset.facts["screened_columns"].items()},
        workspace.screener,
        released=workspace.released_rows(family),
        tokens={GROUP: workspace.pseudonyms.token},
        earlier=None if found is None else earlier_findings(found),
    )
    aside = () if found is None else frozenset(rows_kept_out(found))
    kept, listed = result.frame, result.quarantined[["row_id", "label", "source", REASONS_COLUMN]]
    looked_at = len(dataset.facts["screened_columns"])
    objects = {"frame": put_table(workspace.objects, kept), "quarantined": put_table(workspace.objects, listed)}
    acts = []
    if len(listed):
        subjects = {QUARANTINE.record_name(family): objects["quarantined"]}
        acts.append(Act(EventType.DATA_QUARANTINED, subjects, payload={"rows": len(listed)}))
    return Result(
        objects["frame"],
        objects,
        {
            **with_records(result.summary(), dataset.facts["screening"], columns=looked_at),
            "rows": len(kept),
            "quarantined": len(listed),
            "columns": column_types(kept),
            "ruleset": workspace.ruleset.digest,
        },
        subjects={"ruleset": workspace.ruleset.digest},
        acts=acts,
        then=lambda: workspace.quarantine.add(family, result.quarantined, now=workspace.now(), aside=aside),
    )


def _keep_out(work: Work) -> Result:
    """The rows that screening kept out."""
    screened = work.of(SCREENED)
    stored = screened.objects["quarantined"]
    return Result(stored, {"frame": stored}, {"rows": screened.facts["quarantined"]})


def _shown_quarantine(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    family = record.subject
    return {
        ROW_COUNT: record.facts["rows"],
        "what_to_do": Markdown(
            f"See why each row is held: `nethical quarantine list --family {family}`; then let it into the next cycle, "
            f"`nethical quarantine release {family} ROW --reason REASON`, or keep it out for good, "
            f"`nethical quarantine confirm {family} ROW --reason REASON`."
        )
        if record.facts["rows"]
        else "Nothing: no row is held.",
    }


def _corpora(work: Work) -> Path:
    """The mirror folder, which holds the labelled corpora.

    Raises:
        SettingsError: none is configured.
    """
    mirror = work.workspace.settings.mirror
    if mirror is None:
        raise SettingsError("the error card needs the labelled corpora: set NETHICAL_DATA_MIRROR to a mirror folder")
    return mirror


def _plan_measuring(work: Work) -> Plan:
    """Depends on what the corpora hold, wherever they are.

    Raises:
        DatasetError: a corpus is missing.
    """
    from nethical_assets.core.evaluation.error_card import corpus_digests

    return Plan(materials={"ruleset": work.workspace.ruleset.digest, **corpus_digests(_corpora(work))})


def _measure_rules(work: Work) -> Result:
    """How often the rules miss and how often they are wrong, on the labelled corpora of the mirror folder.

    Raises:
        SettingsError: no mirror folder is configured.
        DatasetError: a corpus is not in it.
    """
    from nethical_assets.core.evaluation.error_card import build_error_card
    from nethical_assets.core.ground.digests import pretty_json

    card = build_error_card(_corpora(work), work.workspace.screener)
    return Result(work.workspace.objects.put(pretty_json(card)), facts=card)


def _shown_screened(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    return {
        ROW_COUNT: facts["rows"],
        COLUMN_SCHEMA: ColumnTypes(facts["columns"]),
        "records_screened": facts["records_screened"],
        "columns_screened": facts["columns_screened"],
        "rows_masked": facts["rows_masked"],
        "findings": facts["findings"],
        "findings_by_kind": Table([{"kind": kind, "findings": count} for kind, count in facts["by_kind"].items()]),
        "removed_share_by_label": Table(
            [{"label": label, "share": share} for label, share in facts["removal_rate_by_label"].items()]
        ),
        "ruleset": facts["ruleset"],
    }


def _shown_error_card(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    from nethical_assets.core.evaluation.error_card import render_error_card

    aims = record.facts["aims"]
    return {
        "error_card": Markdown(render_error_card(record.facts)),
        "aims": Table(aims),
        "aims_met": sum(bool(aim["met"]) for aim in aims),
        "ruleset": record.facts["ruleset"],
    }


SCREENED = Stage(
    name="screened",
    scope="family",
    description="The rows that may train and test, personal data and secrets masked.",
    owner="team:data-stewards",
    needs=(DATASETS,),
    run=_screen,
    plan=_plan_screening,
    event=EventType.DATA_SCREENED,
    tells=lambda record: {name: record.facts[name] for name in _TOLD},
    shows=_shown_screened,
    kinds=frozenset({"parquet"}),
    group="screening",
    in_chain=True,
)
QUARANTINE = Stage(
    name="quarantine",
    scope="family",
    description="The rows that screening kept out, for a person to decide about: nethical quarantine list.",
    owner="team:data-stewards",
    needs=(SCREENED,),
    run=_keep_out,
    shows=_shown_quarantine,
    kinds=frozenset({"parquet"}),
    group="screening",
)
ERROR_CARD = Stage(
    name="screening_error_card",
    scope="platform",
    description="Precision and recall of every rule pack on labelled corpora, with intervals. Needs the corpora in the "
    "mirror folder. `nethical error-card` prints the same.",
    owner="team:data-stewards",
    run=_measure_rules,
    plan=_plan_measuring,
    shows=_shown_error_card,
    kinds=frozenset({"markdown"}),
    group="screening",
    in_cycle=False,
    seals=True,
)
