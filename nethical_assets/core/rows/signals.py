"""The five risk signals of the heuristic family, computed from raw records: one documented mapping a layout.

What belongs here: how ``violation_count``, ``severity_max``, ``recency_score``, ``frequency_score`` and
``context_risk`` (each in [0, 1], higher is riskier) follow from the columns of a layout; ``docs/families.md`` has the
same as a table. What does not: weighing them against each other (the family's own module).

A mapping reads neither the label nor the difficulty column nor anything an analyst decided afterwards, and uses a
column of the same name as a signal no differently from any other. ``history`` signals look at earlier records only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.columns import FloatArray
from nethical_assets.core.rows.frames import (
    MISSING,
    categories,
    numbers_or_zero,
    record_identity,
    require_columns,
    seconds,
    with_declared_columns,
)
from nethical_assets.core.rows.history import earlier_within, seconds_since_previous
from nethical_assets.core.rows.incidents import INCIDENT_COLUMNS, INCIDENT_FIELDS, group_incidents, incident_frame
from nethical_assets.core.rows.one_cell import Reads, category_of, number_of
from nethical_assets.core.rows.one_record import Inputs, RecordLayout, entry_fields

Numbers = npt.NDArray[Any]
SIGNALS = ("violation_count", "severity_max", "recency_score", "frequency_score", "context_risk")
DAY = 86_400.0

CONNECTION_COLUMNS = (
    *("protocol_type", "service", "flag", "src_bytes", "dst_bytes", "land", "wrong_fragment", "urgent", "hot"),
    *("num_failed_logins", "logged_in", "num_compromised", "root_shell", "su_attempted", "num_shells"),
    *("count", "srv_count", "serror_rate", "srv_serror_rate", "rerror_rate", "srv_rerror_rate", "same_srv_rate"),
    *("diff_srv_rate", "srv_diff_host_rate", "dst_host_count", "dst_host_srv_count", "dst_host_same_srv_rate"),
    *("dst_host_diff_srv_rate", "dst_host_same_src_port_rate", "dst_host_srv_diff_host_rate"),
    *("dst_host_serror_rate", "dst_host_srv_serror_rate", "dst_host_rerror_rate", "dst_host_srv_rerror_rate"),
)
ALERT_COLUMNS = (
    *("Timestamp", "Protocol", "Packet Length", "Traffic Type", "Malware Indicators", "Anomaly Scores"),
    *("Alerts/Warnings", "Network Segment", "Proxy Information", "IDS/IPS Alerts", "Destination Port"),
)
_FURTHER_ALERT_COLUMNS = (
    *("Source IP Address", "Destination IP Address", "Source Port", "Packet Type", "Payload Data", "Attack Type"),
    *("Attack Signature", "Action Taken", "User Information", "Device Information", "Geo-location Data"),
    *("Firewall Logs", "Log Source"),
)
"""What such alerts have beside them, and nobody reads."""

# How badly a connection ended (TCP state at the end, Bro/Zeek conn_state): normal close 0, never answered or torn 1.
FLAG_SEVERITY = {
    **{"SF": 0.0, "S1": 0.2, "S2": 0.3, "S3": 0.3, "OTH": 0.5, "REJ": 0.5, "RSTO": 0.6, "RSTR": 0.7},
    **{"S0": 0.8, "SH": 0.9, "RSTOS0": 0.9},
}
UNKNOWN_FLAG_SEVERITY = 0.4
# Services that ordinary clients rarely open themselves: raw ICMP, unregistered and diagnostic ports.
EXPOSED_SERVICES = {
    **{"private": 0.8, "eco_i": 0.9, "ecr_i": 0.9, "other": 0.6, "ftp_data": 0.3, "telnet": 0.5, "ftp": 0.4},
    **{"http": 0.05, "smtp": 0.05, "domain_u": 0.02, "urp_i": 0.1, "ntp_u": 0.1, "auth": 0.2, "IRC": 0.2, "X11": 0.2},
    **{"urh_i": 0.1, "tim_i": 0.4, "red_i": 0.2, "finger": 0.4, "pop_3": 0.4, "imap4": 0.7, "time": 0.5, "ssh": 0.6},
}
UNLISTED_SERVICE_EXPOSURE = 0.7

# How far an alert's category, by itself, points to a person attacking rather than to a product's routine notice (most
# Exfiltration alerts are data-loss policy matches). Set by hand, looking at training rows only.
CATEGORY_SEVERITY = {
    **{"Exfiltration": 0.1, "Discovery": 0.15, "UnwantedSoftware": 0.2, "Malware": 0.25, "DefenseEvasion": 0.25},
    **{"CommandAndControl": 0.3, "Execution": 0.25, "Collection": 0.3, "Persistence": 0.4, "Exploit": 0.4},
    **{"SuspiciousActivity": 0.45, "InitialAccess": 0.45, "Impact": 0.5, "PrivilegeEscalation": 0.6},
    **{"CredentialAccess": 0.6, "LateralMovement": 0.7, "CredentialStealing": 0.7, "Ransomware": 1.0},
}
UNKNOWN_CATEGORY_SEVERITY = 0.3
# MITRE ATT&CK techniques that say more than the category: taking over accounts against scanning and packing.
TECHNIQUE_SEVERITY = {"T1110": 0.9, "T1078": 0.8, "T1087": 0.15, "T1046": 0.1, "T1027": 0.1, "T1133": 0.05}
ENTITY_EXPOSURE = {
    **{"CloudLogonRequest": 0.9, "CloudLogonSession": 0.7, "Ip": 0.55, "User": 0.5, "Mailbox": 0.35, "Url": 0.35},
    **{"MailCluster": 0.3, "CloudApplication": 0.3, "Process": 0.2, "MailMessage": 0.2, "File": 0.1, "Machine": 0.1},
}
UNKNOWN_ENTITY_EXPOSURE = 0.2
NO_COUNTRY = "242"
THREAT_VERDICTS = ("Suspicious", "Malicious", "Incriminated")


@dataclass(frozen=True)
class SignalMapping:
    """A mapping of one layout.

    ``columns`` recognise the layout; ``compute`` gives the inputs with identity and declared columns; ``fields`` says
    what each column is read as; ``one`` gives the inputs of one record, None where it means nothing by itself.
    """

    columns: tuple[str, ...]
    compute: Callable[[DatasetEntry, pd.DataFrame], pd.DataFrame]
    fields: Mapping[str, Reads]
    one: Callable[[Mapping[str, Any]], Inputs] | None = None


def record_layouts(entries: Iterable[DatasetEntry], mappings: Mapping[str, SignalMapping]) -> list[RecordLayout]:
    """The layouts of the ``entries`` that name one of ``mappings``."""
    known = [(entry, mapping) for entry in entries if (mapping := mappings.get(entry.mapping or "")) is not None]
    return [
        RecordLayout(entry.name, mapping.columns, entry_fields(entry, mapping.fields), mapping.one)
        for entry, mapping in known
    ]


def looked_up(values: pd.Series, table: dict[str, float], default: float) -> FloatArray:
    """The number of each value in ``table``, ``default`` for those it does not list."""
    found = categories(values).map(table).fillna(default)
    return np.asarray(found, dtype=np.float64)


def saturate(values: Numbers, half: float) -> FloatArray:
    """``values`` >= 0 onto [0, 1): 0 at 0, one half at ``half``, rising."""
    positive = np.maximum(values.astype(np.float64), 0.0)
    return np.asarray(positive / (positive + half), dtype=np.float64)


def either(*risks: Numbers) -> FloatArray:
    """Noisy or: the chance that at least one of independent ``risks`` in [0, 1] comes true."""
    survival = np.ones(len(risks[0]))
    for risk in risks:
        survival = survival * (1.0 - np.clip(risk, 0.0, 1.0))
    return np.asarray(1.0 - survival, dtype=np.float64)


def _connection_records(entry: DatasetEntry, raw: pd.DataFrame) -> pd.DataFrame:
    """NSL-KDD: one row a connection; windows are the last two seconds and the last 100 connections to the host."""
    require_columns(raw, CONNECTION_COLUMNS, f"dataset {entry.name}")
    number = {column: numbers_or_zero(raw, column) for column in CONNECTION_COLUMNS[3:]}
    flag = looked_up(raw["flag"], FLAG_SEVERITY, UNKNOWN_FLAG_SEVERITY)
    exposure = looked_up(raw["service"], EXPOSED_SERVICES, UNLISTED_SERVICE_EXPOSURE)
    inputs = _connection_signals(number, flag, exposure)
    frame = pd.DataFrame(inputs, index=raw.index).assign(identity=record_identity(entry, raw))
    return with_declared_columns(entry, raw, frame)


def _one_connection(record: Mapping[str, Any]) -> dict[str, float]:
    """The signals of one record of NSL-KDD."""
    number = one_row_of_numbers(record, CONNECTION_COLUMNS[3:])
    flag = FLAG_SEVERITY.get(category_of(record["flag"]), UNKNOWN_FLAG_SEVERITY)
    exposure = EXPOSED_SERVICES.get(category_of(record["service"]), UNLISTED_SERVICE_EXPOSURE)
    signals = _connection_signals(number, np.array([flag]), np.array([exposure]))
    return {name: float(values[0]) for name, values in signals.items()}


def one_row_of_numbers(record: Mapping[str, Any], columns: Sequence[str]) -> dict[str, FloatArray]:
    """Each of ``columns`` as an array of one number, zero where it is missing or no finite number."""
    numbers = np.nan_to_num(np.array([[number_of(record[column])] for column in columns]), nan=0.0)
    return dict(zip(columns, numbers, strict=True))


def _connection_signals(
    number: Mapping[str, FloatArray], flag: FloatArray, exposure: FloatArray
) -> dict[str, FloatArray]:
    """The SIGNALS of connections: their numbers, how badly they ended, how exposed their service is."""
    recent_errors = np.maximum.reduce([number[f"{k}_rate"] for k in ("serror", "srv_serror", "rerror", "srv_rerror")])
    host_errors = np.maximum.reduce(
        [number[f"dst_host_{kind}_rate"] for kind in ("serror", "srv_serror", "rerror", "srv_rerror")]
    )
    unanswered = number["dst_bytes"] == 0
    anonymous = number["logged_in"] == 0
    rules: list[Any] = [
        flag > 0,
        number["wrong_fragment"] > 0,
        number["urgent"] > 0,
        number["land"] > 0,
        number["hot"] > 0,
        number["num_failed_logins"] > 0,
        number["num_compromised"] > 0,
        (number["root_shell"] > 0) | (number["su_attempted"] > 0) | (number["num_shells"] > 0),
        unanswered,
        anonymous & (exposure >= 0.5),
        recent_errors > 0.5,
        host_errors > 0.5,
        number["diff_srv_rate"] > 0.04,
        number["dst_host_same_src_port_rate"] > 0.5,
    ]
    severity = np.maximum.reduce(
        [
            flag,
            np.where(number["land"] > 0, 1.0, 0.0),
            np.where(number["wrong_fragment"] > 0, 0.9, 0.0),
            np.where(number["num_compromised"] > 0, 0.8, 0.0),
            np.where((number["root_shell"] > 0) | (number["su_attempted"] > 0), 0.9, 0.0),
            saturate(number["num_failed_logins"], 1.0),
            saturate(number["hot"], 4.0),
            np.where(unanswered, 0.6 * exposure, 0.0),
        ]
    )
    flood = saturate(number["count"] * np.where(unanswered, 1.0, 0.1), 60.0)
    sweep = number["srv_diff_host_rate"] * np.where(unanswered, 1.0, 0.2)
    return {
        "violation_count": saturate(np.sum(rules, axis=0), 3.0),
        "severity_max": severity,
        "recency_score": either(recent_errors, flood, 0.5 * sweep, number["diff_srv_rate"]),
        "frequency_score": either(
            0.9 * host_errors,
            number["dst_host_same_src_port_rate"] * np.where(unanswered, 0.9, 0.3),
            number["dst_host_srv_diff_host_rate"] * 0.7,
            saturate(number["dst_host_count"], 255.0) * np.where(anonymous, 0.5, 0.05),
        ),
        "context_risk": either(
            exposure,
            np.where(anonymous, 0.3, 0.0),
            0.5 * (1.0 - number["dst_host_same_srv_rate"]),
            0.5 * (1.0 - number["same_srv_rate"]),
        ),
    }


def _incident_evidence(entry: DatasetEntry, raw: pd.DataFrame) -> pd.DataFrame:
    """GUIDE: evidence rows become one row an incident, because the grade belongs to the incident."""
    incidents = group_incidents(entry, raw)
    table = incidents.raw

    severity = looked_up(table["Category"], CATEGORY_SEVERITY, UNKNOWN_CATEGORY_SEVERITY)
    if "MitreTechniques" in table:
        technique = looked_up(categories(table["MitreTechniques"]).str.slice(0, 5), TECHNIQUE_SEVERITY, np.nan)
        severity = np.where(np.isnan(technique), severity, technique)
    exposure = looked_up(table["EntityType"], ENTITY_EXPOSURE, UNKNOWN_ENTITY_EXPOSURE)
    flagged = np.zeros(len(table))
    for column in ("LastVerdict", "SuspicionLevel"):
        if column in table:
            flagged = np.maximum(flagged, categories(table[column]).isin(THREAT_VERDICTS).to_numpy())
    located = np.zeros(len(table))
    if "CountryCode" in table:
        located = np.where(categories(table["CountryCode"]).isin([MISSING, NO_COUNTRY]), 0.0, 1.0)
    alerts = incidents.distinct("AlertId") - 1.0
    inputs = {
        "violation_count": saturate(alerts + 0.5 * incidents.mean(flagged), 2.0),
        "severity_max": incidents.maximum(severity),
        "recency_score": np.exp(-incidents.seconds_since_previous() / DAY),
        "frequency_score": saturate(incidents.earlier_of_organisation(7 * DAY), 10.0),
        "context_risk": either(incidents.maximum(exposure), 0.4 * incidents.maximum(located)),
    }
    return incident_frame(entry, incidents, pd.DataFrame(inputs))


def _attack_alerts(entry: DatasetEntry, raw: pd.DataFrame) -> pd.DataFrame:
    """Alert log lines: history is that of the same network segment; severity level and action taken are not read."""
    require_columns(raw, ALERT_COLUMNS, f"dataset {entry.name}")
    raised = {
        column: (categories(raw[column]) != MISSING).to_numpy(dtype=np.float64)
        for column in ("Malware Indicators", "Alerts/Warnings", "IDS/IPS Alerts", "Proxy Information")
    }
    anomaly = np.clip(numbers_or_zero(raw, "Anomaly Scores") / 100.0, 0.0, 1.0)
    violations = raised["Malware Indicators"] + raised["Alerts/Warnings"] + raised["IDS/IPS Alerts"]
    segment, _ = pd.factorize(categories(raw["Network Segment"]))
    time = np.nan_to_num(seconds(raw["Timestamp"]), nan=0.0)
    privileged = np.where(numbers_or_zero(raw, "Destination Port") < 1024, 0.3, 0.0)
    inputs = {
        "violation_count": saturate(violations, 1.5),
        "severity_max": np.maximum.reduce(
            [0.8 * raised["Malware Indicators"], 0.6 * raised["IDS/IPS Alerts"], anomaly]
        ),
        "recency_score": np.exp(-seconds_since_previous(segment.astype(np.int64), time) / DAY),
        "frequency_score": saturate(earlier_within(segment.astype(np.int64), time, 30 * DAY), 30.0),
        "context_risk": either(0.3 * raised["Proxy Information"], privileged, 0.2 * anomaly),
    }
    frame = pd.DataFrame(inputs, index=raw.index).assign(identity=record_identity(entry, raw))
    return with_declared_columns(entry, raw, frame)


_CONNECTION_FIELDS = {
    **dict.fromkeys(CONNECTION_COLUMNS, Reads.NUMBER),
    **dict.fromkeys(CONNECTION_COLUMNS[:3], Reads.CATEGORY),
}
_ALERT_FIELDS = {
    **dict.fromkeys(ALERT_COLUMNS, Reads.CATEGORY),
    **dict.fromkeys(_FURTHER_ALERT_COLUMNS, Reads.NOTHING),
    **dict.fromkeys(("Anomaly Scores", "Destination Port"), Reads.NUMBER),
}
MAPPINGS = {
    "connection_records": SignalMapping(CONNECTION_COLUMNS, _connection_records, _CONNECTION_FIELDS, _one_connection),
    "incident_evidence": SignalMapping(INCIDENT_COLUMNS, _incident_evidence, INCIDENT_FIELDS),
    "attack_alerts": SignalMapping(ALERT_COLUMNS, _attack_alerts, _ALERT_FIELDS),
}
