"""The watch of a home: one window of one family, judged and paid for.

What belongs here: reading the champion, its sketches and labels, and the ledger, and writing what is kept between
judgements. What does not: what is judged and how (``core.drift.watch``), or who records and shows the report
(``stages.watching``).

What was measured is stored, then the ledger's entry that names it is on the disk, then the report is made: killed
anywhere, the next judgement of the same rows has the same numbers and spends nothing.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import parse_document, read_json, write_json
from nethical_assets.home.inference import InferenceStore, removed_batches
from nethical_assets.home.ledger import Ledger
from nethical_assets.home.sketching import read_reference

if TYPE_CHECKING:
    from pathlib import Path

    from nethical_assets.core.drift.budget import Budget, Period, Spending
    from nethical_assets.core.drift.monitors import WindowMeasurements
    from nethical_assets.core.drift.watch import Timeline, WatchLimits
    from nethical_assets.core.drift.watch_report import WatchFacts
    from nethical_assets.core.models.registry import ModelPointer
    from nethical_assets.home.workspace import Workspace

_PERIODS_JUDGED = 2
_FILE_TIME = "%Y%m%dT%H%M"
_NOT_CALM = ("drift", "changed")


def watch_window(workspace: Workspace, family: str, window: Window) -> WatchFacts:
    """Judge one window of a family (``core.drift.watch_report`` has the fields of the answer).

    What was answered up to now is sealed first. The window may be under way, and may be judged again when labels came:
    it is about the model that was champion in it, the newest where it was another one's too. One that has not begun,
    that had no champion, or of which retention removed rows, is on hold.

    Raises:
        BusyError: another process seals, or has the ledger, for minutes.
        IntegrityError: the champion, its reference, a batch, or the ledger is not what was stored.
        AuditError: the log is not what was signed, or takes no event.
        OSError: something could not be read, or what has to be kept not be written.
    """
    facts = {**_watched(workspace, family, window), **_labels_given(workspace, family, window)}
    _remember(workspace, family, window, facts)
    return facts


def budget_ledger(workspace: Workspace) -> Ledger:
    """What was spent of the false-alarm budget of this home."""
    return Ledger(workspace.home / "serving" / "watch" / "budget.jsonl")


def _watched(workspace: Workspace, family: str, window: Window) -> WatchFacts:
    from nethical_assets.core.drift.watch import earliest, spans, watch
    from nethical_assets.core.drift.watch_report import About, hold_report, watch_report

    InferenceStore(workspace).seal()
    now, limits = workspace.now(), _limits(workspace)
    champion = _champion_in(workspace, family, window)
    if champion is None:
        return hold_report(
            About(window, now, limits),
            f"family {family} has no champion to watch",
            f"Nothing is watched before a model is promoted: run nethical run --families {family}.",
        )
    since = _promoted(champion)
    about = About(window, now, limits, champion.model, champion.reference, since)
    if window.start > now:
        return hold_report(about, f"the window begins at {_told(window.start)}: there is nothing to judge yet")
    if window.end <= since:
        said = f"the window ended before the champion was promoted at {_told(since)}"
        return hold_report(about, said, "Nothing is decided about a window without a champion.")
    removed = removed_batches(workspace, family, spans(window, since, limits.trailing_hours)[1].start, window.end)
    if removed:
        said = f"retention removed {removed} batches of this time: what is left is not all that was scored"
        return hold_report(about, said, "Nothing is decided. What was reported before stays in the audit log.")
    timeline = _timeline(workspace, champion, limits.minutes, earliest(window, since, limits.trailing_hours), window)
    watched = watch(
        timeline,
        window,
        model=champion.model,
        since=since,
        without=_remembered(workspace, family),
        limits=limits,
        spend=lambda period, measured: _spend(workspace, family, window, period, measured),
    )
    return watch_report(about, watched, timeline, _silent(workspace, champion, since))


def _champion_in(workspace: Workspace, family: str, window: Window) -> ModelPointer | None:
    """The model that was champion in the window, the newest of several; today's where none is known to have been."""
    champion = workspace.evidence.champion(family)
    if champion is None or window.end > _promoted(champion):
        return champion
    for replaced in reversed(workspace.registry.archived(family)):
        if replaced.reference and window.end > _promoted(replaced):
            workspace.evidence.check_standing(replaced, "archived")
            return replaced
    return champion


def _promoted(pointer: ModelPointer) -> datetime:
    return datetime.fromisoformat(pointer.decided_at).astimezone(UTC)


def _timeline(workspace: Workspace, champion: ModelPointer, minutes: int, start: datetime, window: Window) -> Timeline:
    """What the champion scored from ``start`` to the end of the window, with the labels that came."""
    from nethical_assets.core.drift.batch_sketches import SketchedBy, labelled_by_sub_window
    from nethical_assets.core.drift.watch import Timeline

    by = SketchedBy(read_reference(workspace, champion.reference), minutes)
    of = (champion.family, champion.model, by, start, window.end)
    # Rows that were sealed between the two would have labels and no sketch.
    with InferenceStore(workspace).held():
        sketches = workspace.sketch_log.read(*of)
        labelled = labelled_by_sub_window(workspace.inference_log, workspace.feedback_log, *of)
    labels = {moment: sketches[moment].with_labels(found) for moment, found in labelled.items()}
    return Timeline(by.reference, minutes, {**sketches, **labels})


def _labels_given(workspace: Workspace, family: str, window: Window) -> WatchFacts:
    """What came as labels while the window lasted, for requests of whatever time. Those that are of no request count
    for nothing, and whoever gave them does not know. Nothing is judged by it: where it cannot be counted, the report
    says so."""
    from nethical_assets.core.drift.feedback import labels_given

    serving = workspace.settings.file.serving
    # The request of a label that is sealed may itself wait to be sealed as long as this.
    waiting = timedelta(seconds=serving.log_rotate_seconds + serving.log_seal_seconds)
    given = labels_given(
        workspace.inference_log, workspace.feedback_log, family, window.start - waiting, window.end - waiting
    )
    return {"labels_given": given.labels, "labels_unknown": given.unknown, "labels_not_counted": given.reason}


def _spend(
    workspace: Workspace, family: str, window: Window, period: Period, measured: WindowMeasurements
) -> tuple[Spending, WindowMeasurements]:
    """The entry of the ledger, and what is judged at its level.

    Calm traffic that became known since gives the same rows other p-values. Judged by those, the rows would be looked
    at a second time for nothing: what was measured at the first look stands.
    """
    from nethical_assets.core.drift.budget import spend
    from nethical_assets.core.drift.monitors import WindowMeasurements

    stored = workspace.objects.put(pretty_json(to_document(measured)))
    budget = _budget(workspace)
    entry = budget_ledger(workspace).spend(
        lambda known: spend(known, budget, family, window.start, measured.evidence, period=period, measured=stored)
    )
    if entry.measured in ("", stored):
        return entry, measured
    path = workspace.objects.path(entry.measured)
    document = parse_document(workspace.objects.get(entry.measured), path)
    return entry, from_document(WindowMeasurements, document, str(path))


def _budget(workspace: Workspace) -> Budget:
    from nethical_assets.core.drift.budget import YEAR, Budget

    monitoring = workspace.settings.file.monitoring
    windows = YEAR // timedelta(hours=monitoring.drift_interval_hours)
    return Budget(monitoring.false_alerts_a_year, len(family_names()), _PERIODS_JUDGED * windows)


def _limits(workspace: Workspace) -> WatchLimits:
    from nethical_assets.core.drift.watch import WatchLimits

    thresholds, monitoring = workspace.settings.file.performance_thresholds, workspace.settings.file.monitoring
    return WatchLimits(
        threshold=thresholds.drift_alert_threshold,
        accuracy_drop=thresholds.accuracy_drop_alert,
        minimum_rows=monitoring.drift_minimum_rows,
        minimum_labelled_rows=monitoring.drift_minimum_labelled_rows,
        trailing_hours=monitoring.drift_window_hours,
        minutes=monitoring.sub_window_minutes,
    )


def _silent(workspace: Workspace, champion: ModelPointer, since: datetime) -> str:
    """Since when the champion is not asked, in words."""
    batches = workspace.inference_log.files(champion.family, since, champion.model)
    hours = workspace.settings.file.monitoring.no_traffic_alert_hours
    alerted = f"after {hours} hours without traffic an alert is filed"
    if not batches:
        return f"the champion scored nothing since it was promoted at {_told(since)}; {alerted}"
    newest = f"{batches[-1].moment:%Y-%m-%d %H}:00 UTC"
    return f"the champion scored nothing in this time; the hour of its newest requests is {newest}; {alerted}"


def _told(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _remember(workspace: Workspace, family: str, window: Window, facts: WatchFacts) -> None:
    """Keep which windows are not calm: by the newest report that was published, and by this one, which may yet be. The
    reports themselves are what counts when it is asked."""
    path = _folder(workspace, family) / f"{window.start.strftime(_FILE_TIME)}.json"
    if facts["verdict"] not in _NOT_CALM and not path.exists():
        return
    known: list[str] = []
    with contextlib.suppress(FileNotFoundError, IntegrityError, KeyError, TypeError):
        known = [str(one) for one in read_json(path)["reports"] if _is_published(workspace, str(one))][-1:]
    write_json(path, {"reports": [*known, workspace.objects.put(pretty_json(facts))]})


def _remembered(workspace: Workspace, family: str) -> list[Window]:
    """The windows whose newest report said drift or changed. A report that the log does not name was not published;
    where it cannot be read, nothing is learnt from the window that the file is named by."""
    found = []
    for path in sorted(_folder(workspace, family).glob("*.json")):
        try:
            published = [one for one in map(str, read_json(path)["reports"]) if _is_published(workspace, one)]
            facts = parse_document(workspace.objects.get(published[-1]), path) if published else {}
            if facts.get("verdict") in _NOT_CALM:
                found.append(Window(*(datetime.fromisoformat(facts["window"][end]) for end in ("start", "end"))))
        except (IntegrityError, KeyError, TypeError, ValueError):
            with contextlib.suppress(ValueError):
                start = datetime.strptime(path.stem, _FILE_TIME).replace(tzinfo=UTC)
                found.append(Window.at(start, workspace.settings.file.monitoring.drift_interval_hours))
    return found


def _is_published(workspace: Workspace, report: str) -> bool:
    return workspace.evidence.named_by(report, EventType.DRIFT_JUDGED) is not None


def _folder(workspace: Workspace, family: str) -> Path:
    return workspace.home / "serving" / "watch" / family
