"""Made-up raw records in the layouts of the catalog, for tests: what a reader would hand over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.rows.catalog import Catalog, DatasetEntry, load_catalog
from nethical_assets.core.rows.signals import FLAG_SEVERITY

CHECKOUT = Path(__file__).resolve().parents[2]

RawMaker = Callable[[DatasetEntry, int, np.random.Generator], pd.DataFrame]


def catalog() -> Catalog:
    """The shipped catalog."""
    return load_catalog(CHECKOUT / "config" / "datasets.toml", family_names())


def connection_records(entry: DatasetEntry, rows: int, generator: np.random.Generator) -> pd.DataFrame:
    """NSL-KDD: counts, rates in [0, 1], and the attack name as label."""
    frame = pd.DataFrame(index=range(rows))
    for column in entry.files[0].columns:
        if column.endswith("_rate"):
            frame[column] = generator.random(rows).round(2)
        elif column == "protocol_type":
            frame[column] = generator.choice(["tcp", "udp", "icmp"], rows)
        elif column == "service":
            frame[column] = generator.choice(["http", "private", "eco_i", "unheard_of"], rows)
        elif column == "flag":
            frame[column] = generator.choice([*FLAG_SEVERITY, "ODD"], rows)
        elif column == "attack":
            frame[column] = generator.choice(["normal", "neptune"], rows)
        elif column.endswith("_bytes"):
            frame[column] = generator.integers(0, 100_000, rows) * generator.integers(0, 2, rows)
        elif column in ("logged_in", "land", "root_shell"):
            frame[column] = generator.integers(0, 2, rows)
        else:
            frame[column] = generator.integers(0, 256, rows)
    return frame.assign(_file="KDDTrain+.txt", _label=(frame["attack"] != "normal").astype("int8"))


def incident_evidence(entry: DatasetEntry, rows: int, generator: np.random.Generator) -> pd.DataFrame:
    """GUIDE: on average four evidence rows an incident, all of one grade."""
    incident = generator.integers(0, max(rows // 4, 1), rows)
    grade = np.array(["TruePositive", "BenignPositive", "FalsePositive"])[incident % 3]
    minute = generator.integers(0, 60 * 24 * 14, rows)
    frame = pd.DataFrame(
        {
            "Id": incident + 10**12,
            "OrgId": incident % 7,
            "IncidentId": incident,
            "AlertId": generator.integers(0, rows, rows),
            "Timestamp": pd.Series(pd.Timestamp("2024-06-01") + pd.to_timedelta(minute, unit="min")).dt.strftime(
                "%Y-%m-%dT%H:%M:%S.000Z"
            ),
            "DetectorId": generator.integers(0, 20, rows),
            "Category": generator.choice(["InitialAccess", "Exfiltration", "Ransomware", "New"], rows),
            "MitreTechniques": pd.Series(generator.choice(["T1078;T1078.004", "T1133", ""], rows)).replace("", None),
            "IncidentGrade": grade,
            "EntityType": generator.choice(["Ip", "User", "Machine", "Strange"], rows),
            "EvidenceRole": generator.choice(["Related", "Impacted"], rows),
            "DeviceId": generator.choice([98799, 1, 2, 3], rows),
            "IpAddress": generator.choice([360606, 10, 11, 12], rows),
            "AccountUpn": generator.choice([673934, 4, 5], rows),
            "Url": generator.choice([160396, 7, 8], rows),
            "LastVerdict": pd.Series(generator.choice(["Suspicious", ""], rows)).replace("", None),
            "CountryCode": generator.choice([242, 0, 1], rows),
        }
    )
    return frame.assign(_file="GUIDE_Train.csv", _label=(frame["IncidentGrade"] == "TruePositive").astype("int8"))


def attack_alerts(entry: DatasetEntry, rows: int, generator: np.random.Generator) -> pd.DataFrame:
    """Cyber security attacks: one alert a row, severity level as label."""
    hour = generator.integers(0, 24 * 60, rows)
    level = generator.choice(["High", "Medium", "Low"], rows)

    def raised(word: str) -> pd.Series:
        return pd.Series(generator.choice([word, ""], rows)).replace("", None)

    frame = pd.DataFrame(
        {
            "Timestamp": pd.Series(pd.Timestamp("2023-05-01") + pd.to_timedelta(hour, unit="h")).dt.strftime(
                "%Y-%m-%d %H:%M:%S"
            ),
            "Destination Port": generator.integers(1, 65_536, rows),
            "Protocol": generator.choice(["TCP", "UDP", "ICMP"], rows),
            "Packet Length": generator.integers(64, 1500, rows),
            "Traffic Type": generator.choice(["HTTP", "DNS"], rows),
            "Malware Indicators": raised("IoC Detected"),
            "Anomaly Scores": generator.random(rows) * 100,
            "Alerts/Warnings": raised("Alert Triggered"),
            "Severity Level": level,
            "Network Segment": generator.choice(["Segment A", "Segment B"], rows),
            "Proxy Information": raised("10.0.0.1"),
            "IDS/IPS Alerts": raised("Alert Data"),
        }
    )
    return frame.assign(_file="cybersecurity_attacks.csv", _label=(frame["Severity Level"] == "High").astype("int8"))


def prompts(entry: DatasetEntry, rows: int, generator: np.random.Generator) -> pd.DataFrame:
    """The prompt collection: two of its files, each with its own text column."""
    words = np.array(
        ["ignore", "all", "rules", "please", "summarise", "Ünïcode", "report", "\u0430ct", "as"], dtype=object
    )
    made = [" ".join(words[generator.integers(0, len(words), 6)]) for _ in range(rows)]
    half = rows // 2
    labelled = pd.DataFrame({"text": made[:half], "label": generator.integers(0, 2, half), "_file": "neuralchemy.csv"})
    wild = pd.DataFrame({"prompt": made[half:], "date": "2023-10-05", "_file": "jailbreak_prompts_2023_12_25.csv"})
    frame = pd.concat([labelled.assign(_label=labelled["label"]), wild.assign(_label=1)], ignore_index=True)
    return frame.assign(_label=frame["_label"].astype("int8"))


def event_lines(entry: DatasetEntry, rows: int, generator: np.random.Generator) -> pd.DataFrame:
    """HDFS: event numbers, one block a line, a file a class."""
    lines = [" ".join(map(str, generator.integers(1, 30, generator.integers(1, 20)))) + " " for _ in range(rows)]
    label = generator.integers(0, 2, rows).astype("int8")
    return pd.DataFrame({"line": lines, "_file": np.array(["normal.txt", "abnormal.txt"])[label], "_label": label})


def system_calls(entry: DatasetEntry, rows: int, generator: np.random.Generator) -> pd.DataFrame:
    """ADFA-LD: system call numbers."""
    frame = event_lines(entry, rows, generator)
    return pd.DataFrame(
        {
            "trace": "t",
            "label": frame["_label"],
            "attack_type": np.where(frame["_label"] == 1, "Adduser", "normal"),
            "syscalls": frame["line"],
            "_file": "adfa_ld_sequences.csv",
            "_label": frame["_label"],
        }
    )


RAW_MAKERS: dict[str, RawMaker] = {
    "nslkdd": connection_records,
    "guide": incident_evidence,
    "cyber_attacks": attack_alerts,
    "prompt_injection_collection": prompts,
    "hdfs": event_lines,
    "adfa_ld": system_calls,
}
