"""Cohorts of traffic: the same counts as by hand, whatever batches the rows are in."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nethical_assets.core.drift.segments import LoggedRow
from nethical_assets.core.evaluation import cohort_traffic as module
from nethical_assets.core.evaluation.cohort_comparisons import compare_cohorts
from nethical_assets.core.evaluation.cohort_traffic import TrafficCounts, count_traffic, slot_effect
from nethical_assets.core.evaluation.cohorts import MAXIMUM_COHORTS, OTHER, TIERS, UNNAMED, figures_of
from nethical_assets.core.ground.errors import IntegrityError
from tests.core.drift.logged import MODEL, NOON, NOON_NS, SECOND, scored, told
from tests.core.drift.logged import OTHER as OTHER_MODEL
from tests.core.drift.test_feedback import Logs

HOURS = 6
START = NOON - timedelta(hours=24)
END = NOON + timedelta(hours=24)


def severity(kind: str) -> Any:
    return {"EMAIL": "medium", "SECRET": "critical"}[kind]


def rows_of(seed: int, count: int = 400) -> list[LoggedRow]:
    """Rows of two days, three routes and two models, some with findings."""
    generator = np.random.default_rng(seed)
    found: list[dict[str, int]] = [{}, {}, {"EMAIL": 2}, {"EMAIL": 1, "SECRET": 1}]
    return [
        scored(
            number,
            at_ns=NOON_NS + int(generator.integers(-3, 4) * 21_600 + generator.integers(-1800, 1800)) * SECOND,
            route=str(generator.choice(["v1", "v2", "score"])),
            model=MODEL if generator.random() < 0.9 else OTHER_MODEL,
            label=int(generator.random() < 0.4),
            probability=float(generator.random()),
            findings=found[generator.integers(len(found))],
        )
        for number in range(count)
    ]


def counted(logs: Logs, since: Any = START, until: Any = END) -> TrafficCounts | None:
    return count_traffic(logs.log, logs.feedback, "logistic", MODEL, since, until, hours=HOURS)


@pytest.mark.parametrize("batches", [1, 3])
def test_counts_are_those_by_hand(tmp_path: Path, batches: int) -> None:
    rows, generator = rows_of(1), np.random.default_rng(2)
    logs = Logs(tmp_path)
    for part in range(batches):
        logs.add(*rows[part::batches])
    truth = {row.request_id: int(generator.random() < 0.5) for row in rows if generator.random() < 0.3}
    logs.add(*(told(int(name.partition("-")[2]), label) for name, label in truth.items()))
    traffic = counted(logs)
    assert traffic is not None
    own = [row for row in rows if row.model == MODEL]
    assert traffic.rows == len(own)
    assert traffic.labelled == sum(row.request_id in truth for row in own)
    cohorts = {one.name: one for one in traffic.by_route(severity)}
    assert sorted(cohorts) == ["score", "v1", "v2"]
    for name, cohort in cohorts.items():
        of_route = [row for row in own if row.route == name]
        labelled = [(row.label, truth[row.request_id]) for row in of_route if row.request_id in truth]
        counts = cohort.counts
        assert counts.rows == len(of_route)
        assert counts.called_positive == sum(row.label for row in of_route)
        assert (counts.labelled, counts.labelled_positives) == (len(labelled), sum(label for _, label in labelled))
        assert counts.missed == labelled.count((0, 1))
        assert counts.false_alarms == labelled.count((1, 0))
        assert counts.flagged == sum(bool(row.findings) for row in of_route)
        expected = Counter(int(row.probability * 4) for row in of_route)
        assert counts.tiers == tuple(expected[tier] for tier in range(len(TIERS)))
        kinds = Counter(kind for row in of_route for kind in row.findings)
        assert {one.kind: one.count for one in cohort.violations} == {
            f"personal_data.{kind}": count for kind, count in kinds.items()
        }
        risk = figures_of("logistic", cohort).avg_risk_score
        assert risk == pytest.approx(np.mean([row.probability for row in of_route]))
        assert sum(cohort.by_time.values()) == counts.missed + counts.false_alarms + counts.flagged
    windows = traffic.by_window(severity)
    assert [one.at for one in windows] == [(START + n * timedelta(hours=6)).isoformat() for n in range(8)]
    assert sum(one.counts.rows for one in windows) == len(own)


def test_only_the_period_and_the_model_count(tmp_path: Path) -> None:
    rows = rows_of(3)
    logs = Logs(tmp_path)
    logs.add(*rows)
    since, until = NOON - timedelta(minutes=100), NOON + timedelta(hours=2)
    traffic = counted(logs, since, until)
    assert traffic is not None
    low, high = (int(moment.timestamp()) * SECOND for moment in (since, until))
    assert traffic.rows == sum(low <= row.at_ns < high and row.model == MODEL for row in rows)
    # Windows begin where those of the drift watch do, also where the period does not.
    assert [one.at[11:16] for one in traffic.by_window(severity)] == ["06:00", "12:00"]
    assert counted(logs, END, END + timedelta(hours=1)) is None


def test_without_feedback_no_request_id_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = Logs(tmp_path)
    logs.add(*rows_of(4, 50))
    asked, parts = [], logs.log.parts

    def reading(*given: Any, columns: Any = None) -> Any:
        asked.append(columns)
        return parts(*given, columns=columns)

    monkeypatch.setattr(logs.log, "parts", reading)
    traffic = counted(logs)
    assert traffic is not None
    assert traffic.labelled == 0
    assert asked == [["at", "label", "route", "probability", "findings"]]
    assert all(figures_of("f", one).accuracy.value is None for one in traffic.by_route(severity))
    logs.add(told(1, 1))
    assert counted(logs) is not None
    assert len(asked) == 3


def test_batches_of_older_versions_count_as_without_a_route(tmp_path: Path) -> None:
    import pandas as pd

    logs = Logs(tmp_path)
    values = np.array([0.1, 0.9, 0.6])
    logs.log.append("logistic", MODEL, values, values, pd.DataFrame({"x": values}), occasion="file", when=NOON)
    traffic = counted(logs)
    assert traffic is not None
    (cohort,) = traffic.by_route(severity)
    assert (cohort.name, cohort.counts.rows, cohort.counts.called_positive) == (UNNAMED, 3, 2)
    assert cohort.counts.tiers == (1, 0, 1, 1)


def test_many_routes_are_told_apart_up_to_a_number(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.add(*(scored(number, route=f"r{number % 300 if number > 600 else 0}") for number in range(1000)))
    traffic = counted(logs)
    assert traffic is not None
    cohorts = traffic.by_route(severity)
    assert len(cohorts) == MAXIMUM_COHORTS
    assert cohorts[-1].name == OTHER
    assert sum(one.counts.rows for one in cohorts) == 1000
    assert len(traffic.routes) <= 257


def test_a_damaged_batch_is_named(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.add(*rows_of(5, 20))
    (path, *_) = sorted((tmp_path / "inference" / "logistic").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=path.name):
        counted(logs)


def test_rows_that_follow_each_other_alike_count_as_fewer() -> None:
    generator = np.random.default_rng(7)
    sizes = [50] * 24

    def drawn() -> list[tuple[list[int], list[int]]]:
        return [(generator.binomial(50, rate, 24).tolist(), sizes) for rate in (0.1, 0.2, 0.3, 0.4)]

    # What differs between cohorts is no noise within them.
    assert 1.0 <= np.mean([slot_effect(drawn()) for _ in range(200)]) < 1.4
    bursts = np.where(np.arange(24) % 5 == 0, 50, 0).tolist()
    assert slot_effect([(bursts, sizes)] * 4) > 10
    few = [([40, 0], [50, 50])] * 7
    assert slot_effect(few) == slot_effect([]) == slot_effect([([0] * 24, sizes)]) == 1.0
    assert slot_effect([*few, *few, *few]) > 10


def test_traffic_that_wanders_raises_no_alarm() -> None:
    """Three routes and 28 windows of rates that wander about one mean with a correlation time of an hour."""
    generator = np.random.default_rng(9)
    slots, routes = 672, 3
    naive = 0
    for _ in range(10):
        wandering = np.zeros((routes, slots))
        for slot in range(1, slots):
            wandering[:, slot] = 0.78 * wandering[:, slot - 1] + generator.normal(0, 0.6, routes)
        rates = 1.0 / (1.0 + np.exp(1.0 - wandering))
        counts = np.zeros((routes, slots, module._WIDTH), dtype=np.int64)
        counts[:, :, module._ROWS] = counts[:, :, module._TIER] = 40
        counts[:, :, module._CALLED] = generator.binomial(40, rates)
        traffic = TrafficCounts(START, HOURS, tuple("abc"), counts, {})
        windows = traffic.by_window(severity)
        found = compare_cohorts({"route": traffic.by_route(severity), "time_window": windows})
        judged = {**found.spreads, **found.trends}
        assert {name for name, one in judged.items() if one.verdict == "fail"} == set()
        assert judged["route.called_positive"].p_value is not None
        assert judged["route.called_positive"].p_value > 1e-4
        bare = compare_cohorts({"time_window": [replace(one, effects={}) for one in windows]})
        naive += bare.spreads["time_window.called_positive"].verdict == "fail"
    # Without what slots show, noise would be told as drift.
    assert naive >= 5
