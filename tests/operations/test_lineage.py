"""The chain of a model that was really trained, attacked at every link; and training it again."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nethical_assets.command_line.app import app
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.ground.digests import canonical_json
from nethical_assets.core.ground.errors import IntegrityError, NethicalError
from nethical_assets.core.lineage.chain import Lineage
from nethical_assets.core.lineage.provenance import Statement, statement_name
from nethical_assets.core.models.loading import load_detector
from nethical_assets.core.signing.dsse import sign_payload
from nethical_assets.core.signing.keys import ModelKeys, key_id
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.home.stores import open_model_keys
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations import lineage
from nethical_assets.operations.lineage import UnknownModelError, find_model, reproduce_model, trace_model
from nethical_assets.operations.verification import verify
from nethical_assets.stages import training as models
from nethical_assets.stages.sealing import finalize_run
from tests.orchestration import enter, environment_of
from tests.pins import GivenPins
from tests.stage_runs import fetch_all, run_family

FAMILY = "logistic"


def train_once(settings: Settings, run_id: str, **options: Any) -> Workspace:
    """One cycle of one family without the orchestrator."""
    workspace = Workspace(settings, CycleOptions(**options), run_id)
    run_family(workspace, FAMILY, fetch_all(workspace, FAMILY))
    finalize_run(workspace)
    return workspace


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory, mirror: Path) -> Path:
    """A home in which one model was trained from the tiny mirror and promoted."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        environment = enter(patch, environment_of(folder, mirror))
        settings = load_settings(environment)
        train_once(settings, "run-1", source="mirror")
    return folder


@pytest.fixture
def settings(trained_home: Path, tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings for a copy of the trained home, to be attacked."""
    shutil.copytree(trained_home / "home", tmp_path / "state" / "home")
    yield load_settings(enter(monkeypatch, environment_of(tmp_path / "state", mirror)))


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings, CycleOptions(), "attacker")


def broken(lineage: Lineage) -> tuple[str, str]:
    """The first broken link and its first problem."""
    assert lineage.broken is not None
    return f"{lineage.broken.stage}/{lineage.broken.name}", lineage.broken.problems[0]


def digest_of(lineage: Lineage, stage: str) -> str:
    return next(link.digest for link in lineage.links if link.stage == stage)


def statement_of(lineage: Lineage, stage: str) -> str:
    return next(link.statement for link in lineage.links if link.stage == stage)


def test_every_link_verifies(settings: Settings) -> None:
    lineage = trace_model(settings, FAMILY)
    assert lineage.broken is None
    assert [f"{link.stage}/{link.name}" for link in lineage.links] == [
        "raw/nslkdd",
        "datasets/logistic",
        "screened/logistic",
        "splits/logistic",
        "models/logistic",
        "evaluations/logistic",
        "releases/logistic",
        "card/logistic",
        "pointer/current",
    ]
    assert all(link.status == "verified" and link.leaf is not None for link in lineage.links)
    assert not lineage.synthetic
    assert verify(settings)["ok"]


def test_a_second_cycle_attests_only_that_nothing_changed_and_a_third_nothing(settings: Settings) -> None:
    before = trace_model(settings, FAMILY)
    log = LogReader(settings.home / "audit")
    train_once(settings, "run-2", source="mirror")
    started, confirmed, *attested, completed, final = [found.event for found in log.find_events(run_id="run-2")]
    assert [started.type, confirmed.type, completed.type, final.type] == [
        "run_started", "data_confirmed", "run_completed", "chunk_final"
    ]  # fmt: skip
    assert {event.type for event in attested} == {"provenance_issued"}
    assert [event.subjects[0].name for event in attested] == [
        "provenance/raw/nslkdd", f"provenance/releases/{FAMILY}", f"provenance/model_cards/{FAMILY}"
    ]  # fmt: skip
    after = trace_model(settings, FAMILY)
    assert after.broken is None
    assert [(link.stage, link.digest) for link in after.links] == [(link.stage, link.digest) for link in before.links]

    train_once(settings, "run-3", source="mirror")
    assert [found.event.type for found in log.find_events(run_id="run-3")] == [
        "run_started", "data_confirmed", "run_completed", "chunk_final"
    ]  # fmt: skip
    assert trace_model(settings, FAMILY) == after


def test_a_synthetic_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(enter(monkeypatch, environment_of(tmp_path / "state")))
    workspace = train_once(settings, "run-1", source="synthetic")
    (pointer,) = filter(None, [workspace.registry.champion(FAMILY), *workspace.registry.candidates(FAMILY)])
    lineage = trace_model(settings, pointer.model)
    assert lineage.broken is None
    assert lineage.synthetic
    assert lineage.links[0].stage == "datasets"


@pytest.mark.parametrize("stage", ["datasets", "screened", "splits", "evaluations", "releases"])
@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_changed_or_removed_output_breaks_its_link(
    settings: Settings, workspace: Workspace, stage: str, damage: str
) -> None:
    lineage = trace_model(settings, FAMILY)
    path = Path(str(workspace.objects.path(digest_of(lineage, stage))))
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b" ")
    link, problem = broken(trace_model(settings, FAMILY))
    # Screening that masked nothing gives the dataset itself.
    assert link == ("datasets/logistic" if stage == "screened" else f"{stage}/logistic")
    assert ("do not match their digest" if damage == "changed" else "is missing") in problem


def test_changed_raw_data_breaks_the_first_link(settings: Settings, workspace: Workspace) -> None:
    path = Path(str(workspace.snapshots.objects.path(digest_of(trace_model(settings, FAMILY), "raw"))))
    path.write_bytes(path.read_bytes()[:-1])
    assert broken(trace_model(settings, FAMILY))[0] == "raw/nslkdd"


@pytest.mark.parametrize("stage", ["raw", "datasets", "screened", "splits", "models", "evaluations", "releases"])
def test_a_removed_statement_breaks_its_link(settings: Settings, workspace: Workspace, stage: str) -> None:
    workspace.objects.path(statement_of(trace_model(settings, FAMILY), stage)).unlink()
    lineage = trace_model(settings, FAMILY)
    link, problem = broken(lineage)
    assert link.startswith(f"{stage}/")
    assert "is missing" in problem
    earlier = {one.stage for one in lineage.links if one.status == "unreachable"}
    assert earlier <= {"datasets", "screened", "splits", "models", "evaluations"}


def test_a_release_without_a_statement_is_named(settings: Settings) -> None:
    shutil.rmtree(settings.home / "data" / "provenance" / "releases")
    link, problem = broken(trace_model(settings, FAMILY))
    assert (link, "there is no provenance statement about" in problem) == ("releases/logistic", True)


def rewrite(workspace: Workspace, lineage: Lineage, stage: str, change: Callable[[Statement], Statement]) -> str:
    """What an insider with the key can do: replace a statement, and every later one that cites it, all well signed."""
    order = ["raw", "datasets", "screened", "splits", "models", "evaluations", "releases"]
    key = open_model_keys(workspace.home).private
    replaced: dict[str, str] = {}
    for current in order[order.index(stage) :]:
        statement, _ = workspace.provenance.open(statement_of(lineage, current))
        name = statement_name(current, statement.name)
        if current == stage:
            statement = change(statement)
        cited = {name: replaced.get(name, digest) for name, digest in statement.dependencies.items()}
        payload = canonical_json(replace(statement, dependencies=cited).to_json())
        envelope = sign_payload(payload, key, identifier=key_id(key.public_key()))
        replaced[name] = workspace.objects.put(canonical_json(envelope))
    newest = replaced[statement_name("releases", FAMILY)]
    decision = digest_of(lineage, "releases").removeprefix("sha256:")
    entry = workspace.home / "data" / "provenance" / "releases" / FAMILY / f"{decision}.json"
    entry.write_text(json.dumps({"identity": "", "provenance": newest}))
    return newest


def without_screening(statement: Statement) -> Statement:
    kept = {name: digest for name, digest in statement.dependencies.items() if "screened" not in name}
    return replace(statement, dependencies=kept)


def without_the_statement_before(statement: Statement) -> Statement:
    kept = {name: digest for name, digest in statement.dependencies.items() if not name.startswith("provenance/")}
    return replace(statement, dependencies=kept)


def other_seed(statement: Statement) -> Statement:
    return replace(statement, parameters={**statement.parameters, "seed": 1})


def about_other_splits(statement: Statement) -> Statement:
    return replace(statement, dependencies={**statement.dependencies, f"splits/{FAMILY}": "sha256:" + "0" * 64})


def about_another_family(statement: Statement) -> Statement:
    return replace(statement, name="anomaly")


@pytest.mark.parametrize(
    ("stage", "change", "link", "message"),
    [
        ("splits", without_screening, "splits", "cites no screened: a stage was removed"),
        ("splits", without_the_statement_before, "screened", "there is no provenance statement about"),
        ("models", other_seed, "models", "the log has no provenance_issued event"),
        ("models", about_other_splits, "splits", "is missing"),
        ("evaluations", about_other_splits, "splits", "evaluations was made from another one"),
        ("screened", about_another_family, "screened", "the cited statement is about screened/anomaly"),
    ],
)
def test_a_rewritten_chain_is_refused_although_it_is_well_signed(
    settings: Settings,
    workspace: Workspace,
    stage: str,
    change: Callable[[Statement], Statement],
    link: str,
    message: str,
) -> None:
    rewrite(workspace, trace_model(settings, FAMILY), stage, change)
    lineage = trace_model(settings, FAMILY)
    problems = {one.stage: " | ".join(one.problems) for one in lineage.links}
    assert message in problems[link]
    assert lineage.broken is not None


@pytest.mark.parametrize(("left_out", "is_told"), [("splits", False), ("models", False), ("evaluations", True)])
def test_a_stage_is_missed_unless_another_cited_one_leads_to_it(
    settings: Settings, workspace: Workspace, left_out: str, is_told: bool
) -> None:
    """Releases of older versions cite no splits: their evaluation does."""

    def without(statement: Statement) -> Statement:
        kept = {name: digest for name, digest in statement.dependencies.items() if left_out not in name}
        return replace(statement, dependencies=kept)

    rewrite(workspace, trace_model(settings, FAMILY), "releases", without)
    problems = {one.stage: " | ".join(one.problems) for one in trace_model(settings, FAMILY).links}
    assert (f"cites no {left_out}" in problems["releases"]) is is_told


def test_an_edited_statement_does_not_verify(settings: Settings, workspace: Workspace) -> None:
    lineage = trace_model(settings, FAMILY)
    envelope = json.loads(workspace.objects.get(statement_of(lineage, "releases")))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["runDetails"]["metadata"]["finishedOn"] = "2020-01-01T00:00:00Z"
    envelope["payload"] = base64.b64encode(canonical_json(statement)).decode()
    edited = workspace.objects.put(canonical_json(envelope))
    (entry,) = (settings.home / "data" / "provenance" / "releases" / FAMILY).iterdir()
    entry.write_text(json.dumps({"identity": "", "provenance": edited}))
    link, problem = broken(trace_model(settings, FAMILY))
    assert (link, "the signature does not verify" in problem) == ("releases/logistic", True)


def model_folder(settings: Settings, lineage: Lineage) -> Path:
    return settings.home / "models" / "store" / lineage.model.removeprefix("sha256:")


def test_a_changed_model_breaks_its_link(settings: Settings) -> None:
    (model_folder(settings, trace_model(settings, FAMILY)) / "model.pkl").write_bytes(b"\x80\x04.")
    link, problem = broken(trace_model(settings, FAMILY))
    assert (link, "differ from the manifest: model.pkl" in problem) == ("models/logistic", True)


def test_an_unsigned_model_is_not_used_for_scores(settings: Settings, workspace: Workspace) -> None:
    lineage = trace_model(settings, FAMILY)
    shutil.rmtree(settings.home / "models" / "signatures")
    link, problem = broken(trace_model(settings, FAMILY))
    assert (link, "has no signature" in problem) == ("models/logistic", True)
    with pytest.raises(NethicalError, match="has no signature"):
        load_detector(workspace.registry, lineage.model, load_family(FAMILY))


def test_a_changed_card_breaks_its_link(settings: Settings) -> None:
    (card,) = (settings.home / "models" / "metadata").glob("*_card.json")
    card.write_bytes(card.read_bytes().replace(b'"accuracy"', b'"Accuracy"'))
    link, problem = broken(trace_model(settings, FAMILY))
    assert (link, "not the one that was issued" in problem) == ("card/logistic", True)


def test_a_pointer_that_no_decision_moved_is_refused(settings: Settings) -> None:
    """A candidate's pointer file moved to the champion's place by hand."""
    current = settings.home / "models" / "current" / f"{FAMILY}.json"
    pointer = json.loads(current.read_bytes())
    pointer["evaluation"] = "sha256:" + "1" * 64
    current.write_text(json.dumps(pointer))
    assert broken(trace_model(settings, FAMILY))[0] == "releases/logistic"


@pytest.mark.parametrize("name", ["version", "decided_at", "thresholds"])
def test_a_field_of_the_champion_s_pointer_that_was_edited_breaks_its_link(settings: Settings, name: str) -> None:
    current = settings.home / "models" / "current" / f"{FAMILY}.json"
    pointer = json.loads(current.read_bytes())
    edits = {"version": "9.9.9", "decided_at": "2031-01-01T00:00:00+00:00", "thresholds": f"sha256:{'3' * 64}"}
    pointer[name] = edits[name]
    current.write_text(json.dumps(pointer))
    (link,) = [
        link for link in trace_model(settings, FAMILY).links if (link.stage, link.name) == ("pointer", "current")
    ]
    assert link.status == "broken"
    assert any(f"{name} is not what was decided" in problem for problem in link.problems)
    assert any(name in each for each in verify(settings)["problems"])


def test_a_champion_that_was_replaced_since_is_none_for_lineage_verify_and_score(
    settings: Settings, workspace: Workspace
) -> None:
    """Its pointer was put back by hand: it was promoted once, and is not what the log promoted last."""
    before = trace_model(settings, FAMILY)
    assert before.broken is None
    workspace.record_event(
        EventType.MODEL_PROMOTED, {f"models/{FAMILY}": f"sha256:{'1' * 64}"}, parents=[f"sha256:{'2' * 64}"]
    )
    finalize_run(workspace)
    link, problem = broken(trace_model(settings, FAMILY))
    assert (link, "no newest promotion" in problem) == ("pointer/current", True)
    assert any("no newest promotion" in each for each in verify(settings)["problems"])
    with pytest.raises(IntegrityError, match="no newest promotion"):
        workspace.evidence.champion(FAMILY)


def test_a_changed_log_proves_nothing(settings: Settings) -> None:
    checkpoint = settings.home / "audit" / "checkpoint"
    lines = checkpoint.read_text().split("\n")
    lines[2] = base64.b64encode(b"\0" * 32).decode()
    checkpoint.write_text("\n".join(lines))
    lineage = trace_model(settings, FAMILY)
    assert lineage.broken is not None
    assert all(link.status != "verified" for link in lineage.links), "keys that an unproven log pins prove nothing"


def test_only_the_given_key_is_trusted(settings: Settings, tmp_path: Path) -> None:
    (published,) = (settings.home / "models" / "keys").glob("*.pub.pem")
    assert trace_model(settings, FAMILY, published).broken is None
    _ = ModelKeys(tmp_path / "other", GivenPins(), environment={}).private
    (other,) = (tmp_path / "other").glob("*.pub.pem")
    assert "is not trusted" in broken(trace_model(settings, FAMILY, other))[1]


def test_a_model_is_reproduced_byte_by_byte(settings: Settings) -> None:
    pointer, outcome = reproduce_model(settings, FAMILY)
    assert outcome.same
    assert outcome.retrained == pointer.model
    assert outcome.differences == ()


def test_what_differs_in_a_reproduction_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "library_versions", lambda: {"numpy": "0.0"})
    monkeypatch.setattr(lineage, "code_digest", lambda workspace, stage, family: "sha256:" + "2" * 64)
    _, outcome = reproduce_model(settings, FAMILY)
    assert not outcome.same
    assert any(line.startswith("library numpy: ") and line.endswith('-> "0.0"') for line in outcome.causes)
    assert any(line.startswith("training code: ") for line in outcome.causes)
    assert outcome.largest_probability_difference == 0.0


def test_models_are_found_by_family_digest_and_prefix(settings: Settings, workspace: Workspace) -> None:
    champion = workspace.registry.champion(FAMILY)
    assert champion is not None
    for wanted in (FAMILY, champion.model, champion.model.removeprefix("sha256:")[:6]):
        assert find_model(workspace, wanted) == (champion, "current")
    for wanted in ("sha256:abc", "no-family", "f" * 64):
        with pytest.raises(UnknownModelError, match="nethical models list"):
            find_model(workspace, wanted)


def test_the_commands_answer_with_one_document_and_an_exit_code(settings: Settings) -> None:
    runner = CliRunner()
    good = runner.invoke(app, ["lineage", FAMILY, "--json"])
    assert good.exit_code == 0
    assert json.loads(good.stdout)["ok"] is True
    again = runner.invoke(app, ["reproduce", FAMILY, "--json"])
    assert (again.exit_code, json.loads(again.stdout)["same"]) == (0, True)
    assert "All 9 links verify." in runner.invoke(app, ["lineage", FAMILY]).stdout
    shutil.rmtree(settings.home / "data" / "provenance" / "releases")
    bad = runner.invoke(app, ["lineage", FAMILY, "--json"])
    assert (bad.exit_code, json.loads(bad.stdout)["broken"]) == (1, "releases/logistic")
    assert "The first broken link is releases/logistic: " in runner.invoke(app, ["lineage", FAMILY]).stdout
