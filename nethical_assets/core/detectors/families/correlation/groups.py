"""The five quantities of a group of events, computed from raw records: one documented mapping a layout.

What belongs here: how ``agent_count``, ``action_rate``, ``entropy_variance``, ``time_correlation`` and
``payload_similarity`` follow from the columns of a layout; ``docs/families.md`` has the same as a table. What does
not: the model over them (the package itself). A mapping reads neither label nor difficulty, and no identifier's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.columns import FloatArray
from nethical_assets.core.rows.frames import (
    numbers_or_zero,
    record_identity,
    require_columns,
    with_declared_columns,
)
from nethical_assets.core.rows.incidents import (
    ABSENT_IDENTIFIERS,
    INCIDENT_COLUMNS,
    INCIDENT_FIELDS,
    group_incidents,
    incident_frame,
)
from nethical_assets.core.rows.one_cell import Reads
from nethical_assets.core.rows.signals import SignalMapping, one_row_of_numbers

GROUP_QUANTITIES = ("agent_count", "action_rate", "entropy_variance", "time_correlation", "payload_similarity")

WINDOW_COLUMNS = (
    *("src_bytes", "dst_bytes", "count", "srv_count", "serror_rate", "srv_serror_rate", "rerror_rate"),
    *("srv_rerror_rate", "same_srv_rate", "diff_srv_rate", "srv_diff_host_rate", "dst_host_count"),
    *("dst_host_srv_count", "dst_host_same_srv_rate", "dst_host_diff_srv_rate", "dst_host_same_src_port_rate"),
    *("dst_host_srv_diff_host_rate", "dst_host_serror_rate", "dst_host_srv_serror_rate", "dst_host_rerror_rate"),
    "dst_host_srv_rerror_rate",
)
_WINDOW_SECONDS = 2.0
_HOUR = 3600.0
_AGENT_COLUMNS = ("DeviceId", "AccountSid", "AccountUpn", "IpAddress")
_SPREAD_COLUMNS = ("Category", "EntityType", "DetectorId", "EvidenceRole")


def _binary_entropy(share: FloatArray) -> FloatArray:
    """Entropy in bits of a yes/no with this share, in [0, 1]."""
    inside = np.clip(share, 1e-12, 1.0 - 1e-12)
    return np.asarray(-inside * np.log2(inside) - (1.0 - inside) * np.log2(1.0 - inside), dtype=np.float64)


def _row_correlation(first: FloatArray, second: FloatArray) -> FloatArray:
    """Pearson correlation of each row of ``first`` with the same row of ``second``; 0 where one does not vary."""
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    norm = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.asarray(np.where(norm > 1e-9, (first * second).sum(axis=1) / np.maximum(norm, 1e-9), 0.0))


def _connection_records(entry: DatasetEntry, raw: pd.DataFrame) -> pd.DataFrame:
    """NSL-KDD: the group of a connection is what its two-second and its 100-connection window hold."""
    require_columns(raw, WINDOW_COLUMNS, f"dataset {entry.name}")
    inputs = _window_quantities({column: numbers_or_zero(raw, column) for column in WINDOW_COLUMNS})
    frame = pd.DataFrame(inputs, index=raw.index).assign(identity=record_identity(entry, raw))
    return with_declared_columns(entry, raw, frame)


def _one_connection(record: Mapping[str, Any]) -> dict[str, float]:
    """The quantities of one record of NSL-KDD."""
    quantities = _window_quantities(one_row_of_numbers(record, WINDOW_COLUMNS))
    return {name: float(values[0]) for name, values in quantities.items()}


def _window_quantities(number: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """The GROUP_QUANTITIES of the windows of connections, from their numbers."""
    rates = ("serror_rate", "srv_serror_rate", "rerror_rate", "srv_rerror_rate", "same_srv_rate", "diff_srv_rate")
    short = np.column_stack([number[rate] for rate in (*rates, "srv_diff_host_rate")])
    long = np.column_stack([number[f"dst_host_{rate}"] for rate in (*rates, "srv_diff_host_rate")])
    # Connections without payload are all alike; the more bytes one carries, the more it is one of a kind.
    emptiness = 1.0 / (1.0 + np.log1p(np.maximum(number["src_bytes"] + number["dst_bytes"], 0.0)))
    alike = ("same_srv_rate", "dst_host_same_srv_rate", "dst_host_same_src_port_rate")
    return {
        "agent_count": 1.0
        + number["srv_count"] * number["srv_diff_host_rate"]
        + number["dst_host_srv_count"] * number["dst_host_srv_diff_host_rate"],
        "action_rate": number["count"] / _WINDOW_SECONDS,
        "entropy_variance": np.var(_binary_entropy(np.hstack([short, long])), axis=1),
        "time_correlation": _row_correlation(short, long),
        "payload_similarity": (sum(number[rate] for rate in alike) + emptiness) / (len(alike) + 1),
    }


def _incident_evidence(entry: DatasetEntry, raw: pd.DataFrame) -> pd.DataFrame:
    """GUIDE: the group is all evidence of an incident."""
    incidents = group_incidents(entry, raw)
    agents = np.sum([incidents.distinct(column) for column in _AGENT_COLUMNS], axis=0)
    hours = np.maximum((incidents.end - incidents.start) / _HOUR, 1.0)
    spread = np.column_stack([incidents.entropy(column) for column in _SPREAD_COLUMNS])
    size = incidents.size
    moments = incidents.distinct("Timestamp")
    contents = np.sum([incidents.distinct(column) for column in ABSENT_IDENTIFIERS if column in _CONTENT], axis=0)
    inputs = {
        "agent_count": np.maximum(agents, 1.0),
        "action_rate": size / hours,
        "entropy_variance": np.var(spread, axis=1),
        "time_correlation": np.where(size > 1, (size - moments) / np.maximum(size - 1.0, 1.0), 0.0),
        "payload_similarity": np.where(size > 1, 1.0 - np.minimum(contents / size, 1.0), 0.0),
    }
    return incident_frame(entry, incidents, pd.DataFrame(inputs))


_CONTENT = frozenset({"Url", "Sha256", "FileName", "FolderPath", "NetworkMessageId"})

_WINDOW_FIELDS = dict.fromkeys(WINDOW_COLUMNS, Reads.NUMBER)
GROUP_MAPPINGS = {
    "connection_records": SignalMapping(WINDOW_COLUMNS, _connection_records, _WINDOW_FIELDS, _one_connection),
    "incident_evidence": SignalMapping(INCIDENT_COLUMNS, _incident_evidence, INCIDENT_FIELDS),
}
