"""Every family's part of the graph on real Dagster: what is materialized, recorded, reused and shown."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from nethical_assets.assets.factory import enter_events
from nethical_assets.assets.selections import family_assets
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations.verification import verify
from tests.assets.assets_graph import materialize
from tests.sweeping import cases

STAGES = ("datasets", "screened", "splits", "models", "evaluations", "releases", "model_cards")


def record_of(settings: Settings, stage: str, subject: str) -> StageRecord:
    return Workspace(settings, CycleOptions(), "test").records.load(stage, subject, "")


@pytest.mark.parametrize("family", family_names())
def test_a_family_runs_from_real_files_to_a_decision_and_its_card(
    family: str, mirrored: Settings, instance: dg.DagsterInstance
) -> None:
    graph = materialize(mirrored, instance, family)

    assert graph.failures() == {}
    assert graph.success
    assert graph.materialized() == {key.to_user_string() for key in family_assets(mirrored, family)}
    assert graph.metadata("datasets", family)["source"] == "mirror"
    assert graph.metadata("datasets", family)["synthetic"] is False
    assert graph.metadata("releases", family)["verdict"] in ("promoted", "candidate")
    assert verify(mirrored)["problems"] == []
    for stage in STAGES:
        event = instance.get_latest_data_version_record(dg.AssetKey([stage, family]))
        assert event is not None
        version = dg.AssetMaterialization(dg.AssetKey([stage, family]), tags=event.asset_materialization.tags).tags
        assert version is not None
        assert version["dagster/data_version"] == record_of(mirrored, stage, family).output


def event_types(settings: Settings) -> list[str]:
    return [one.event.type for one in LogReader(settings.home / "audit").scan()]


def test_assets_materialized_without_the_audit_root_leave_nothing_that_looks_interrupted(
    mirrored: Settings, instance: dg.DagsterInstance
) -> None:
    """As a person selects them in the UI: one asset, then some more with their checks, then checks alone."""
    of_family = family_assets(mirrored, "logistic")
    for keys in (of_family[:1], of_family[:-1], [dg.AssetKey(["drift_reports", "logistic"])]):
        graph = materialize(mirrored, instance, keys=keys)
        assert (graph.success, graph.failures()) == (True, {})
        assert list(LogReader(mirrored.home / "audit").pending_runs()) == []
        assert verify(mirrored)["problems"] == []
    assert materialize(mirrored, instance, "logistic").success
    types = event_types(mirrored)
    assert "provenance_issued" in types
    assert "run_interrupted" not in types
    assert types.count("run_completed") == 1


ROOTS, DATASET = dg.AssetKey("audit_roots"), dg.AssetKey(["datasets", "logistic"])


def test_a_step_behind_the_audit_root_enters_its_events_too(mirrored: Settings, instance: dg.DagsterInstance) -> None:
    """A selection in which nothing makes the audit root the last one."""
    keys = family_assets(mirrored, "logistic")
    assert materialize(mirrored, instance, keys=keys[:-1]).success
    graph = materialize(mirrored, instance, keys=[ROOTS, *keys[:3]], force=True)
    assert graph.success
    assert list(LogReader(mirrored.home / "audit").pending_runs()) == []
    workspace = Workspace(mirrored, CycleOptions(), "another-run")
    run = dg.DagsterRun("training_cycle", workspace.run_id, step_keys_to_execute=["audit_roots", "splits__logistic"])
    workspace.record_event("data_validated", {})
    workspace.seal()
    workspace.record_event("data_validated", {})
    enter_events(run, instance, workspace)
    assert list(LogReader(mirrored.home / "audit").pending_runs()) == []
    workspace.end()


@pytest.mark.parametrize(
    ("selected", "steps", "entered"),
    [
        (None, None, False),
        (None, {"audit_roots", "splits__logistic"}, False),
        (None, {"splits__logistic"}, True),
        ({DATASET, ROOTS}, None, False),
        ({DATASET, ROOTS}, {"datasets__logistic"}, True),
        ({DATASET, dg.AssetKey("dataset_validation")}, None, False),
        ({DATASET}, None, True),
        (frozenset(), {"datasets__logistic", "audit_roots"}, False),
        (frozenset(), None, True),
    ],
)
def test_a_step_enters_its_events_where_no_later_step_of_its_run_does(
    selected: set[dg.AssetKey] | None,
    steps: set[str] | None,
    entered: bool,
    settings: Settings,
    instance: dg.DagsterInstance,
) -> None:
    workspace = Workspace(settings, CycleOptions(), "a-run")
    run = dg.DagsterRun(
        "training_cycle", workspace.run_id, asset_selection=selected, step_keys_to_execute=steps and sorted(steps)
    )
    enter_events(run, instance, workspace)  # nothing was recorded: nothing to enter
    workspace.record_event("data_validated", {})
    enter_events(run, instance, workspace)
    reader = LogReader(settings.home / "audit")
    assert list(reader.pending_runs()) == ([] if entered else ["a-run"])
    assert len(reader.view().run_chunks("a-run")) == int(entered)
    workspace.end()


@pytest.mark.parametrize("family", cases(*family_names()[::2], more=family_names()[1::2]))
def test_without_any_source_synthetic_data_stands_in_and_says_so(
    family: str, settings: Settings, instance: dg.DagsterInstance
) -> None:
    graph = materialize(settings, instance, family, samples=700)

    assert graph.failures() == {}
    dataset = graph.metadata("datasets", family)
    assert (dataset["source"], dataset["synthetic"]) == ("synthetic", True)
    available = graph.checks("datasets", family)["available"]
    assert not available.passed
    assert "synthetic" in str(available.description)
    assert "ynthetic" in str(graph.metadata("model_cards", family)["card"])


def test_nothing_is_computed_twice_and_force_trains_again(mirrored: Settings, instance: dg.DagsterInstance) -> None:
    first = materialize(mirrored, instance, "logistic")
    head = verify(mirrored)["size"]
    second = materialize(mirrored, instance, "logistic")
    for stage in STAGES:
        key = (stage, "logistic") if stage != "screened" else ("screen", "logistic")
        if stage != "screened":
            assert first.metadata(*key)["reused"] is False, stage
            assert second.metadata(*key)["reused"] is True, stage
    assert second.metadata("raw", "nslkdd")["status"] == "unchanged"
    assert second.metadata("releases", "logistic")["verdict"] == "unchanged"
    assert second.metadata("releases", "logistic")["model"] == first.metadata("releases", "logistic")["model"]
    assert second.metadata("model_cards", "logistic")["digest"] == first.metadata("model_cards", "logistic")["digest"]
    # Nothing happened but that it was looked at again: statements that say "unchanged", and the end of the run.
    events = [found.event for found in LogReader(mirrored.home / "audit").find_events(run_id=second.result.run_id)]
    assert [event.type for event in (events[0], *events[-2:])] == ["run_started", "run_completed", "chunk_final"]
    assert {event.type for event in events[1:-2]} == {"data_confirmed", "provenance_issued"}
    attested = [event for event in events[1:-2] if event.type == "provenance_issued"]
    said = {event.subjects[0].name.split("/")[1] for event in attested}
    assert said == {"raw", "releases", "model_cards"}
    assert verify(mirrored)["size"] == head + len(events)
    # A third time only the source confirms its data: that, its start and its end, twice (event and chunk), are all.
    third = materialize(mirrored, instance, "logistic")
    events = [found.event for found in LogReader(mirrored.home / "audit").find_events(run_id=third.result.run_id)]
    assert {event.type for event in events[1:-2]} == {"data_confirmed"}
    assert [event.type for event in (events[0], *events[-2:])] == ["run_started", "run_completed", "chunk_final"]

    forced = materialize(mirrored, instance, "logistic", force=True)
    assert forced.metadata("models", "logistic")["reused"] is False
    # The same rows, code and seed give the same bytes, so it is the same model, and nothing is decided again.
    assert forced.metadata("releases", "logistic")["verdict"] == "unchanged"
    assert "needs new labelled data" in str(forced.metadata("releases", "logistic")["reasons"])
    assert forced.metadata("models", "logistic")["model"] == first.metadata("models", "logistic")["model"]
    assert verify(mirrored)["problems"] == []


def test_every_asset_shows_what_a_steward_looks_for(mirrored: Settings, instance: dg.DagsterInstance) -> None:
    graph = materialize(mirrored, instance, "heuristic")

    for key in (("raw", "nslkdd"), ("datasets", "heuristic"), ("splits", "heuristic")):
        shown = graph.typed_metadata(*key)
        assert isinstance(shown["dagster/row_count"], dg.IntMetadataValue)
        assert shown["dagster/row_count"].value > 0
    for key in (("raw", "nslkdd"), ("datasets", "heuristic")):
        schema = graph.typed_metadata(*key)["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchemaMetadataValue)
        assert len(schema.schema.columns) > 5
    assert graph.metadata("raw", "nslkdd")["dagster/row_count"] == 900

    evaluation = graph.typed_metadata("evaluations", "heuristic")
    for metric in ("accuracy", "precision", "recall", "f1", "roc_auc", "brier", "ece"):
        assert isinstance(evaluation[metric], dg.FloatMetadataValue), metric
        assert 0.0 <= float(evaluation[metric].value or 0.0) <= 1.0
    for name in ("reliability_diagram", "confusion_matrix"):
        text = str(evaluation[name].value)
        assert isinstance(evaluation[name], dg.MarkdownMetadataValue)
        data = base64.b64decode(text.partition("base64,")[2].rstrip(")"), validate=True)
        assert len(data) <= 50 * 1024
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "PNG"
            # A picture of one colour would be an empty plot.
            assert len(np.unique(np.asarray(image.convert("L")))) > 2
    by_source = {row.data["source"]: row.data for row in evaluation["by_source"].value.records}
    assert by_source["cyber_attacks"]["measured_on"] == "never trained on"

    card = graph.typed_metadata("model_cards", "heuristic")
    assert isinstance(card["card"], dg.MarkdownMetadataValue)
    assert str(card["card"].value).startswith("# ")
    path = Path(str(card["path"].value))
    assert digest_bytes(path.read_bytes()) == graph.metadata("model_cards", "heuristic")["digest"]
    assert json.loads(path.read_text())["audit_merkle_root"] == card["audit_merkle_root"].value
    assert str(card["card"].value) == path.with_suffix(".md").read_text()


def test_one_run_for_one_family_leaves_the_others_alone(mirrored: Settings, instance: dg.DagsterInstance) -> None:
    graph = materialize(mirrored, instance, "logistic")
    assert not {key for key in graph.materialized() if key.endswith(("/heuristic", "/anomaly", "raw/hdfs"))}


def test_an_asset_whose_input_was_never_materialized_says_so(settings: Settings, instance: dg.DagsterInstance) -> None:
    graph = materialize(settings, instance, keys=[dg.AssetKey(["splits", "logistic"])])
    assert not graph.success


def test_drift_report_without_champion_is_on_hold_and_is_no_pass(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    graph = materialize(settings, instance, keys=[dg.AssetKey(["drift_reports", "logistic"])])
    check = graph.checks("drift_reports", "logistic")["drift"]
    assert graph.success
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert graph.metadata("drift_reports", "logistic")["verdict"] == "hold"
