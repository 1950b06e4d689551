"""A promotion that was recorded and could not be carried out is an issue until it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from nethical_assets.core.alerts import LocalIssueTracker
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.home import changes
from nethical_assets.home.acts import Change
from nethical_assets.home.changes import place_pointer
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.sensors.promotions import file_promotions
from tests.core.models.conftest import pointer_of

MODEL = digest_bytes(b"model")


@pytest.fixture
def tracker(settings: Settings) -> LocalIssueTracker:
    return Workspace(settings, CycleOptions(), "alerts").tracker


def leave(settings: Settings, change: Change, name: str = "a" * 64) -> Path:
    """An act that was recorded and could not be completed."""
    folder = settings.home / "acts"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.stuck"
    path.write_bytes(pretty_json({"kind": change.kind, "document": dict(change.document), "id": name}))
    return path


def states(tracker: LocalIssueTracker) -> list[tuple[str, str, str, int]]:
    return [(issue.kind, issue.subject, issue.state, issue.occurrences) for issue in tracker.list()]


def test_it_is_filed_once_and_closed_when_it_was_carried_out(settings: Settings, tracker: LocalIssueTracker) -> None:
    assert file_promotions(settings, tracker).filed == 0
    left = leave(settings, place_pointer(pointer_of(MODEL), "current"))
    assert [stem for stem, *_ in Workspace(settings, CycleOptions(), "t").acts.unfinished_changes()] == ["a" * 64]
    for _ in range(3):
        file_promotions(settings, tracker)
    assert states(tracker) == [("deployment_failure", "models/logistic", "open", 1)]
    assert MODEL in tracker.show(1).body
    leave(settings, place_pointer(pointer_of(MODEL), "current"), "b" * 64)
    file_promotions(settings, tracker)
    assert states(tracker) == [("deployment_failure", "models/logistic", "open", 2)]
    left.unlink()
    left.with_name(f"{'b' * 64}.stuck").unlink()
    assert file_promotions(settings, tracker).closed == 1
    assert file_promotions(settings, tracker).closed == 0
    assert states(tracker) == [("deployment_failure", "models/logistic", "closed", 2)]


@pytest.mark.parametrize(
    "change",
    [
        place_pointer(pointer_of(MODEL), "archived"),
        Change("pointer", {"stage": "current"}),
        Change("pointer", {"stage": "current", "pointer": {"family": 3}}),
        Change("in_force", {"in_force": {}}),
    ],
    ids=["archived", "no pointer", "malformed", "another change"],
)
def test_other_acts_are_told_by_verification_alone(
    change: Change, settings: Settings, tracker: LocalIssueTracker
) -> None:
    leave(settings, change)
    leave(settings, change, "c" * 64).write_bytes(b"{")
    assert file_promotions(settings, tracker).filed == 0
    assert len(Workspace(settings, CycleOptions(), "t").acts.unfinished()) == 2


def test_a_repair_that_fails_again_closes_nothing(
    settings: Settings, tracker: LocalIssueTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(workspace: Workspace, document: object) -> None:
        raise IntegrityError("what it needs is gone")

    pointer = pointer_of(MODEL)
    with monkeypatch.context() as patch:
        patch.setitem(changes._CHANGES, "pointer", broken)
        workspace = Workspace(settings, CycleOptions(), "promoting")
        with pytest.raises(IntegrityError, match="is gone"):
            workspace.act(EventType.MODEL_PROMOTED, {"models/logistic": MODEL}, place_pointer(pointer, "current"))
        for _ in range(2):
            file_promotions(settings, tracker)
            assert states(tracker)[0][:3] == ("deployment_failure", "models/logistic", "open")
            (stuck,) = (settings.home / "acts").glob("*.stuck")
            stuck.rename(stuck.with_suffix(".json"))
    file_promotions(settings, tracker)
    assert states(tracker)[0][2] == "closed"
    assert list((settings.home / "acts").glob("*.stuck")) == []
