"""Whether what else is kept is what the audit log says: records, snapshots, quarantine, scored batches, alerts, keys.

What belongs here: one line for everything that was changed or is missing. What does not: stored objects, models and
pointers (``evidence``), or the log itself (``core.audit``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from nethical_assets.core.alerts import Issue
from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.datasets.snapshots import Snapshot
from nethical_assets.core.delivery.expected import alert_problems, alert_subject
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.governance.quarantine import REASONS_COLUMN
from nethical_assets.core.ground.errors import IntegrityError, NethicalError
from nethical_assets.core.ground.parquet import get_values
from nethical_assets.core.ground.storage import read_json
from nethical_assets.home.evidence import BATCH_PREFIX, FEEDBACK_PREFIX
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import damaged_segments, open_model_keys
from nethical_assets.home.watch import budget_ledger
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.fetching import ARRIVALS, RAW
from nethical_assets.stages.screening import QUARANTINE
from nethical_assets.stages.watching import DRIFT_REPORTS

_RESTORE_QUARANTINE = "restore data/quarantine from a backup"
_EVER = datetime.min.replace(tzinfo=UTC)


def kept_problems(settings: Settings, *, with_alerts: bool = True, with_private_keys: bool = True) -> list[str]:
    """Everything that is kept beside objects, models and pointers and is not what it was. One line a problem.

    ``with_alerts`` is False inside a run: whether the tracker works is no matter of a run's. ``with_private_keys`` is
    False for an auditor, whose copy has none.
    """
    workspace = Workspace(settings, CycleOptions(), "verify")
    looks: tuple[Callable[[Workspace], Iterable[str]], ...] = (
        lambda home: home.acts.unfinished(),
        _record_problems,
        _snapshot_problems,
        _quarantine_problems,
        _inference_problems,
        _budget_problems,
        _key_problems,
        *((_missing_keys,) if with_private_keys else ()),
        *((_alert_problems,) if with_alerts else ()),
    )
    return [problem for look in looks for problem in _told(look, workspace)]


def kept_notes(settings: Settings) -> list[str]:
    """What an auditor should know of what is not kept any more."""
    try:
        removed = Workspace(settings, CycleOptions(), "verify").evidence.removed_batches()
    except NethicalError:
        # A log that cannot be read is a problem of its own.
        return []
    if not removed:
        return []
    return [
        f"{len(removed)} batches of the inference log are gone because retention removed them "
        "(monitoring.inference_retention_days); the leaves that say so name each"
    ]


def _told(look: Callable[[Workspace], Iterable[str]], workspace: Workspace) -> list[str]:
    try:
        return list(look(workspace))
    except (NethicalError, OSError, sqlite3.Error) as error:
        return [str(error)]


def _record_problems(workspace: Workspace) -> Iterator[str]:
    """Newest records and finished stages. One without a statement is of an older version, and is never used."""
    finished = sorted(workspace.records.folder.joinpath("stages").glob("*.json"))
    for path in (*workspace.records.all_newest(), *finished):
        try:
            document = read_json(path)
            if not isinstance(document, dict) or "statement" in document:
                record = StageRecord.from_json(document)
                workspace.evidence.check_record(record)
                if path.parent.name != "stages":
                    yield from _missing_objects(workspace, record)
                elif path.stem != record.fingerprint.partition(":")[2]:
                    raise IntegrityError("is the record of another computation; remove it and run again")
        except IntegrityError as error:
            message = str(error)
            yield message if message.startswith(str(path)) else f"{path}: {message}"


def _missing_objects(workspace: Workspace, record: StageRecord) -> Iterator[str]:
    """What a newest record names and is not there; its bytes are looked at elsewhere."""
    store = workspace.snapshots.objects if record.stage == RAW.name else workspace.objects
    for name, digest in record.objects.items():
        if digest not in store:
            yield (
                f"{store.path(digest)}: missing, it is the {name} of {record.name}; run again where that is computed "
                "again, or restore it"
            )


def _snapshot_problems(workspace: Workspace) -> Iterator[str]:
    """The newest snapshot of every dataset is the one that was fetched or restored last, by the log, confirmed when the
    pointer says, and its rows are there."""
    lost = []
    told = _told_of_datasets(workspace)
    for entry in workspace.settings.catalog.dataset:
        try:
            newest = workspace.snapshots.latest(entry.name)
        except IntegrityError as error:
            yield f"{workspace.snapshots.pointer_path(entry.name)}: {error}"
            continue
        if newest is None:
            lost.append(entry.name)
            continue
        if workspace.evidence.named_by(newest.digest, *ARRIVALS) is None:
            yield (
                f"dataset {entry.name}: the audit log knows of no fetch or restore of snapshot {newest.digest}; "
                f"restore it: nethical data restore {entry.name}"
            )
        else:
            yield from _pointer_problems(workspace, newest, told.get(entry.name, []))
        if newest.digest not in workspace.snapshots.objects:
            path = workspace.snapshots.objects.path(newest.digest)
            yield f"{path}: missing, these are the rows of dataset {entry.name}; {_bring_back(entry.name)}"
    for name in sorted(_arrived(workspace).intersection(lost)) if lost else ():
        path = workspace.snapshots.pointer_path(name)
        yield f"{path}: missing, the audit log knows of a snapshot of dataset {name}; {_bring_back(name)}"


def _told_of_datasets(workspace: Workspace) -> dict[str, list[Event]]:
    """What the log says of each dataset, in its order: arrivals and confirmations that took effect."""
    kinds = (*ARRIVALS, EventType.DATA_CONFIRMED)
    logged = sorted(
        (one for kind in kinds for one in workspace.audit_log.find_events(event_type=kind)), key=lambda one: one.index
    )
    prefix = RAW.record_name("")
    waiting = [event for event in workspace.audit_log.pending_events(prefix.encode()) if event.type in kinds]
    found: dict[str, list[Event]] = {}
    for event in (*(one.event for one in logged), *waiting):
        for subject in event.subjects:
            if subject.name.startswith(prefix) and not workspace.acts.waits(event):
                found.setdefault(subject.name.removeprefix(prefix), []).append(event)
    return found


def _pointer_problems(workspace: Workspace, newest: Snapshot, told: list[Event]) -> Iterator[str]:
    """Whether the pointer of a dataset says what the log said last, by its order or by time: the leaves of a killed run
    enter the log behind newer ones, and clocks may be set back."""
    path = workspace.snapshots.pointer_path(newest.name)
    arrived = _last([event for event in told if event.type in ARRIVALS])
    name = RAW.record_name(newest.name)
    if not any(subject.name == name and subject.digest == newest.digest for one in arrived for subject in one.subjects):
        yield (
            f"{path}: names {newest.digest}, which the log says was current before; "
            f"restore the pointer, or {_bring_back(newest.name)}"
        )
        return
    changes = [_change_of(workspace, event) for event in _last(told)]
    said = {str(change["refreshed_at"]) for change in changes if "refreshed_at" in change}
    # Events of older versions do not say it.
    if said and newest.refreshed_at not in said:
        yield (
            f"{path}: says that the dataset was confirmed at {newest.refreshed_at}, the log says "
            f"{' or '.join(sorted(said))}; {_bring_back(newest.name)}"
        )


def _change_of(workspace: Workspace, event: Event) -> Mapping[str, Any]:
    try:
        change: Mapping[str, Any] = (workspace.audit_log.payload(event) or {}).get("change", {})
        return change
    except IntegrityError:
        # Deleted by retention, or a problem of its own.
        return {}


def _last(events: list[Event]) -> list[Event]:
    """The last of them and the newest of them."""
    return [events[-1], max(events, key=lambda event: event.time)] if events else []


def _arrived(workspace: Workspace) -> set[str]:
    """The datasets that the log says arrived, and whose content was used: a run may die between leaf and pointer."""
    found = set()
    prefix = RAW.record_name("")
    for kind in ARRIVALS:
        for one in workspace.audit_log.find_events(event_type=kind):
            for subject in one.event.subjects:
                name = subject.name.removeprefix(prefix)
                if subject.name.startswith(prefix) and name not in found:
                    used = workspace.evidence.named_by(subject.digest, EventType.PROVENANCE_ISSUED)
                    found.update([name] if used is not None else [])
    return found


def _bring_back(name: str) -> str:
    return f"bring it back: nethical data restore {name}, or nethical data fetch"


def _quarantine_problems(workspace: Workspace) -> Iterator[str]:
    """Every decision in the index is one of the log, and every row that was kept out is there."""
    for family in family_names():
        try:
            workspace.released_rows(family)
        except IntegrityError as error:
            yield str(error)
        record = workspace.records.newest(QUARANTINE.name, family)
        if record is None:
            continue
        known = {entry.row_id for entry in workspace.quarantine.entries(family)}
        missing = set(get_values(workspace.objects, record.output, "row_id")) - known
        if missing:
            yield f"quarantine of {family}: {len(missing)} rows that were kept out are missing; {_RESTORE_QUARANTINE}"
        yield from _edited_rows(workspace, family, record)
        yield from workspace.quarantine.problems(family)


def _edited_rows(workspace: Workspace, family: str, record: StageRecord) -> Iterator[str]:
    """The rows of the newest screening whose label or reasons the index shows otherwise."""
    names = ("row_id", "label", REASONS_COLUMN)
    listed = zip(*(get_values(workspace.objects, record.output, name) for name in names), strict=True)
    found = {str(row): (str(label), tuple(str(reasons).split(","))) for row, label, reasons in listed}
    for entry in workspace.quarantine.entries(family):
        if found.get(entry.row_id, (entry.label, entry.reasons)) != (entry.label, entry.reasons):
            yield (
                f"quarantine of {family}: row {entry.row_id} has another label or other reasons in the index than "
                f"screening gave it; {_RESTORE_QUARANTINE}"
            )


def _inference_problems(workspace: Workspace) -> Iterator[str]:
    """Every batch of scores or labels is what its name says, and every batch that the log names is there, unless
    retention removed it. What the log does not name counts for nothing. A segment that was damaged is named until
    somebody has seen it."""
    yield from workspace.inference_log.problems()
    yield from workspace.feedback_log.problems()
    for path in damaged_segments(workspace.home):
        yield (
            f"{path}: a segment of the inference log that was damaged; what could be read of it is in the log: remove "
            "it when you know why (docs/operations.md)"
        )
    removed = workspace.evidence.removed_batches()
    gone = {*removed.values()}
    present = workspace.inference_log.batch_digests()
    labels = workspace.feedback_log.batch_digests()
    digests = set(present.values())
    for found in workspace.audit_log.find_events(event_type=EventType.BATCH_SCORED):
        for subject in found.event.subjects:
            if removed.get(subject.name) == subject.digest:
                continue
            if subject.name.startswith(BATCH_PREFIX):
                name = subject.name.removeprefix(BATCH_PREFIX)
                # Leaves of older versions name the family only.
                there = present.get(name) == subject.digest if "/" in name else subject.digest in digests | gone
                if not there:
                    yield f"serving/inference/{name}: the batch of leaf {found.index} is missing; restore it"
            elif subject.name.startswith(FEEDBACK_PREFIX):
                name = subject.name.removeprefix(FEEDBACK_PREFIX)
                if labels.get(name) != subject.digest:
                    yield f"serving/feedback/{name}: the batch of leaf {found.index} is missing; restore it"


def _budget_problems(workspace: Workspace) -> Iterator[str]:
    """What was spent of the false-alarm budget is what was written, the newest reports' part of it included."""
    ledger = budget_ledger(workspace)
    try:
        known = {entry.evidence for entry in ledger.entries()}
    except IntegrityError as error:
        yield str(error)
        return
    for family in family_names():
        report = workspace.records.newest(DRIFT_REPORTS.name, family)
        judged = [] if report is None else [one["report"] for one in report.facts.get("periods", ())]
        if any(one["level"] > 0 and one["measured"]["evidence"] not in known for one in judged):
            yield (
                f"{ledger.path}: has no entry of what the newest drift report of {family} spent of the false-alarm "
                "budget; restore the file from a backup"
            )


def _alert_problems(workspace: Workspace) -> Iterator[str]:
    """Every issue is as the log left it, and every issue is known to the log."""
    path = workspace.home / "alerts"
    if path.exists():
        workspace.tracker.check_file()
    issues: tuple[Issue, ...] = workspace.tracker.list() if path.exists() else ()
    digests = {digest: issue for issue in issues for digest in alert_subject(issue.kind, issue.fingerprint).values()}
    unlogged = workspace.tracker.unlogged() if path.exists() else frozenset()
    for issue in issues:
        if issue.fingerprint in unlogged:
            yield (
                f"alerts: #{issue.number} ({issue.kind}) changed while the audit log took no event; the next run, or "
                "the alert sensor, records how it is now"
            )
    late = {digest for digest, issue in digests.items() if issue.fingerprint in unlogged}
    yield from alert_problems(workspace.audit_log, digests, told=late)
    unlogged_before = _pinned_later(workspace)
    for digest, issue in digests.items():
        if (
            digest not in late
            and _opened(issue) >= unlogged_before
            and workspace.evidence.named_by(digest, EventType.ALERT_FILED) is None
        ):
            yield f"alerts: #{issue.number} ({issue.kind}): the audit log knows of no filing of it"


def _pinned_later(workspace: Workspace) -> datetime:
    """When a log of an older version, which named no alerts, was taken over: it pinned its key then, and a new log pins
    it in its first leaf."""
    if workspace.audit_log.checkpoint_bytes() is None:
        return _EVER
    for found in workspace.audit_log.find_events(event_type=EventType.KEY_CREATED):
        return _EVER if found.index == 0 else datetime.fromisoformat(found.event.time)
    return datetime.max.replace(tzinfo=UTC)


def _opened(issue: Issue) -> datetime:
    return datetime.fromisoformat(issue.created_at).astimezone(UTC)


def _key_problems(workspace: Workspace) -> Iterator[str]:
    """The model signing key beside the models is readable and the one that the log pins."""
    problem = open_model_keys(workspace.home).problem()
    if problem:
        yield problem


def _missing_keys(workspace: Workspace) -> Iterator[str]:
    """The private keys in force are where this process looks for them: without them the next run cannot record."""
    if workspace.audit_log.checkpoint_bytes() is not None:
        for problem in (workspace.audit_log.keys.missing(), open_model_keys(workspace.home).missing()):
            if problem:
                yield problem
