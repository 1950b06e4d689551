"""The mappings from raw records to signals and group quantities: known answers, slow reference, probes for leaks."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.detectors.families import correlation, heuristic
from nethical_assets.core.detectors.families.correlation.groups import GROUP_QUANTITIES, WINDOW_COLUMNS
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.history import earlier_within, seconds_since_previous
from nethical_assets.core.rows.signals import CONNECTION_COLUMNS, SIGNALS


def entry(mapping: str, **changes: object) -> DatasetEntry:
    label = {"column": "IncidentGrade", "positive": ["TruePositive"]}
    return DatasetEntry.model_validate(
        {
            "name": "toy",
            "slug": "owner/toy",
            "title": "Toy",
            "licence": "CC0-1.0",
            "kind": "records",
            "mapping": mapping,
            "files": [{"path": ["rows.csv"], "format": "csv", "label": label}],
            **changes,
        }
    )


def evidence(*rows: dict[str, object]) -> pd.DataFrame:
    """GUIDE evidence rows; what a row does not say is the value that stands for "none"."""
    default = {
        "OrgId": 1,
        "IncidentId": 1,
        "AlertId": 1,
        "Timestamp": "2024-06-01T00:00:00.000Z",
        "Category": "InitialAccess",
        "EntityType": "Ip",
        "EvidenceRole": "Related",
        "DetectorId": 5,
        "DeviceId": 98799,
        "IpAddress": 360606,
        "AccountSid": 441377,
        "AccountUpn": 673934,
        "Url": 160396,
        "MitreTechniques": None,
        "_label": 0,
    }
    frame = pd.DataFrame([{**default, **row} for row in rows])
    return frame.astype({"MitreTechniques": "object", "_label": "int8"})


def signals_of(raw: pd.DataFrame) -> pd.DataFrame:
    return heuristic.canonicalise(entry("incident_evidence"), raw)


def connection(**values: object) -> pd.DataFrame:
    quiet: dict[str, object] = dict.fromkeys({*CONNECTION_COLUMNS, *WINDOW_COLUMNS}, 0)
    quiet |= {"flag": "SF", "service": "http", "protocol_type": "tcp", "logged_in": 1, "dst_bytes": 5000}
    quiet |= {"same_srv_rate": 1.0, "dst_host_same_srv_rate": 1.0, "count": 1, "srv_count": 1}
    return pd.DataFrame([{**quiet, **values}])


def test_a_quiet_connection_is_hardly_risky() -> None:
    signals = heuristic.canonicalise(entry("connection_records"), connection())[list(SIGNALS)].iloc[0]
    assert signals["violation_count"] == 0 and signals["severity_max"] == 0
    assert signals["recency_score"] < 0.01 and signals["frequency_score"] == 0
    assert signals["context_risk"] == pytest.approx(0.05)


def test_a_half_open_flood_is_risky_in_every_signal() -> None:
    flood = connection(
        flag="S0", service="private", logged_in=0, dst_bytes=0, count=200, serror_rate=1.0, dst_host_serror_rate=1.0
    )
    signals = heuristic.canonicalise(entry("connection_records"), flood)[list(SIGNALS)].iloc[0]
    # Violated: flag, unanswered, exposed without login, recent errors, errors at the host: 5 / (5 + 3).
    assert signals["violation_count"] == pytest.approx(5 / 8)
    assert signals["severity_max"] == pytest.approx(0.8)
    assert signals["recency_score"] == pytest.approx(1.0)
    assert signals["frequency_score"] == pytest.approx(0.9)
    assert signals["context_risk"] == pytest.approx(1 - 0.2 * 0.7)


@pytest.mark.parametrize(
    ("values", "severity"),
    [
        ({"land": 1}, 1.0),
        ({"wrong_fragment": 3}, 0.9),
        ({"root_shell": 1}, 0.9),
        ({"num_compromised": 1}, 0.8),
        ({"num_failed_logins": 1}, 0.5),
        ({"hot": 4}, 0.5),
        ({"flag": "REJ"}, 0.5),
        ({"flag": "NEVER SEEN"}, 0.4),
        ({"flag": None}, 0.4),
    ],
)
def test_severity_is_that_of_the_worst_finding(values: dict[str, object], severity: float) -> None:
    signals = heuristic.canonicalise(entry("connection_records"), connection(**values))
    assert signals["severity_max"].iloc[0] == pytest.approx(severity)


def test_columns_named_like_signals_are_not_copied() -> None:
    decoy = dict.fromkeys((*SIGNALS, *GROUP_QUANTITIES), 0.123)
    for family, names in ((heuristic, SIGNALS), (correlation, GROUP_QUANTITIES)):
        plain = family.canonicalise(entry("connection_records"), connection())
        decoyed = family.canonicalise(entry("connection_records"), connection(**decoy))
        pd.testing.assert_frame_equal(plain[list(names)], decoyed[list(names)])


def test_an_incident_of_several_rows_is_one_row() -> None:
    raw = evidence(
        {"IncidentId": 7, "AlertId": 1, "Category": "Exfiltration", "EntityType": "Machine"},
        {"IncidentId": 9, "AlertId": 3, "Timestamp": "2024-06-02T00:00:00.000Z"},
        {
            "IncidentId": 7,
            "AlertId": 2,
            "Category": "Ransomware",
            "EntityType": "CloudLogonRequest",
            "LastVerdict": "Malicious",
        },
    )
    result = signals_of(raw)
    assert result["incident"].tolist() == ["1/7", "1/9"]
    first = result.iloc[0]
    assert first["violation_count"] == pytest.approx(1.25 / 3.25)  # one further alert, half of the rows flagged
    assert first["severity_max"] == 1.0
    assert first["context_risk"] == pytest.approx(0.9)
    assert first["recency_score"] == 0.0 and first["frequency_score"] == 0.0
    second = result.iloc[1]
    assert second["recency_score"] == pytest.approx(math.exp(-1))
    assert second["frequency_score"] == pytest.approx(1 / 11)


def test_incidents_of_two_organisations_with_the_same_number_stay_apart() -> None:
    result = signals_of(evidence({"OrgId": 1}, {"OrgId": 2}))
    assert result["incident"].tolist() == ["1/1", "2/1"]
    assert result["recency_score"].tolist() == [0.0, 0.0]


def test_an_incidents_label_is_its_grade() -> None:
    raw = evidence({"IncidentId": 1, "_label": 1}, {"IncidentId": 2}, {"IncidentId": 1, "_label": 1})
    assert signals_of(raw)["label"].tolist() == [1, 0]


def test_known_techniques_outweigh_the_category() -> None:
    raw = evidence({"MitreTechniques": "T1110;T1110.003"}, {"IncidentId": 2, "MitreTechniques": "T1133"})
    assert signals_of(raw)["severity_max"].tolist() == [0.9, 0.05]


def test_renaming_identifiers_changes_nothing() -> None:
    """Identifiers may say what belongs together, never more: any one-to-one renaming gives the same inputs."""
    generator = np.random.default_rng(5)
    rows = [
        {
            "OrgId": int(i % 5),
            "IncidentId": int(i),
            "AlertId": int(generator.integers(0, 40)),
            "DeviceId": int(generator.integers(0, 6)),
            "AccountUpn": int(generator.integers(0, 6)),
            "DetectorId": int(generator.integers(0, 9)),
            "Timestamp": f"2024-06-{1 + int(generator.integers(0, 25)):02d}T00:00:00.000Z",
        }
        for i in generator.integers(0, 40, 150)
    ]
    raw = evidence(*rows)
    renamed = raw.copy()
    for column in ("OrgId", "IncidentId", "AlertId", "DeviceId", "AccountUpn", "DetectorId"):
        renamed[column] = raw[column] * -7919 + 3
    for family, names in ((heuristic, SIGNALS), (correlation, GROUP_QUANTITIES)):
        before = family.canonicalise(entry("incident_evidence"), raw)[list(names)]
        pd.testing.assert_frame_equal(before, family.canonicalise(entry("incident_evidence"), renamed)[list(names)])


def slow_quantities(group: pd.DataFrame) -> list[float]:
    """The documented formulas of the correlation family for one incident, without any vectorisation."""
    absent = {"DeviceId": 98799, "IpAddress": 360606, "AccountSid": 441377, "AccountUpn": 673934, "Url": 160396}

    def distinct(column: str) -> int:
        return len({value for value in group[column] if value != absent.get(column)})

    def entropy(column: str) -> float:
        shares = [count / len(group) for count in group[column].value_counts()]
        return -sum(share * math.log2(share) for share in shares)

    times = pd.to_datetime(group["Timestamp"], utc=True)
    hours = max((times.max() - times.min()).total_seconds() / 3600, 1.0)
    size = len(group)
    agents = sum(distinct(column) for column in ("DeviceId", "AccountSid", "AccountUpn", "IpAddress"))
    together = (size - times.nunique()) / (size - 1) if size > 1 else 0.0
    alike = 1 - min(distinct("Url") / size, 1.0) if size > 1 else 0.0
    spread = [entropy(column) for column in ("Category", "EntityType", "DetectorId", "EvidenceRole")]
    return [max(agents, 1), size / hours, float(np.var(spread)), together, alike]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_group_quantities_of_incidents_with_many_rows(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = [
        {
            "OrgId": int(generator.integers(0, 2)),
            "IncidentId": int(generator.integers(0, 4)),
            "Category": str(generator.choice(["Impact", "Malware", "Execution"])),
            "EntityType": str(generator.choice(["Ip", "User"])),
            "EvidenceRole": str(generator.choice(["Related", "Impacted"])),
            "DetectorId": int(generator.integers(0, 3)),
            "DeviceId": int(generator.choice([98799, 1, 2])),
            "IpAddress": int(generator.choice([360606, 3, 4])),
            "Url": int(generator.choice([160396, 3, 4, 5])),
            "Timestamp": f"2024-06-01T{int(generator.integers(0, 24)):02d}:00:00.000Z",
        }
        for _ in range(int(generator.integers(1, 40)))
    ]
    raw = evidence(*rows)
    result = correlation.canonicalise(entry("incident_evidence"), raw).set_index("incident")
    groups = raw.groupby(["OrgId", "IncidentId"])
    assert len(result) == groups.ngroups
    for (organisation, incident), group in groups:
        found = result.loc[f"{organisation}/{incident}", list(GROUP_QUANTITIES)].to_numpy(dtype=float)
        np.testing.assert_allclose(found, slow_quantities(group), atol=1e-9)


def test_group_quantities_of_a_connection() -> None:
    raw = connection(
        count=10, srv_count=4, srv_diff_host_rate=0.5, dst_host_srv_count=20, dst_host_srv_diff_host_rate=0.1,
        dst_bytes=0, dst_host_same_src_port_rate=0.4,
    )  # fmt: skip
    result = correlation.canonicalise(entry("connection_records"), raw).iloc[0]
    assert result["agent_count"] == pytest.approx(1 + 2 + 2)
    assert result["action_rate"] == pytest.approx(5.0)
    assert result["payload_similarity"] == pytest.approx((1 + 1 + 0.4 + 1) / 4)
    both = np.array([0, 0, 0, 0, 1, 0, 0.5]), np.array([0, 0, 0, 0, 1, 0, 0.1])
    assert result["time_correlation"] == pytest.approx(np.corrcoef(*both)[0, 1])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=40),
    st.integers(1, 30),
)
def test_history_counts_strictly_earlier_events_of_the_group(events: list[tuple[int, int]], window: int) -> None:
    group = np.array([g for g, _ in events], dtype=np.int64)
    time = np.array([t for _, t in events], dtype=np.float64)
    counted = [sum(g == h and t - window <= s < t for h, s in events) for g, t in events]
    assert earlier_within(group, time, float(window)).tolist() == counted
    gaps = [min((t - s for h, s in events if h == g and s < t), default=math.inf) for g, t in events]
    assert seconds_since_previous(group, time).tolist() == gaps


@pytest.mark.parametrize("family", [heuristic, correlation])
def test_an_unknown_mapping_is_one_line_that_lists_the_known_ones(family: object) -> None:
    with pytest.raises(DatasetError, match=r"toy: mapping 'palm_reading' is unknown.*connection_records"):
        family.canonicalise(entry("palm_reading"), connection())  # type: ignore[attr-defined]


def test_points_of_the_heuristic_never_fall() -> None:
    spec = heuristic.SPEC
    frame = spec.synthesise(3000, np.random.default_rng(2))
    from nethical_assets.core.detectors.base import LabelledRows

    rows = LabelledRows(frame[list(SIGNALS)], frame["label"].to_numpy())
    detector = spec.fit(rows, rows, 1)
    base = pd.DataFrame(np.random.default_rng(3).random((200, 5)), columns=list(SIGNALS))
    for signal in SIGNALS:
        higher = base.assign(**{signal: base[signal] + (1 - base[signal]) / 2})
        assert (detector.score(higher) >= detector.score(base)).all()
