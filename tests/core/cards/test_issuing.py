"""Issuing: every format is on disk, named by the log, found when damaged, and left alone while nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core import cards
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.cards import FORMATS, audit_reference, render_all
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import read_json
from nethical_assets.home import changes
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations import verification
from nethical_assets.operations.verification import card_problems, verify
from nethical_assets.stages.carding import MODEL_CARDS
from nethical_assets.stages.sealing import finalize_run
from nethical_assets.stages.stage import carry_out
from nethical_assets.stages.watching import DRIFT_REPORTS
from tests.stage_runs import run_family

FAMILY = "heuristic"
WHEN = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
SUFFIXES = ["json", *(form.suffix for form in FORMATS)]


def cycle(settings: Settings, run_id: str, **options: Any) -> tuple[StageRecord, Workspace]:
    """One cycle of one family on synthetic rows, as the assets run it; the card's record."""
    workspace = Workspace(settings, CycleOptions(**{"source": "synthetic", "samples": 700, **options}), run_id)
    workspace.record_event("run_started", {})
    return run_family(workspace, FAMILY)[MODEL_CARDS], workspace


@pytest.fixture
def issued(settings: Settings) -> tuple[Settings, dict[str, Path]]:
    """A home with one card, and where each of its formats is."""
    record, workspace = cycle(settings, "run-1")
    finalize_run(workspace)
    json_path = Path(workspace.places.opened(record.facts["path"]))
    paths = {suffix: json_path.with_name(json_path.name.removesuffix("json") + suffix) for suffix in SUFFIXES}
    return settings, paths


def test_every_format_shows_the_card_and_is_named_by_the_log(issued: tuple[Settings, dict[str, Path]]) -> None:
    settings, paths = issued
    assert verify(settings)["problems"] == []
    card = read_json(paths["json"])
    rendered = render_all(card)
    assert {suffix: path.read_bytes() for suffix, path in paths.items() if suffix != "json"} == rendered
    assert len(card["evaluation"]["operating_points"]["recall"]) > 2
    (event,) = LogReader(settings.home / "audit").find_events(event_type="card_issued")
    named = {subject.name: subject.digest for subject in event.event.subjects}
    for suffix, data in rendered.items():
        assert named[f"model_cards/{FAMILY}.{suffix}"] == digest_bytes(data)
    assert named[f"model_cards/{FAMILY}"] == digest_bytes(paths["json"].read_bytes())


def flip(position: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[round(position * (len(data) - 1))] ^= 1
        path.write_bytes(bytes(data))

    return damage


DAMAGES: dict[str, Callable[[Path], Any]] = {
    **{f"bit at {position}": flip(position) for position in (0.0, 0.3, 0.77, 1.0)},
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


def test_any_changed_byte_of_any_format_is_found_and_named(issued: tuple[Settings, dict[str, Path]]) -> None:
    settings, paths = issued
    for suffix, path in paths.items():
        intact = path.read_bytes()
        for damage in DAMAGES.values():
            damage(path)
            (problem,) = card_problems(settings)
            assert problem.startswith(f"{path}: "), suffix
            path.write_bytes(intact)
    assert card_problems(settings) == []


def test_a_cycle_without_changes_renders_nothing_and_shows_the_same(
    issued: tuple[Settings, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, paths = issued
    written = {path: path.stat().st_mtime_ns for path in paths.values()}
    monkeypatch.setattr(cards, "render_all", lambda card: pytest.fail("rendered again"))
    record, workspace = cycle(settings, "run-2")
    finalize_run(workspace)
    assert record.reused
    assert workspace.objects.get(record.objects["md"]) == paths["md"].read_bytes()
    assert {path: path.stat().st_mtime_ns for path in paths.values()} == written
    assert set(workspace.places.opened(record.facts["paths"]).values()) == {str(paths[form.suffix]) for form in FORMATS}
    assert verify(settings)["problems"] == []


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"forged"), Path.unlink], ids=["forged", "gone"])
def test_the_next_cycle_puts_the_issued_bytes_of_a_damaged_card_back_and_says_so(
    issued: tuple[Settings, dict[str, Path]], damage: Callable[[Path], Any]
) -> None:
    settings, paths = issued
    before = {suffix: path.read_bytes() for suffix, path in paths.items()}
    for suffix, path in paths.items():
        damage(path)
        record, workspace = cycle(settings, f"run-after-{suffix.replace('.', '-')}")
        finalize_run(workspace)
        assert not record.reused
        assert record.output == digest_bytes(before["json"])
        assert {name: place.read_bytes() for name, place in paths.items()} == before
        (event,) = LogReader(settings.home / "audit").find_events(run_id=workspace.run_id, event_type="card_issued")
        assert record.output in {subject.digest for subject in event.event.subjects}
        assert verify(settings)["problems"] == [], suffix


def test_a_format_that_no_event_names_is_refused(
    issued: tuple[Settings, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, paths = issued
    planted = paths["html"].with_name(paths["html"].name.replace(".html", ".txt"))
    planted.write_text("a better card")
    monkeypatch.setattr(verification, "FORMATS", (*FORMATS, replace(FORMATS[0], suffix="txt")))
    (problem,) = card_problems(settings)
    assert problem.startswith(f"{planted}: was not issued")


@pytest.mark.parametrize("written", [0, 2])
def test_a_kill_while_the_formats_are_written_leaves_no_card_without_its_leaf(
    written: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = changes.write_object
    done: list[Path] = []

    def failing(path: Any, data: bytes) -> None:
        if len(done) == written:
            raise OSError("disk full")
        done.append(path)
        write(path, data)

    monkeypatch.setattr(changes, "write_object", failing)
    with pytest.raises(OSError, match="disk full"):
        cycle(settings, "run-1")
    assert len(done) == written
    monkeypatch.undo()
    record, workspace = cycle(settings, "run-2")
    finalize_run(workspace)
    assert audit_reference(read_json(Path(workspace.places.opened(record.facts["path"])))).size > 0
    assert verify(settings)["problems"] == []


def test_a_card_that_its_own_run_could_not_issue_cites_the_run_that_decided(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run was stopped after the decision; the next run decides nothing and records nothing before the card."""
    with monkeypatch.context() as stopped:
        stopped.setattr(cards, "build_card", lambda evidence: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            cycle(settings, "run-1")
    finalize_run(Workspace(settings, CycleOptions(), "run-1"))
    record, workspace = cycle(settings, "run-2")
    finalize_run(workspace)
    assert audit_reference(read_json(Path(workspace.places.opened(record.facts["path"])))).run_id == "run-1"
    assert verify(settings)["problems"] == []


def judged(settings: Settings, family: str) -> str:
    """A drift report of a family, as a run of the watch leaves it; its digest."""
    workspace = Workspace(settings, CycleOptions(), f"watch-{family}")
    record = carry_out(DRIFT_REPORTS, workspace, family, window=Window.at(WHEN, 6))
    workspace.end()
    return record.output


def test_a_model_that_a_drift_report_asked_for_says_so_on_its_card(settings: Settings) -> None:
    report = judged(settings, FAMILY)
    record, workspace = cycle(settings, "run-1", drift_report=report, force=True)
    finalize_run(workspace)
    card = read_json(Path(workspace.places.opened(record.facts["path"])))
    window = {"start": "2026-11-22T12:00:00+00:00", "end": "2026-11-22T18:00:00+00:00"}
    assert card["retrained_because"] == {"drift_report": report, "window": window}
    said = f"Retrained because: drift report {report} of window 2026-11-22 12:00 to 2026-11-22 18:00 UTC."
    assert said in workspace.objects.get(record.objects["md"]).decode()
    # The decision that gave the model is found in the log by the report that asked for it.
    decided = LogReader(settings.home / "audit").find_events(event_type="gate_decided", digest=report)
    assert [event.event.parents[-1] for event in decided] == [report]
    assert verify(settings)["problems"] == []
    # Found again by a cycle that nothing asked for, it is the card that was issued.
    again, following = cycle(settings, "run-2")
    finalize_run(following)
    assert (again.reused, again.output) == (True, record.output)


def test_the_report_of_another_family_asked_for_no_model_of_this_one(settings: Settings) -> None:
    record, workspace = cycle(settings, "run-1", drift_report=judged(settings, "anomaly"))
    finalize_run(workspace)
    assert read_json(Path(workspace.places.opened(record.facts["path"])))["retrained_because"] is None


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "a report"])
def test_a_report_that_the_log_does_not_have_is_refused_before_anything_is_decided(
    digest: str, settings: Settings
) -> None:
    with pytest.raises(IntegrityError, match="is no drift report that the log has"):
        cycle(settings, "run-1", drift_report=digest)
    assert Workspace(settings, CycleOptions(), "test").registry.champion(FAMILY) is None
