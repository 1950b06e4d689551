"""Canonical datasets: the records of all sources of one family in one frame, identified and without duplicates.

What belongs here: joining the sources, record identity, duplicates and label conflicts, the synthetic fallback. What
does not: how a record becomes a family's inputs (``core.detectors.families``), or which row is tested (``splits``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nethical_assets.core.datasets.availability import SYNTHETIC
from nethical_assets.core.datasets.cohort_levels import LEVEL, numbered, with_levels
from nethical_assets.core.datasets.overlap import source_overlap
from nethical_assets.core.detectors.base import DetectorSpec
from nethical_assets.core.governance.records import RecordScreener, without_pseudonyms
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.cells import tallied
from nethical_assets.core.rows.columns import COMMON_COLUMNS
from nethical_assets.core.rows.sources import source_names


@dataclass(frozen=True)
class CanonicalDataset:
    """``frame`` has COMMON_COLUMNS and then the family's input columns, sorted by ``row_id``; ``facts`` is JSON;
    ``levels`` is of the same rows, as they came: the level of the cohort column that their dataset declares, missing
    where there is none."""

    frame: pd.DataFrame
    facts: Mapping[str, Any]
    levels: pd.Series


def build_dataset(
    spec: DetectorSpec,
    sources: Sequence[tuple[DatasetEntry, pd.DataFrame]],
    *,
    maximum_rows: int,
    screener: RecordScreener,
    wrong_share_max: float = 1.0,
) -> CanonicalDataset:
    """The canonical dataset of ``spec`` from raw frames that carry a ``_label`` column (-1 where it is unusable).

    Every column of the records passes the ``screener`` first: what it masks, no code of a family ever sees, and neither
    inputs nor identities nor groups are made of it. The facts say under ``screening`` what was masked.

    Duplicates (equal identity) become one row with the majority label; where labels are tied, none is kept. Above
    ``maximum_rows`` the rows with the smallest ``row_id`` are kept: a sample by content, stable when data is refreshed.
    Rows of sources that are only measured on are counted apart, so that they take no room from training rows.

    Cells of the wrong type count as missing, and stand in the facts under ``wrong_cells``.

    Raises:
        DatasetError: no usable row is left, or only one class; of a column that a family reads as numbers or times,
            more than the share ``wrong_share_max`` of the cells is neither.
    """
    parts: list[pd.DataFrame] = []
    unusable: dict[str, int] = {}
    wrong: list[dict[str, Any]] = []
    for entry, published in sources:
        constant = entry.constant_labels.get(spec.family)
        raw = published if constant is None else published.assign(_label=constant)
        usable = raw["_label"] >= 0
        unusable[entry.name] = int((~usable).sum())
        screened = screener.screen(entry, raw[usable].reset_index(drop=True))
        with tallied(positions=np.flatnonzero(usable)) as cells:
            records = numbered(entry, screened.frame)
            part = spec.canonicalise(entry, records)
        cells.refuse_above(wrong_share_max, f"dataset {entry.name}")
        wrong += [{"dataset": entry.name, **column} for column in cells.to_json()]
        screener.count_left(screened, part, entry)
        parts.append(with_levels(entry, records, _complete(_as_inputs(part), entry)))
    only_measured = {
        name for entry, _ in sources if spec.family in entry.evaluation_families for name in source_names(entry)
    }
    facts = {
        "synthetic": False,
        "rows_without_usable_label": unusable,
        "screening": screener.counts.to_json(),
        "wrong_cells": wrong,
    }
    return _assemble(spec, parts, maximum_rows, facts, only_measured)


def synthetic_dataset(spec: DetectorSpec, *, rows: int, seed: int) -> CanonicalDataset:
    """``rows`` seeded synthetic records of ``spec``, labelled as such in ``source``; the fallback without real data."""
    frame = spec.synthesise(rows, np.random.default_rng(seed))
    inputs = [column for column in frame.columns if column != "label"]
    identity = pd.Series(np.arange(len(frame)).astype(str), index=frame.index)
    if spec.kind != "records":
        identity = frame[inputs[0]].astype("str")
    part = frame.assign(identity=identity, source=SYNTHETIC, group="", time=None)
    return _assemble(
        spec,
        [part],
        rows,
        {"synthetic": True, "rows_without_usable_label": {}, "screening": None, "wrong_cells": []},
        set(),
    )


def _as_inputs(part: pd.DataFrame) -> pd.DataFrame:
    """``part`` with inputs that say of personal data what it was and not whose; identity and group still tell apart."""
    kept = {*COMMON_COLUMNS, "identity"}
    texts = [name for name in part.columns if name not in kept and not pd.api.types.is_numeric_dtype(part[name].dtype)]
    return part.assign(**{name: without_pseudonyms(part[name]) for name in texts})


def _complete(part: pd.DataFrame, entry: DatasetEntry) -> pd.DataFrame:
    """Add the common columns that ``entry`` does not declare."""
    missing: dict[str, Any] = {}
    if "source" not in part:
        missing["source"] = entry.name
    if "group" not in part:
        missing["group"] = ""
    if "time" not in part:
        missing["time"] = pd.NaT
    return part.assign(**missing)


def _assemble(
    spec: DetectorSpec,
    parts: Sequence[pd.DataFrame],
    maximum_rows: int,
    facts: dict[str, Any],
    only_measured: set[str],
) -> CanonicalDataset:
    numbered = [part.assign(_part=number) for number, part in enumerate(parts) if len(part)]
    frame = pd.concat(numbered, ignore_index=True) if numbered else None
    if frame is None:
        raise DatasetError(f"datasets of family {spec.family}: no row has a usable label; check the catalog's labels")
    frame["row_id"] = [
        hashlib.sha256(f"{spec.kind}\x00{text}".encode("utf-8", "replace")).hexdigest()
        for text in frame.pop("identity").astype("str")
    ]
    frame["label"] = frame["label"].astype(np.int8)
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    frame["group"] = frame["group"].astype("str")
    before = len(frame)
    overlap = source_overlap(frame["row_id"], frame["source"])
    frame, conflicting = _without_duplicates(frame, spec.input_columns if spec.kind != "records" else ())
    unique = len(frame)
    levels = pd.Series(frame.pop(LEVEL) if LEVEL in frame else None, index=frame.index, dtype=object)
    inputs = list(spec.input_columns) or sorted(set(frame.columns) - set(COMMON_COLUMNS))
    frame = frame.sort_values("row_id", kind="stable")[[*COMMON_COLUMNS, *inputs]]
    position = frame.groupby(frame["source"].isin(only_measured)).cumcount()
    frame = frame[position < maximum_rows]
    levels, frame = levels.loc[frame.index].reset_index(drop=True), frame.reset_index(drop=True)
    if frame["label"].nunique() < 2:
        raise DatasetError(
            f"datasets of family {spec.family}: every usable row has the same label; both classes are needed to train"
        )
    by_source = frame.groupby("source", observed=True)["label"].agg(["size", "sum"])
    facts |= {
        "rows": len(frame),
        "positives": int(frame["label"].sum()),
        "rows_read": before,
        "duplicates_removed": before - unique,
        "rows_with_conflicting_labels": conflicting,
        "source_overlap": overlap,
        "input_columns": inputs,
        "sources": {
            str(name): {"rows": int(row["size"]), "positives": int(row["sum"])} for name, row in by_source.iterrows()
        },
    }
    return CanonicalDataset(frame, facts, levels)


def _without_duplicates(frame: pd.DataFrame, spellings: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """One row an identity with its majority label, and how many rows stood in conflict with another one's label.

    Of several rows the one of the first dataset is kept, there the earliest, and then by group, spelling and cohort:
    the order in which a source delivers its rows decides nothing.
    """
    share = frame.groupby("row_id", sort=False)["label"].transform("mean")
    conflict = (share > 0) & (share < 1)
    majority = np.where(share > 0.5, 1, 0).astype(np.int8)
    frame = frame.assign(label=majority)[share != 0.5]
    repeated = frame["row_id"].duplicated(keep=False)
    order = ["_part", "source", "time", "group", *spellings, *([LEVEL] if LEVEL in frame else [])]
    first = frame[repeated].sort_values(order, kind="stable").drop_duplicates("row_id", keep="first")
    return pd.concat([frame[~repeated], first]).drop(columns="_part"), int(conflict.sum())
