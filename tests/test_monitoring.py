"""The rules and dashboards of ``deploy/monitoring``: what they are about exists, and every alert is tried both ways.

What belongs here: what can be told without Prometheus. What does not: whether a rule fires (``tests/e2e``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nethical_assets.operations.declared_metrics import METRICS
from nethical_assets.serving.metrics import GatewayMetrics

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDER = CHECKOUT / "deploy" / "monitoring"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
_METRIC = re.compile(r"(?<![\w:])((?:\w+:)?nethical_\w+(?::\w+)?|up)(?![\w(:])(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"(?:by|on|without|group_left|group_right) \(([\w, ]*)\)")
_OF_TARGETS = {"job", "instance"}
_WIDTH = 24


def rules() -> list[dict[str, Any]]:
    groups = [group for path in sorted((FOLDER / "rules").glob("*.yml")) for group in read(path)["groups"]]
    assert len({group["name"] for group in groups}) == len(groups)
    return [rule for group in groups for rule in group["rules"]]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def trials_of_rules() -> Iterator[dict[str, Any]]:
    for path in sorted((FOLDER / "tests").glob("*.yml")):
        yield from read(path)["tests"]


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            yield f"{path.stem}: {panel['title']}", panel


def expressions() -> dict[str, str]:
    """Every expression, by where it is."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    for where, panel in panels():
        found |= {f"{where} {target['refId']}": target["expr"] for target in panel.get("targets", ())}
    return found


def exported() -> dict[str, set[str]]:
    """Every series that the gateway, the pipeline, a scrape and the recording rules give, with its labels."""
    found: dict[str, set[str]] = {"up": set()}
    for metric in METRICS:
        found[f"{metric.name}_total" if metric.grows else metric.name] = set(metric.labels)
    for metric in GatewayMetrics().registry._names_to_collectors.values():
        names = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(metric._type, [""])
        labels = {*metric._labelnames, *(["le"] if metric._type == "histogram" else [])}
        found |= {f"{metric._name}{suffix}": labels for suffix in names}
    for rule in rules():
        if "record" in rule:
            found[rule["record"]] = {"job", "family", "route", "dataset"}
    return found


def named_in(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The series of an expression, each with the labels that it is selected by."""
    for name, selection in _METRIC.findall(expression):
        yield name, set(_LABEL.findall(selection))


def test_what_an_expression_names_is_read_out_of_it() -> None:
    found = dict(
        named_in('sum by (job) (rate(nethical_a_total{code=~"x|y", route="z"}[5m])) > job:nethical_b:ratio or up')
    )
    assert found == {"nethical_a_total": {"code", "route"}, "job:nethical_b:ratio": set(), "up": set()}


def test_every_metric_and_label_that_a_rule_or_panel_names_is_exported() -> None:
    there = exported()
    unknown, without = [], []
    for where, expression in expressions().items():
        series = dict(named_in(expression))
        assert series, where
        unknown += [f"{where}: {name}" for name in series if name not in there]
        for name, labels in series.items():
            without += [f"{where}: {name}: {one}" for one in labels - there.get(name, set()) - _OF_TARGETS]
        grouped = {one.strip() for group in _GROUPING.findall(expression) for one in group.split(",") if one.strip()}
        known = set().union(*(there.get(name, set()) for name in series)) | _OF_TARGETS
        without += [f"{where}: grouped by {one}" for one in grouped - known]
    assert (unknown, without) == ([], [])


def test_every_metric_that_is_exported_is_shown_or_watched() -> None:
    used = {name for expression in expressions().values() for name, _ in named_in(expression)}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}
    there = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported()}
    unshown = {
        "nethical_champion_info",
        "nethical_candidates",
        "nethical_training_timestamp_seconds",
        "nethical_family_dataset_synthetic",
        "nethical_screened_records",
        "nethical_predictions_screened",
        "nethical_collection_duration_seconds",
        "nethical_audit_event_timestamp_seconds",
    }
    assert there - shown == unshown, "for looking at by hand"


def test_every_alert_is_tried_where_it_fires_and_where_it_does_not() -> None:
    alerts = {rule["alert"]: rule for rule in rules() if "alert" in rule}
    fires, calm = set(), set()
    for test in trials_of_rules():
        for tried in test["alert_rule_test"]:
            (fires if tried["exp_alerts"] else calm).add(tried["alertname"])
    assert fires == calm == alerts.keys()
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in ("low", "medium", "high", "critical"), name
        assert set(rule["annotations"]) == {"summary", "description"}, name
    page = (CHECKOUT / "docs" / "monitoring.md").read_text()
    assert [name for name in alerts if f"`{name}`" not in page] == []


def test_the_page_describes_every_metric_of_the_pipeline() -> None:
    page = (CHECKOUT / "docs" / "monitoring.md").read_text()
    missing = []
    for metric in METRICS:
        name = metric.name.removeprefix("nethical_") + ("_total" if metric.grows else "")
        labels = f"{{{', '.join(metric.labels)}}}" if metric.labels else ""
        short = name.removeprefix("evaluation_")
        if f"`{name}{labels}`" not in page and f"`{short}`" not in page and "{store" not in labels:
            missing.append(f"{name}{labels}")
    assert missing == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_imported(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == path.stem and dashboard["schemaVersion"] >= 39 and "id" not in dashboard
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= _WIDTH and not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}" and target["refId"]
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables.keys(), panel["title"]
            legends = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            there = set().union(*(exported()[name] for name, _ in named_in(target["expr"]))) | _OF_TARGETS
            assert legends <= there, panel["title"]


def test_the_scrape_configuration_names_the_jobs_that_rules_watch() -> None:
    jobs = {one["job_name"] for one in read(FOLDER / "prometheus.yml")["scrape_configs"]}
    watched = {job for rule in rules() for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert watched <= jobs == {"nethical-gateway", "nethical-pipeline"}
