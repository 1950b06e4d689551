"""The stage of drift reports: what the champion scored in a window, against its reference.

What belongs here: which window, and what is shown of the report. What does not: judging it (``home.watch``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from nethical_assets.core.audit import subjects
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.home.watch import watch_window
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.shown import Bullets, Shown, Table
from nethical_assets.stages.stage import Plan, Result, Stage, Work

if TYPE_CHECKING:
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace


def _report(work: Work) -> Result:
    """The report about a window of a family's champion; without champion or traffic it is on hold."""
    workspace, family = work.workspace, work.subject
    hours = workspace.settings.file.monitoring.drift_interval_hours
    facts = watch_window(workspace, family, work.window or Window.at(workspace.now(), hours))
    subjects = {"champion": facts["model"]} if facts["model"] else {}
    return Result(workspace.objects.put(pretty_json(facts)), facts=facts, subjects=subjects)


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    numbers = {} if facts["drift_score"] is None else {"drift_score": float(facts["drift_score"])}
    return {
        **numbers,
        "verdict": facts["verdict"],
        "rows": facts["rows"],
        "model": facts["model"] or "none",
        "reasons": Bullets(facts["reasons"]),
        "monitors": Table(facts["monitors"]),
    }


DRIFT_REPORTS = Stage(
    name=subjects.DRIFT_REPORTS,
    scope="family",
    description="Scores, positive rate, inputs, accuracy and calibration of what the champion scored, against the "
    "reference stored at promotion. Verdicts: drift, changed, stable, needs more data; without traffic it is on hold.",
    owner="team:on-call",
    follows=(RELEASES,),
    run=_report,
    plan=lambda work: Plan(lookup=False),
    event=EventType.DRIFT_JUDGED,
    tells=lambda record: {
        "verdict": record.facts["verdict"],
        "score": record.facts["drift_score"],
        "rows": record.facts["rows"],
    },
    shows=_shown,
    # A report that is missed once is late; one that is missed twice is a watch that stopped.
    fresh_for=lambda settings: timedelta(hours=2 * settings.file.monitoring.drift_interval_hours),
    in_cycle=False,
    seals=True,
)
