"""What follows from the declarations: the order, the chain, the docs, and what a model depends on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nethical_assets.core.detectors.registry import family_module
from nethical_assets.core.ground.code import CodeGraph
from nethical_assets.home import workspace as workspaces
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.graph import FAMILY_CYCLE, STAGES, chain_shape, dependencies_digest, stage_table
from nethical_assets.stages.stage import Stage, code_digest, earlier_stages
from tests.fake_stages import open_workspace

CHECKOUT = Path(__file__).resolve().parents[2]
FAMILY = "logistic"


def test_the_docs_show_the_graph_as_it_is_declared() -> None:
    assert stage_table() in (CHECKOUT / "docs" / "graph.md").read_text()


def test_every_stage_comes_after_what_it_needs_and_has_a_name_of_its_own() -> None:
    names = [stage.name for stage in STAGES]
    assert len(set(names)) == len(names)
    for number, stage in enumerate(STAGES):
        assert {*stage.needs, *stage.follows} <= set(STAGES[:number]), stage


def test_a_cycle_carries_the_stages_of_a_family_out_in_their_order() -> None:
    assert [stage.name for stage in FAMILY_CYCLE] == [
        "datasets", "screened", "quarantine", "splits", "models", "evaluations", "releases", "model_cards"
    ]  # fmt: skip
    for number, stage in enumerate(FAMILY_CYCLE):
        assert {needed for needed in stage.needs if needed.scope == "family"} <= set(FAMILY_CYCLE[:number]), stage


def test_the_chain_leads_from_raw_data_to_the_release() -> None:
    shape = chain_shape()
    assert shape.previous == {
        "raw": (),
        "datasets": ("raw",),
        "screened": ("datasets",),
        "splits": ("screened",),
        "models": ("splits",),
        "evaluations": ("splits", "models"),
        "releases": ("splits", "models", "evaluations"),
    }
    assert {shape.raw, shape.datasets, shape.splits, shape.models, shape.releases} <= set(shape.previous)
    assert set(shape.on_card.values()) <= set(shape.previous)


def test_every_stage_of_the_chain_is_reached_from_the_release() -> None:
    shape, reached, waiting = chain_shape(), set(), [chain_shape().releases]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += shape.previous[name]
    assert reached == set(shape.previous)


def test_earlier_stages_are_in_an_order_in_which_they_can_be_carried_out() -> None:
    for stage in STAGES:
        done: list[Stage] = []
        for earlier in earlier_stages(stage):
            assert set(earlier.needs) <= set(done), (stage, earlier)
            done.append(earlier)
        assert set(stage.needs) <= set(done)
        assert len(set(done)) == len(done)


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return open_workspace(settings)


def with_file(settings: Settings, section: str, **changes: object) -> Settings:
    """``settings`` with other values in one section of its file."""
    part = getattr(settings.file, section).model_copy(update=changes)
    return replace(settings, file=settings.file.model_copy(update={section: part}))


def with_entry(settings: Settings, name: str, **changes: object) -> Settings:
    entries = tuple(e.model_copy(update=changes) if e.name == name else e for e in settings.catalog.dataset)
    return replace(settings, catalog=settings.catalog.model_copy(update={"dataset": entries}))


def with_rule(settings: Settings, folder: Path) -> Settings:
    rules = Path(shutil.copytree(settings.screening_rules, folder / "rules"))
    victim = next(path for path in sorted(rules.glob("*.toml")) if "[[" in path.read_text())
    victim.write_text(victim.read_text().replace("description = ", "description = 'Changed. ' # ", 1))
    assert victim.read_bytes() != (settings.screening_rules / victim.name).read_bytes()
    return replace(settings, screening_rules=rules)


SETTINGS: dict[str, tuple[Callable[[Settings], Settings], bool]] = {
    "own catalog entry": (lambda s: with_entry(s, "nslkdd", group_column="x"), True),
    "what its catalog entry tells people": (
        lambda s: with_entry(s, "nslkdd", title="Another", licence="Unknown", notes="changed"),
        False,
    ),
    "another family's catalog entry": (lambda s: with_entry(s, "hdfs", group_column="x"), False),
    "train ratio": (lambda s: with_file(s, "training", train_ratio=0.5), True),
    "seed": (lambda s: with_file(s, "training", seed=7), True),
    "synthetic samples": (lambda s: with_file(s, "training", synthetic_samples=777), True),
    "maximum rows": (lambda s: with_file(s, "datasets", maximum_rows=777), True),
    "bootstrap samples": (lambda s: with_file(s, "training", bootstrap_samples=77), False),
    "limits of the gate": (lambda s: with_file(s, "performance_thresholds", accuracy_min=0.99), False),
    "monitoring": (lambda s: with_file(s, "monitoring", drift_window_hours=77), False),
    "retention": (lambda s: with_file(s, "model_retention", candidates="77d"), False),
    "minimum samples of a check": (lambda s: with_file(s, "datasets", minimum_samples=77), False),
    "the mirror folder": (lambda s: replace(s, mirror=Path("elsewhere")), False),
}


@pytest.mark.parametrize("change", SETTINGS)
def test_a_model_depends_on_what_it_is_made_from(change: str, workspace: Workspace) -> None:
    make, counts = SETTINGS[change]
    changed = make(workspace.settings)
    assert changed != workspace.settings
    before, after = (dependencies_digest(w, FAMILY) for w in (workspace, open_workspace(changed)))
    assert (before != after) == counts


def test_a_model_depends_on_the_screening_rules(workspace: Workspace, tmp_path: Path) -> None:
    changed = open_workspace(with_rule(workspace.settings, tmp_path))
    assert dependencies_digest(workspace, FAMILY) != dependencies_digest(changed, FAMILY)


class ChangedCode(CodeGraph):
    """The code as it is, but for one module."""

    def __init__(self, module: str) -> None:
        super().__init__()
        assert module in self._graph.modules
        self._sources[module] = "sha256:changed"


CODE = {
    family_module(FAMILY): {FAMILY},
    family_module("anomaly"): {"anomaly"},
    "nethical_assets.core.detectors.calibration": {FAMILY, "anomaly"},
    "nethical_assets.stages.stage": {FAMILY, "anomaly"},
    "nethical_assets.stages.canonical": {FAMILY, "anomaly"},
    "nethical_assets.stages.screening": {FAMILY, "anomaly"},
    "nethical_assets.stages.splitting": {FAMILY, "anomaly"},
    "nethical_assets.stages.training": {FAMILY, "anomaly"},
    "nethical_assets.core.datasets.splits": {FAMILY, "anomaly"},
    "nethical_assets.core.sources.kaggle_client": set(),
    "nethical_assets.core.sources.kaggle_source": set(),
    "nethical_assets.stages.fetching": set(),
    "nethical_assets.stages.evaluating": set(),
    "nethical_assets.stages.releasing": set(),
    "nethical_assets.stages.carding": set(),
    "nethical_assets.core.evaluation.metrics": set(),
    "nethical_assets.core.cards.html": set(),
    "nethical_assets.core.alerts.local": set(),
    "nethical_assets.core.drift.verdict": set(),
    "nethical_assets.operations.verification": set(),
    "nethical_assets.command_line.app": set(),
}


@pytest.mark.parametrize("module", CODE)
def test_a_model_depends_on_the_code_that_makes_it_and_on_no_other(
    module: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    families = (FAMILY, "anomaly")
    before = {family: dependencies_digest(workspace, family) for family in families}
    changed = ChangedCode(module)
    monkeypatch.setattr(workspaces, "loaded_code", lambda: changed)
    after = {family: dependencies_digest(workspace, family) for family in families}
    assert {family for family in families if before[family] != after[family]} == CODE[module]


@pytest.mark.slow
def test_the_code_of_a_stage_does_not_depend_on_which_stages_a_process_imported(workspace: Workspace) -> None:
    """Stages leave the modules of other stages out: those that a stage reaches are always imported with it."""
    for stage in STAGES:
        module = stage.run.__module__
        code = (
            "import importlib, sys\n"
            "from nethical_assets.core.ground.code import loaded_code\n"
            "from nethical_assets.stages.stage import Stage, code_digest\n"
            f"module = importlib.import_module({module!r})\n"
            "class Workspace:\n"
            "    def code_digest(self, *roots, family=None, without=frozenset()):\n"
            "        return loaded_code().digest(*roots, without=without)\n"
            f"(stage,) = [s for s in vars(module).values() if isinstance(s, Stage) and s.name == {stage.name!r}]\n"
            "from dataclasses import replace\n"
            "print(code_digest(Workspace(), replace(stage, of_family=False), ''))\n"
        )
        alone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
        assert alone.stdout.strip() == code_digest(workspace, replace(stage, of_family=False), ""), stage
