"""Issuing: every format is on disk, named by the log, found when damaged, and left alone while nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.cards import FORMATS, audit_reference, render_all
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.storage import read_json
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import CycleOptions, Workspace
from nethical_assets.stages import carding as card_stage
from nethical_assets.stages.carding import issue_card
from nethical_assets.stages.fetching import canonical, screen, split_rows
from nethical_assets.stages.releasing import release_model
from nethical_assets.stages.sealing import finalize_run, verify
from nethical_assets.stages.training import evaluate, train

FAMILY = "heuristic"
SUFFIXES = ["json", *(form.suffix for form in FORMATS)]


def cycle(settings: Settings, run_id: str) -> tuple[StageRecord, str, Workspace]:
    """One cycle of one family on synthetic rows, as the assets run it; the card's record and Markdown.

    Nothing is recorded beside what the stages record: in an unchanged cycle that is no event before the card.
    """
    workspace = Workspace(settings, CycleOptions(source="synthetic", samples=700), run_id)
    dataset = canonical(workspace, FAMILY, {})
    screened = screen(workspace, FAMILY, dataset)
    split = split_rows(workspace, FAMILY, screened)
    model = train(workspace, FAMILY, split)
    evaluation = evaluate(workspace, FAMILY, split, model)
    release = release_model(workspace, FAMILY, split, model, evaluation)
    named = {"datasets": dataset, "screened": screened, "splits": split, "models": model, "evaluations": evaluation}
    record, markdown = issue_card(workspace, FAMILY, {**named, "releases": release})
    workspace.save_record(record)
    return record, markdown, workspace


@pytest.fixture
def issued(settings: Settings) -> tuple[Settings, dict[str, Path]]:
    """A home with one card, and where each of its formats is."""
    record, _, workspace = cycle(settings, "run-1")
    finalize_run(workspace)
    json_path = Path(record.facts["path"])
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
            (problem,) = card_stage.card_problems(settings)
            assert problem.startswith(f"{path}: "), suffix
            path.write_bytes(intact)
    assert card_stage.card_problems(settings) == []


def test_a_cycle_without_changes_renders_nothing_and_shows_the_same(
    issued: tuple[Settings, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, paths = issued
    written = {path: path.stat().st_mtime_ns for path in paths.values()}
    monkeypatch.setattr(card_stage, "render_all", lambda card: pytest.fail("rendered again"))
    record, markdown, workspace = cycle(settings, "run-2")
    finalize_run(workspace)
    assert record.reused
    assert markdown == paths["md"].read_text()
    assert {path: path.stat().st_mtime_ns for path in paths.values()} == written
    assert set(record.facts["paths"].values()) == {str(paths[form.suffix]) for form in FORMATS}
    assert verify(settings)["problems"] == []


def test_the_next_cycle_issues_a_damaged_card_again(issued: tuple[Settings, dict[str, Path]]) -> None:
    """With the bytes of its first issue: it cites the run that decided, whatever the present one recorded."""
    settings, paths = issued
    for suffix, path in paths.items():
        intact = path.read_bytes()
        path.write_bytes(b"forged")
        record, _, workspace = cycle(settings, f"run-after-{suffix.replace('.', '-')}")
        finalize_run(workspace)
        assert not record.reused
        assert path.read_bytes() == intact
        assert verify(settings)["problems"] == [], suffix


def test_a_format_that_no_event_names_is_refused(
    issued: tuple[Settings, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, paths = issued
    planted = paths["html"].with_name(paths["html"].name.replace(".html", ".txt"))
    planted.write_text("a better card")
    monkeypatch.setattr(card_stage, "FORMATS", (*FORMATS, replace(FORMATS[0], suffix="txt")))
    (problem,) = card_stage.card_problems(settings)
    assert problem.startswith(f"{planted}: was not issued")


def test_a_crash_before_the_card_itself_leaves_the_old_state_or_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = card_stage.write_atomically
    done: list[Path] = []

    def failing(path: Any, data: bytes) -> None:
        if len(done) == 2:
            raise OSError("disk full")
        done.append(path)
        write(path, data)

    monkeypatch.setattr(card_stage, "write_atomically", failing)
    with pytest.raises(OSError, match="disk full"):
        cycle(settings, "run-1")
    monkeypatch.undo()
    record, _, workspace = cycle(settings, "run-2")
    finalize_run(workspace)
    assert audit_reference(read_json(Path(record.facts["path"]))).size > 0
    assert verify(settings)["problems"] == []


def test_a_card_that_its_own_run_could_not_issue_cites_the_run_that_decided(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run was stopped after the decision; the next run decides nothing and records nothing before the card."""
    with monkeypatch.context() as stopped:
        stopped.setattr(card_stage, "build_card", lambda evidence: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            cycle(settings, "run-1")
    finalize_run(Workspace(settings, CycleOptions(), "run-1"))
    record, _, workspace = cycle(settings, "run-2")
    finalize_run(workspace)
    assert audit_reference(read_json(Path(record.facts["path"]))).run_id == "run-1"
    assert verify(settings)["problems"] == []
