"""Incidents: grouping evidence records (the GUIDE layout) by incident, for any number of rows an incident.

What belongs here: the aggregation that the mappings of several families share. What does not: their features.

An incident is one (OrgId, IncidentId) pair; its number is its place by first appearance. Identifiers only say which
rows belong together and how many different ones there are: their values are never features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.columns import FloatArray
from nethical_assets.core.rows.frames import MISSING, categories, record_identity, require_columns, seconds
from nethical_assets.core.rows.history import earlier_within, seconds_since_previous
from nethical_assets.core.rows.one_cell import Reads

INCIDENT_COLUMNS = ("OrgId", "IncidentId", "AlertId", "Timestamp", "Category", "EntityType", "EvidenceRole")
"""The columns by which the layout is recognised; further ones are used where they exist."""

ABSENT_IDENTIFIERS = {
    "DeviceId": "98799",
    "DeviceName": "153085",
    "IpAddress": "360606",
    "AccountSid": "441377",
    "AccountUpn": "673934",
    "AccountObjectId": "425863",
    "AccountName": "453297",
    "Url": "160396",
    "NetworkMessageId": "529644",
    "Sha256": "138268",
    "FileName": "289573",
    "FolderPath": "117668",
    "ApplicationId": "2251",
    "OAuthApplicationId": "881",
    "ResourceIdName": "3586",
}
"""GUIDE replaces identifiers by numbers; in each column this number stands for "this evidence has none"."""

_READ_WHERE_THERE = ("MitreTechniques", "SuspicionLevel", "LastVerdict", "CountryCode", "DetectorId")
_NEVER_READ = (
    *("Id", "AlertTitle", "ActionGrouped", "ActionGranular", "EmailClusterId", "RegistryKey", "RegistryValueName"),
    *("RegistryValueData", "ApplicationName", "ThreatFamily", "ResourceType", "Roles", "OSFamily", "OSVersion"),
    *("AntispamDirection", "State", "City"),
)
INCIDENT_FIELDS = {
    **dict.fromkeys((*INCIDENT_COLUMNS, *_READ_WHERE_THERE, *ABSENT_IDENTIFIERS), Reads.CATEGORY),
    **dict.fromkeys(_NEVER_READ, Reads.NOTHING),
}
"""All columns of the layout; those that a mapping looks at are read as categories."""

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Incidents:
    """``code`` is the incident number of each evidence row; the other arrays have one element an incident."""

    raw: pd.DataFrame
    code: Codes
    first_row: Codes
    organisation: Codes
    start: FloatArray
    end: FloatArray

    def __len__(self) -> int:
        return len(self.first_row)

    @property
    def size(self) -> FloatArray:
        """Evidence rows an incident."""
        return np.bincount(self.code, minlength=len(self)).astype(np.float64)

    def maximum(self, values: npt.NDArray[Any]) -> FloatArray:
        """The largest of the evidence rows' ``values`` (>= 0) in each incident."""
        result = np.zeros(len(self))
        np.maximum.at(result, self.code, values)
        return result

    def mean(self, values: npt.NDArray[Any]) -> FloatArray:
        """The mean of the evidence rows' ``values`` in each incident."""
        total = np.bincount(self.code, weights=values, minlength=len(self))
        return np.asarray(total / np.maximum(self.size, 1.0), dtype=np.float64)

    def distinct(self, column: str) -> FloatArray:
        """How many different values of ``column`` each incident has, absent ones not counted (0 without the column)."""
        if column not in self.raw:
            return np.zeros(len(self))
        values = categories(self.raw[column])
        present = ~values.isin([MISSING, ABSENT_IDENTIFIERS.get(column, MISSING)]).to_numpy()
        keys, _ = self._pairs(values[present], self.code[present])
        return np.bincount(keys, minlength=len(self)).astype(np.float64)

    def entropy(self, column: str) -> FloatArray:
        """Shannon entropy (bits) of ``column`` over each incident's rows; 0 for a single row."""
        if column not in self.raw:
            return np.zeros(len(self))
        incident, counts = self._pairs(categories(self.raw[column]), self.code)
        share = counts / np.maximum(self.size[incident], 1.0)
        total = np.bincount(incident, weights=-share * np.log2(share), minlength=len(self))
        return np.asarray(total + 0.0, dtype=np.float64)

    def earlier_of_organisation(self, window_seconds: float) -> FloatArray:
        """How many incidents of the same organisation began in the ``window_seconds`` before each incident began."""
        return earlier_within(self.organisation, self.start, window_seconds)

    def seconds_since_previous(self) -> FloatArray:
        """Seconds since the organisation's previous incident began; infinite for its first."""
        return seconds_since_previous(self.organisation, self.start)

    def _pairs(self, values: pd.Series, code: Codes) -> tuple[Codes, FloatArray]:
        """The incident of every different (incident, value) pair, and its number of rows."""
        value_codes, uniques = pd.factorize(values)
        width = max(len(uniques), 1)
        pairs, counts = np.unique(code * width + value_codes, return_counts=True)
        return pairs // width, counts.astype(np.float64)


def group_incidents(entry: DatasetEntry, raw: pd.DataFrame) -> Incidents:
    """Group the evidence rows of ``raw``.

    Raises:
        DatasetError: a column of INCIDENT_COLUMNS is missing.
    """
    require_columns(raw, INCIDENT_COLUMNS, f"dataset {entry.name}")
    raw = raw.reset_index(drop=True)
    organisation, _ = pd.factorize(categories(raw["OrgId"]))
    incident, names = pd.factorize(categories(raw["IncidentId"]))
    code, uniques = pd.factorize(organisation.astype(np.int64) * max(len(names), 1) + incident)
    code = code.astype(np.int64)
    first = np.full(len(uniques), len(raw), dtype=np.int64)
    np.minimum.at(first, code, np.arange(len(raw)))
    time = seconds(raw["Timestamp"])
    start, end = np.full(len(uniques), np.inf), np.full(len(uniques), -np.inf)
    known = ~np.isnan(time)
    np.minimum.at(start, code[known], time[known])
    np.maximum.at(end, code[known], time[known])
    undated = ~np.isfinite(start)
    start[undated], end[undated] = 0.0, 0.0
    return Incidents(raw, code, first, organisation[first].astype(np.int64), start, end)


def incident_frame(entry: DatasetEntry, incidents: Incidents, inputs: pd.DataFrame) -> pd.DataFrame:
    """``inputs`` (one row an incident) with its key, identity and, where the records have them, label, group, time.

    The label is the incident's grade; should its rows disagree, it is positive when most of them are.
    """
    raw = incidents.raw
    head = raw.iloc[incidents.first_row].reset_index(drop=True)
    key = (categories(head["OrgId"]) + "/" + categories(head["IncidentId"])).astype("str")
    frame = inputs.assign(incident=key.to_numpy(), identity=_identity(entry, incidents, key))
    if "_label" in raw:
        frame["label"] = (incidents.mean(raw["_label"].to_numpy(dtype=np.float64)) > 0.5).astype(np.int8)
    if entry.group_column is not None:
        require_columns(raw, [entry.group_column], f"dataset {entry.name}")
        frame["group"] = categories(head[entry.group_column]).to_numpy()
    if entry.time_column is not None:
        start = np.where(incidents.start > 0, incidents.start, np.nan)
        frame["time"] = pd.to_datetime(start, unit="s", utc=True)
    return frame


def _identity(entry: DatasetEntry, incidents: Incidents, key: pd.Series) -> npt.NDArray[np.object_]:
    """The declared identity of an incident's rows (the smallest, so that row order does not matter), else its key."""
    if not entry.identity_columns:
        return key.to_numpy(dtype=object)
    identity = record_identity(entry, incidents.raw)
    return identity.groupby(incidents.code).min().to_numpy(dtype=object)
