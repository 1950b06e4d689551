"""Record, then act: killed at any write, done twice, forged, or done by two processes at once."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from nethical_assets.core.alerts import LocalIssueTracker
from nethical_assets.core.alerts.steps import Closing, step_document
from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.datasets.snapshots import Snapshot
from nethical_assets.core.governance.quarantine import REASONS_COLUMN, RELEASED
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.errors import AuditError, IntegrityError
from nethical_assets.home import changes
from nethical_assets.home.acts import ACT_SUBJECT, Acts, Change
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.home.stores import segment_folder, tracker_path
from nethical_assets.home.workspace import Workspace
from tests.core.alerts.conftest import make_alert
from tests.core.conftest import add_snapshot
from tests.core.models.conftest import files_of, manifest_of, pointer_of
from tests.orchestration import enter, environment_of
from tests.processes import DURABLE, in_child, start_child
from tests.sweeping import COMPLETE

FAMILY = "logistic"
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def open_workspace(settings: Settings, run_id: str) -> Workspace:
    return Workspace(settings, CycleOptions(), run_id)


@dataclass(frozen=True)
class Case:
    """A change, what a home has to hold before it, and how its effect is seen."""

    event: EventType
    prepare: Callable[[Workspace], Change]
    look: Callable[[Workspace], Any]


def stored_model(workspace: Workspace, number: int) -> str:
    return workspace.registry.add(manifest_of(files_of(number)), files_of(number))


def a_candidate(workspace: Workspace) -> Change:
    return changes.place_pointer(pointer_of(stored_model(workspace, 1)), "candidates")


def a_champion(workspace: Workspace) -> Change:
    pointer = pointer_of(stored_model(workspace, 1))
    workspace.registry.set_candidate(pointer)
    workspace.registry.set_archived(replace(pointer, replaced_at=pointer.decided_at))
    return changes.place_pointer(pointer, "current")


def a_replaced_champion(workspace: Workspace) -> Change:
    pointer = pointer_of(stored_model(workspace, 1))
    workspace.registry.set_champion(pointer)
    return changes.place_pointer(replace(pointer, replaced_at=pointer.decided_at), "archived")


def an_expired_candidate(workspace: Workspace) -> Change:
    pointer = pointer_of(stored_model(workspace, 1))
    workspace.registry.set_candidate(pointer)
    return changes.remove_pointer(pointer, "candidates")


def an_expired_champion_whose_files_another_names(workspace: Workspace) -> Change:
    pointer = replace(pointer_of(stored_model(workspace, 1)), replaced_at=NOW.isoformat())
    workspace.registry.set_archived(pointer)
    workspace.registry.set_candidate(replace(pointer, family="anomaly"))
    return changes.remove_pointer(pointer, "archived")


def a_card(workspace: Workspace) -> Change:
    pointer = pointer_of(stored_model(workspace, 1))
    workspace.registry.set_champion(pointer)
    files = {suffix: workspace.objects.put(suffix.encode()) for suffix in ("json", "md", "html")}
    return changes.attach_card(pointer, files["json"], files)


def an_older_snapshot(workspace: Workspace) -> Change:
    template = Snapshot("nslkdd", "owner/nslkdd", "mirror", "MIT", "", 0, (), "", "definition", {}, {})
    older, _ = [add_snapshot(workspace.snapshots, pa.table({"a": [number]}), template, NOW) for number in (1, 2)]
    return changes.arrive_snapshot("nslkdd", workspace.snapshots.store_manifest(older), older.fetched_at)


def a_confirmation(workspace: Workspace) -> Change:
    template = Snapshot("nslkdd", "owner/nslkdd", "mirror", "MIT", "", 0, (), "", "definition", {}, {})
    stored = add_snapshot(workspace.snapshots, pa.table({"a": [1]}), template, NOW)
    manifest = workspace.snapshots.store_manifest(stored)
    return changes.confirm_snapshot("nslkdd", manifest, "2026-11-09T00:00:00+00:00")


def a_decision(workspace: Workspace) -> Change:
    rows = pd.DataFrame({"row_id": ["aa1", "bb2"], "text": ["x", "y"], "label": [1, 0], REASONS_COLUMN: ["k", "k"]})
    workspace.quarantine.add(FAMILY, rows, now=NOW)
    said = workspace.quarantine.decision(FAMILY, "aa1", RELEASED, actor="dana", reason="fine", now=NOW)
    return changes.decide_quarantined(workspace.objects.put(pretty_json(said)))


def a_closing(workspace: Workspace) -> Change:
    tracker = LocalIssueTracker(tracker_path(workspace.home))
    tracker.file(make_alert())
    (issue,) = tracker.list()
    moment = make_alert().moment
    return changes.change_issue(step_document(Closing(issue.fingerprint, NOW.isoformat(), "mended", "ada", moment)))


def sealed_segments(workspace: Workspace) -> Change:
    names = [f"20260301T120000.000000Z-{number:016x}-000000.segment" for number in range(3)]
    folder = segment_folder(workspace.home)
    folder.mkdir(parents=True)
    for name in names:
        folder.joinpath(name).write_text(name)
    return changes.drop_segments(names[:1], names[1:2])


def segments_state(workspace: Workspace) -> Any:
    folder = segment_folder(workspace.home)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def expired_batches(workspace: Workspace) -> Change:
    serving, names = workspace.home / "serving", []
    for number in range(3):
        stem = f"20260301T120000.000000Z-{'a' * 64}-{number:016x}-{'b' * 16}"
        names.append(f"{stem}.parquet")
        for path in (f"inference/{FAMILY}/{stem}.parquet", f"sketches/{FAMILY}/{stem}-{'c' * 16}-15.sketch"):
            serving.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
            serving.joinpath(path).write_text(stem)
    labels = f"20260301T120000.000000Z-{'d' * 16}-{'e' * 16}.parquet"
    serving.joinpath("feedback").mkdir()
    serving.joinpath("feedback", labels).write_text("labels")
    return changes.drop_batches([f"{FAMILY}/{name}" for name in names[:2]], [labels])


def batches_state(workspace: Workspace) -> Any:
    folder = workspace.home / "serving"
    stores = ("inference", "sketches", "feedback")
    found = [path for store in stores for path in folder.joinpath(store).rglob("*") if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def what_is_in_force(workspace: Workspace) -> Change:
    return changes.put_in_force({"settings": digest_bytes(b"settings")})


def registry_state(workspace: Workspace) -> Any:
    """Every file below ``models`` but keys, locks and what a kill left half-written."""
    base = workspace.home / "models"
    found = {path.relative_to(base): path for path in base.rglob("*") if path.is_file()}
    kept = {name: path for name, path in found.items() if name.parts[0] != "keys" and not name.name.startswith(".")}
    return {name.as_posix(): path.read_bytes() for name, path in kept.items()}


def in_force(workspace: Workspace) -> Any:
    return workspace.in_force_path.read_bytes() if workspace.in_force_path.exists() else None


def quarantine_state(workspace: Workspace) -> Any:
    return [(entry.row_id, entry.status, entry.decision) for entry in workspace.quarantine.entries(FAMILY)]


CASES = {
    "candidate": Case(EventType.GATE_DECIDED, a_candidate, registry_state),
    "champion": Case(EventType.MODEL_PROMOTED, a_champion, registry_state),
    "archive": Case(EventType.MODEL_ARCHIVED, a_replaced_champion, registry_state),
    "removal": Case(EventType.RETENTION_DELETED, an_expired_candidate, registry_state),
    "removal of a shared model": Case(
        EventType.RETENTION_DELETED, an_expired_champion_whose_files_another_names, registry_state
    ),
    "card": Case(EventType.CARD_ISSUED, a_card, registry_state),
    "snapshot": Case(EventType.DATA_RESTORED, an_older_snapshot, lambda w: w.snapshots.latest("nslkdd")),
    "confirmation": Case(EventType.DATA_CONFIRMED, a_confirmation, lambda w: w.snapshots.latest("nslkdd")),
    "quarantine": Case(EventType.DATA_RELEASED, a_decision, quarantine_state),
    "issue": Case(EventType.ALERT_CLOSED, a_closing, lambda w: w.tracker.list()),
    "segments": Case(EventType.BATCH_SCORED, sealed_segments, segments_state),
    "batches": Case(EventType.RETENTION_DELETED, expired_batches, batches_state),
    "in force": Case(EventType.SETTINGS_CHANGED, what_is_in_force, in_force),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with keys, which cost time to make."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        workspace = open_workspace(load_settings(enter(patch, environment_of(folder))), "template")
        workspace.record_event(EventType.RUN_STARTED, {})
        workspace.seal()
        _ = workspace.provenance.keys.private
        workspace.end()
    return folder / "home"


class Home:
    """A home that was prepared for one case, to be copied, acted in, killed and settled."""

    def __init__(self, case: Case, settings: Settings, template: Path) -> None:
        self.case, self.settings = case, settings
        shutil.copytree(template, settings.home)
        workspace = open_workspace(settings, "preparation")
        self.change = case.prepare(workspace)
        self.before = case.look(workspace)
        self.kept = settings.home.with_name("kept")
        shutil.copytree(settings.home, self.kept)

    def reset(self) -> None:
        shutil.rmtree(self.settings.home)
        shutil.copytree(self.kept, self.settings.home)

    def act(self, run_id: str = "actor") -> None:
        open_workspace(self.settings, run_id).act(self.case.event, {"about": digest_bytes(b"it")}, self.change)

    def settled(self) -> Any:
        """What the next process finds after it settled what was left."""
        workspace = open_workspace(self.settings, "next")
        workspace.acts.settle()
        assert intents(self.settings) == []
        return self.case.look(workspace)

    def leaves(self) -> list[Event]:
        """The leaves of acts, logged or pending."""
        log = open_workspace(self.settings, "reader").audit_log
        return [
            event for event in log.pending_events() if any(subject.name == ACT_SUBJECT for subject in event.subjects)
        ]


def intents(settings: Settings) -> list[Path]:
    return sorted((settings.home / "acts").glob("*.json"))


@pytest.fixture(params=CASES)
def home(request: pytest.FixtureRequest, settings: Settings, template: Path) -> Home:
    return Home(CASES[request.param], settings, template)


def test_every_kind_of_change_is_tried(settings: Settings, template: Path) -> None:
    tried = set()
    for case in CASES.values():
        shutil.copytree(template, settings.home)
        tried.add(case.prepare(open_workspace(settings, "preparation")).kind)
        shutil.rmtree(settings.home)
    assert tried == set(changes._CHANGES)


def test_killed_at_any_write_the_act_happened_wholly_or_not_at_all(home: Home) -> None:
    in_child(home.act)
    after = home.settled()
    assert after != home.before
    seen = set()
    for moment in DURABLE:
        for survived in range(0, 60, 1 if COMPLETE else 4):
            home.reset()
            killed = in_child(home.act, moment, survived)
            recorded = len(home.leaves())
            found = home.settled()
            assert recorded <= 1
            assert found == (after if recorded else home.before), (moment, survived)
            seen.add((killed, bool(recorded)))
            # Doing it again in any of these states ends in the same one.
            home.act("again")
            assert home.case.look(open_workspace(home.settings, "reader")) == after
            if not killed:
                break
        else:
            pytest.fail(f"never survived every {moment}")
    assert {(True, False), (True, True), (False, True)} <= seen, "kills before and after the leaf were tried"


def test_a_change_that_is_made_twice_is_as_one_that_is_made_once(home: Home) -> None:
    workspace = open_workspace(home.settings, "once")
    changes.apply_change(workspace, home.change)
    once = home.case.look(workspace)
    changes.apply_change(workspace, home.change)
    assert home.case.look(workspace) == once != home.before


@pytest.mark.parametrize("name", ["../../audit/checkpoint", "x.segment", "20260301T120000.000000Z-0.open"])
def test_an_act_on_segments_touches_nothing_else(settings: Settings, name: str) -> None:
    workspace = open_workspace(settings, "actor")
    for change in (changes.drop_segments([name], []), changes.drop_segments([], [name])):
        with pytest.raises(IntegrityError, match="no segment"):
            changes.apply_change(workspace, change)


def test_the_leaf_holds_the_change(home: Home) -> None:
    home.act()
    (event,) = home.leaves()
    assert event.type is home.case.event
    payload = open_workspace(home.settings, "reader").audit_log.payload(event)
    assert payload["change"]["kind"] == home.change.kind
    assert set(payload["change"]) == {"kind", *home.change.document}


def test_an_intent_that_no_leaf_names_is_dropped(home: Home) -> None:
    document = {"kind": home.change.kind, "document": dict(home.change.document), "id": "forged"}
    forged = pretty_json(document)
    folder = home.settings.home / "acts"
    folder.mkdir(exist_ok=True)
    for name in (digest_bytes(forged).partition(":")[2], "0" * 64):
        (folder / f"{name}.json").write_bytes(forged)
    assert home.settled() == home.before


def test_an_intent_that_was_edited_after_its_leaf_is_not_carried_out(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = open_workspace(home.settings, "actor")
    monkeypatch.setattr("nethical_assets.home.workspace.apply_change", lambda workspace, change: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        workspace.act(home.case.event, {"about": digest_bytes(b"it")}, home.change)
    monkeypatch.undo()
    (intent,) = intents(home.settings)
    intent.write_bytes(intent.read_bytes() + b" ")
    assert home.settled() == home.before


def test_a_leaf_that_cannot_be_recorded_changes_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise AuditError("no space")

    workspace = open_workspace(home.settings, "actor")
    monkeypatch.setattr(Workspace, "record_event", full)
    with pytest.raises(AuditError, match="no space"):
        workspace.act(home.case.event, {}, home.change)
    monkeypatch.undo()
    assert home.case.look(workspace) == home.before
    assert home.settled() == home.before


def test_a_change_of_a_newer_version_is_one_line(settings: Settings) -> None:
    with pytest.raises(IntegrityError, match="unknown change 'teleport'"):
        changes.apply_change(open_workspace(settings, "old"), Change("teleport", {}))


# With a log and a store of one line each, to be watched closely.


class Line:
    """Acts over a file of changes, with a file of leaves."""

    def __init__(self, folder: Path, pause: float = 0.0) -> None:
        self.folder, self.pause = folder, pause
        self.acts = Acts(folder / "acts", is_recorded=lambda digest: digest in self.read("log"), apply=self.apply)

    def read(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    def apply(self, change: Change) -> None:
        """Not safe for two at once: it reads, waits, and writes everything."""
        known = self.read("state")
        time.sleep(self.pause)
        if change.kind not in known:
            (self.folder / "state").write_text(" ".join([*known, change.kind]))

    def record(self, digest: str) -> None:
        (self.folder / "log").write_text(" ".join([*self.read("log"), digest]))

    def act(self, name: str) -> None:
        self.acts.act(Change(name, {}), self.record)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    yield Line(tmp_path)


def test_acts_take_effect_in_their_order_also_when_the_first_was_left_unfinished(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "apply", lambda change: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Acts(line.folder / "acts", is_recorded=lambda digest: True, apply=line.apply).act(
            Change("first", {}), line.record
        )
    monkeypatch.undo()
    assert line.read("state") == []
    line.act("second")
    assert line.read("state") == ["first", "second"]
    assert len(line.read("log")) == 2


def test_two_processes_act_one_after_the_other(tmp_path: Path) -> None:
    def other() -> None:
        for number in range(10):
            Line(tmp_path, pause=0.005).act(f"other-{number}")

    started = tmp_path / "started"
    child = start_child(lambda: (started.write_text(""), other()))
    while not started.exists():
        time.sleep(0.001)
    for number in range(10):
        Line(tmp_path, pause=0.005).act(f"own-{number}")
    assert child() == 0
    line = Line(tmp_path)
    assert sorted(line.read("state")) == sorted(f"{who}-{n}" for who in ("own", "other") for n in range(10))
    assert len(line.read("log")) == 20
    assert [name for name in line.read("state") if name.startswith("own")] == [f"own-{n}" for n in range(10)]


def test_settling_while_nothing_is_left_writes_nothing(line: Line) -> None:
    line.acts.settle()
    assert list(line.folder.iterdir()) == []


def test_the_document_of_a_change_reaches_it_unchanged_after_a_kill(tmp_path: Path) -> None:
    document = {"text": "n\u00e4h", "number": 1, "nested": {"list": [1, None, True]}}
    log: list[str] = []

    def killed(change: Change) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Acts(tmp_path, is_recorded=log.__contains__, apply=killed).act(Change("kind", document), log.append)
    found: list[Change] = []
    Acts(tmp_path, is_recorded=log.__contains__, apply=found.append).settle()
    assert found == [Change("kind", json.loads(json.dumps(document)))]
