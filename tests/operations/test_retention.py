"""Removing what has expired: recorded before it is made, nothing that a pointer names, no family that is in use."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.delivery.expected import promotion_payload, promotion_subjects
from nethical_assets.core.delivery.pinned import pinning_subject
from nethical_assets.core.delivery.standing import standing_problems
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.errors import BusyError, IntegrityError
from nethical_assets.core.models.registry import ModelPointer
from nethical_assets.home import leases
from nethical_assets.home.changes import place_pointer
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.operations import retention
from nethical_assets.operations.retention import remove_expired
from nethical_assets.stages.sealing import finalize_run
from nethical_assets.stages.training import MODELS
from tests.core.models.conftest import files_of, manifest_of, pointer_of
from tests.fake_stages import open_workspace
from tests.processes import in_child

Expire = Callable[..., list[dict[str, Any]]]
OLD, NEW = "2020-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return open_workspace(settings, "retention-1")


@pytest.fixture
def expire(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Expire:
    """Remove what has expired three years after it was decided and finalised."""

    def removed(**options: bool) -> list[dict[str, Any]]:
        finalize_run(workspace)
        with monkeypatch.context() as later:
            later.setattr(Workspace, "now", lambda self: utc_now() + timedelta(days=3 * 365))
            return remove_expired(workspace, **options)

    return removed


def add(workspace: Workspace, number: int) -> str:
    return workspace.registry.add(manifest_of(files_of(number)), files_of(number))


def decide(workspace: Workspace, pointer: ModelPointer) -> None:
    """Make a model a candidate, as a release does."""
    subjects = {MODELS.record_name(pointer.family): pointer.model, "releases/logistic": pointer.decision}
    change = place_pointer(pointer, "candidates")
    workspace.act(EventType.GATE_DECIDED, {**subjects, **pinning_subject(pointer)}, change)


def promote(workspace: Workspace, pointer: ModelPointer) -> None:
    """Make a model the champion, as a release does."""
    before = workspace.registry.champion(pointer.family)
    if before is not None:
        replaced = replace(before, replaced_at=pointer.decided_at)
        subjects = {MODELS.record_name(before.family): before.model}
        workspace.act(EventType.MODEL_ARCHIVED, subjects, place_pointer(replaced, "archived"))
    workspace.act(
        EventType.MODEL_PROMOTED,
        promotion_subjects(pointer),
        place_pointer(pointer, "current"),
        parents=[pointer.decision],
        payload=promotion_payload(pointer),
    )


@pytest.mark.parametrize("where", ["champion", "archive", "other family's candidate", "other family's champion"])
def test_files_that_another_pointer_names_are_kept(workspace: Workspace, expire: Expire, where: str) -> None:
    registry, shared = workspace.registry, add(workspace, 1)
    other = pointer_of(shared, decided_at=NEW)
    match where:
        case "champion":
            promote(workspace, other)
        case "archive":
            promote(workspace, other)
            promote(workspace, pointer_of(add(workspace, 2), version="1.0.1", decided_at=NEW))
        case "other family's candidate":
            decide(workspace, pointer_of(shared, family="anomaly", decided_at=NEW))
        case "other family's champion":
            promote(workspace, pointer_of(shared, family="anomaly", decided_at=NEW))
    decide(workspace, pointer_of(shared, decided_at=OLD))
    (row,) = expire()
    assert (row["model"], row["stage"], row["files_deleted"]) == (shared, "candidates", False)
    assert registry.candidate("logistic", shared) is None
    assert registry.load(shared)[1] == files_of(1)


def test_what_is_removed_is_in_the_log_and_can_be_stored_again(workspace: Workspace, expire: Expire) -> None:
    registry, model = workspace.registry, add(workspace, 1)
    decide(workspace, pointer_of(model, decided_at=OLD))
    (row,) = expire()
    assert (row["model"], row["files_deleted"]) == (model, True)
    (found,) = workspace.audit_log.find_events(event_type=EventType.RETENTION_DELETED, digest=model)
    assert workspace.audit_log.payload(found.event)["stage"] == "candidates"
    assert list((workspace.home / "models" / "store").iterdir()) == []
    assert list((workspace.home / "models" / "signatures").glob("*.sig")) == []
    assert remove_expired(open_workspace(workspace.settings, "retention-2")) == []
    assert add(workspace, 1) == model
    registry.load(model)


def test_replaced_champions_go_on_request_only(workspace: Workspace, expire: Expire) -> None:
    registry = workspace.registry
    promote(workspace, pointer_of(add(workspace, 1), decided_at="2019-01-01T00:00:00+00:00"))
    promote(workspace, pointer_of(add(workspace, 2), version="1.0.1", decided_at=OLD))
    assert expire() == []
    (row,) = expire(archived_too=True)
    assert (row["version"], row["stage"], row["files_deleted"]) == ("1.0.0", "archived", True)
    assert registry.archived("logistic") == []


@pytest.mark.parametrize("stage", ["candidates", "archived"])
@pytest.mark.parametrize("field", ["decided_at", "replaced_at"])
def test_dates_that_are_not_what_was_decided_remove_nothing(workspace: Workspace, stage: str, field: str) -> None:
    registry = workspace.registry
    promote(workspace, pointer_of(add(workspace, 1), decided_at=NEW))
    promote(workspace, pointer_of(add(workspace, 2), version="1.0.1", decided_at=NEW))
    decide(workspace, pointer_of(add(workspace, 3), decided_at=NEW))
    assert remove_expired(workspace, archived_too=True) == []
    finalize_run(workspace)
    assert list(standing_problems(registry, workspace.audit_log, family_names())) == []
    (path,) = (workspace.home / "models" / stage / "logistic").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), field: OLD}))
    if (stage, field) == ("candidates", "replaced_at"):  # which means nothing there
        assert remove_expired(workspace, archived_too=True) == []
        return
    (problem,) = standing_problems(registry, workspace.audit_log, family_names())
    assert str(path) in problem
    if field == "decided_at" and stage == "archived":  # by which nothing goes there
        assert remove_expired(workspace, archived_too=True) == []
    else:
        with pytest.raises(IntegrityError, match="restore"):
            remove_expired(workspace, archived_too=True)
    assert path.exists()
    path.unlink()
    (problem,) = standing_problems(registry, workspace.audit_log, family_names())
    assert "is missing" in problem


def test_a_family_that_a_run_is_at_work_on_is_waited_for_and_left_alone(
    workspace: Workspace, expire: Expire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_WAITING_SECONDS", 0.0)
    decide(workspace, pointer_of(add(workspace, 1), decided_at=OLD))
    leases.hold_family(workspace.home, "logistic", "run-1", waiting_seconds=0.0)

    def prune() -> None:
        with pytest.raises(BusyError, match="family logistic is in use by run run-1"):
            remove_expired(open_workspace(workspace.settings, "retention-2"))

    try:
        assert not in_child(prune)
    finally:
        leases.release_families(workspace.home, "run-1")
    assert len(workspace.registry.candidates("logistic")) == 1
    assert len(expire()) == 1


def test_nothing_goes_that_the_log_has_no_later_time_for(workspace: Workspace, expire: Expire) -> None:
    """The date of a clock that was set back, or of a decision that is not finalised."""
    decide(workspace, pointer_of(add(workspace, 1), decided_at=OLD))
    promote(workspace, pointer_of(add(workspace, 2), decided_at=OLD))
    promote(workspace, pointer_of(add(workspace, 3), version="1.0.1", decided_at=OLD))
    assert remove_expired(workspace, archived_too=True) == []
    finalize_run(workspace)
    assert remove_expired(workspace, archived_too=True) == []
    assert {row["stage"] for row in expire(archived_too=True)} == {"candidates", "archived"}
