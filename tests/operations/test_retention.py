"""Removing what has expired: recorded before it is made, nothing that a pointer names, no family that is in use."""

from __future__ import annotations

import pytest

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.errors import BusyError
from nethical_assets.home import leases
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations import retention
from nethical_assets.operations.retention import remove_expired
from tests.core.models.conftest import files_of, manifest_of, pointer_of, promote
from tests.fake_stages import open_workspace
from tests.processes import in_child

OLD, NEW = "2020-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return open_workspace(settings, "retention-1")


def add(workspace: Workspace, number: int) -> str:
    return workspace.registry.add(manifest_of(files_of(number)), files_of(number))


@pytest.mark.parametrize("where", ["champion", "archive", "other family's candidate", "other family's champion"])
def test_files_that_another_pointer_names_are_kept(workspace: Workspace, where: str) -> None:
    registry, shared = workspace.registry, add(workspace, 1)
    other = pointer_of(shared, decided_at=NEW)
    match where:
        case "champion":
            promote(registry, other)
        case "archive":
            promote(registry, other)
            promote(registry, pointer_of(add(workspace, 2), version="1.0.1", decided_at=NEW))
        case "other family's candidate":
            registry.set_candidate(pointer_of(shared, family="anomaly", decided_at=NEW))
        case "other family's champion":
            promote(registry, pointer_of(shared, family="anomaly", decided_at=NEW))
    registry.set_candidate(pointer_of(shared, decided_at=OLD))
    (row,) = remove_expired(workspace)
    assert (row["model"], row["stage"], row["files_deleted"]) == (shared, "candidates", False)
    assert registry.candidate("logistic", shared) is None
    assert registry.load(shared)[1] == files_of(1)


def test_what_is_removed_is_in_the_log_and_can_be_stored_again(workspace: Workspace) -> None:
    registry, model = workspace.registry, add(workspace, 1)
    registry.set_candidate(pointer_of(model, decided_at=OLD))
    (row,) = remove_expired(workspace)
    assert (row["model"], row["files_deleted"]) == (model, True)
    (found,) = workspace.audit_log.find_events(event_type=EventType.RETENTION_DELETED, digest=model)
    assert workspace.audit_log.payload(found.event)["stage"] == "candidates"
    assert list((workspace.home / "models" / "store").iterdir()) == []
    assert list((workspace.home / "models" / "signatures").glob("*.sig")) == []
    assert remove_expired(open_workspace(workspace.settings, "retention-2")) == []
    assert add(workspace, 1) == model
    registry.load(model)


def test_replaced_champions_go_on_request_only(workspace: Workspace) -> None:
    registry = workspace.registry
    promote(registry, pointer_of(add(workspace, 1), decided_at="2019-01-01T00:00:00+00:00"))
    promote(registry, pointer_of(add(workspace, 2), version="1.0.1", decided_at=OLD))
    assert remove_expired(workspace) == []
    (row,) = remove_expired(workspace, archived_too=True)
    assert (row["version"], row["stage"], row["files_deleted"]) == ("1.0.0", "archived", True)
    assert registry.archived("logistic") == []


def test_a_family_that_a_run_is_at_work_on_is_waited_for_and_left_alone(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_WAITING_SECONDS", 0.0)
    workspace.registry.set_candidate(pointer_of(add(workspace, 1), decided_at=OLD))
    leases.hold_family(workspace.home, "logistic", "run-1", waiting_seconds=0.0)

    def prune() -> None:
        with pytest.raises(BusyError, match="family logistic is in use by run run-1"):
            remove_expired(open_workspace(workspace.settings, "retention-2"))

    try:
        assert not in_child(prune)
    finally:
        leases.release_families(workspace.home, "run-1")
    assert len(workspace.registry.candidates("logistic")) == 1
    assert len(remove_expired(workspace)) == 1
