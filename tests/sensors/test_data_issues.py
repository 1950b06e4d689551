"""A dataset that breaks becomes one issue for the stewards, which closes by itself when the next validation passes."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np

from nethical_assets.core.alerts import LocalIssueTracker
from nethical_assets.home.settings import load_settings
from nethical_assets.orchestration.instance import open_instance
from nethical_assets.sensors.alerts import file_results
from tests.assets.assets_graph import materialize
from tests.tiny_mirror import connections, write_connections


def test_a_broken_dataset_is_one_issue_until_it_is_repaired(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    good = connections(400, np.random.default_rng(2))
    settings = load_settings({**environment, "NETHICAL_DATA_MIRROR": str(write_connections(folder, good).parents[2])})
    tracker = LocalIssueTracker(settings.home / "alerts" / "issues.sqlite")

    with open_instance(settings) as instance:

        def validate() -> tuple[int, int]:
            graph = materialize(settings, instance, keys=[dg.AssetKey(["raw", "nslkdd"])])
            assert set(graph.failures()) <= {"check__raw__nslkdd"}
            recorded = file_results(instance, tracker)
            return recorded.filed, recorded.closed

        assert validate() == (0, 0)
        write_connections(folder, good.assign(duration=None))
        assert validate()[0] >= 1
        validate()
        issues = {issue.check: issue for issue in tracker.list(state="open")}
        gaps = issues["missing_values"]
        assert (gaps.subject, gaps.occurrences) == ("raw/nslkdd", 2)
        assert {"ml-ops", "data-quality", "needs-attention"} <= set(gaps.labels)

        write_connections(folder, good)
        filed, closed = validate()
    assert closed >= 1
    assert tracker.show(gaps.number).state == "closed"
    assert [issue.check for issue in tracker.list(state="open")] == []
    assert filed == 0
