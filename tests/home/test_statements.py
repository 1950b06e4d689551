"""A statement that was announced is entered, however the run that announced it ended, and whoever comes next."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.delivery.expected import provenance_problems
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.lineage import provenance
from nethical_assets.home.records import StageRecord, result_digest
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.sealing import finalize_run
from tests.fake_stages import open_workspace
from tests.processes import in_child

OUTPUT = digest_bytes(b"output")
RECORD = StageRecord("models", "logistic", OUTPUT, result_digest(OUTPUT, {}, {}), OUTPUT, {}, {})


def attest(workspace: Workspace) -> None:
    workspace.objects.put(b"output")
    workspace.attest(RECORD, [], materials={}, parameters={})


def problems(workspace: Workspace) -> list[str]:
    return provenance_problems(workspace.audit_log, workspace.provenance)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Have something happen in place of the entry that follows the leaf of a statement."""

    def arrange(happens: Callable[[], Any]) -> None:
        monkeypatch.setattr(provenance, "write_json", lambda path, document: happens())

    return arrange


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_run_enters_what_it_announced(
    settings: Settings, cut: Callable[[Callable[[], Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = open_workspace(settings)
    cut(interrupt)
    with pytest.raises(KeyboardInterrupt):
        attest(workspace)
    monkeypatch.undo()
    finalize_run(workspace, end=EventType.RUN_FAILED)
    assert problems(workspace) == []
    assert workspace.provenance.find("models", "logistic", OUTPUT) is not None


def test_whoever_logs_what_a_killed_run_announced_enters_it(settings: Settings) -> None:
    def killed() -> None:
        provenance.write_json = lambda path, document: os.kill(os.getpid(), signal.SIGKILL)
        attest(open_workspace(settings, "killed"))

    open_workspace(settings, "before").recorder  # noqa: B018 (the log is there)
    assert in_child(killed)
    errand = open_workspace(settings, "errand")
    errand.recorder  # noqa: B018 (whoever records something logs what dead runs recorded)
    assert problems(errand) == []
    assert errand.provenance.find("models", "logistic", OUTPUT) is not None


def test_an_entry_that_is_there_stays_and_a_lost_statement_is_not_entered(settings: Settings) -> None:
    workspace = open_workspace(settings)
    attest(workspace)
    entered = workspace.provenance.find("models", "logistic", OUTPUT)
    workspace.provenance.complete("models", "logistic", OUTPUT, digest_bytes(b"another"))
    assert workspace.provenance.find("models", "logistic", OUTPUT) == entered
    other = digest_bytes(b"other output")
    workspace.provenance.complete("models", "logistic", other, digest_bytes(b"another"))
    assert workspace.provenance.find("models", "logistic", other) is None


def test_what_was_made_again_after_retention_deleted_it_is_missed_again(settings: Settings) -> None:
    workspace = open_workspace(settings, "run-1")
    attest(workspace)
    finalize_run(workspace)
    stored = {path: path.read_bytes() for path in (workspace.home / "data" / "provenance").rglob("*") if path.is_file()}
    assert stored
    retention = open_workspace(settings, "run-2")
    retention.record_event("retention_deleted", {"models/logistic": OUTPUT})
    finalize_run(retention)
    for path in stored:
        path.unlink()
    assert problems(open_workspace(settings, "verify")) == []

    again = open_workspace(settings, "run-3")
    attest(again)
    finalize_run(again)
    there = [path for path in (workspace.home / "data" / "provenance").rglob("*") if path.is_file()]
    for path in there:
        path.unlink()
    assert problems(open_workspace(settings, "verify")) != []
