"""Fixtures of the detector tests: canonical datasets built from the real records beside the checkout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from nethical_assets.core.datasets.canonical import build_dataset
from nethical_assets.core.datasets.splits import assign_splits
from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.reading.readers import read_dataset
from nethical_assets.core.rows.catalog import DatasetEntry, load_catalog
from nethical_assets.core.rows.labels import labels_of
from nethical_assets.core.rows.sources import source_names
from tests.core.record_screening import record_screener

CHECKOUT = Path(__file__).resolve().parents[3]
SHARED_DATA = CHECKOUT.parent / "shared" / "data"

RealFrame = Callable[[str], pd.DataFrame]


def raw_rows(entry: DatasetEntry) -> pd.DataFrame:
    table = read_dataset(entry, SHARED_DATA / entry.slug, maximum_rows=100_000, seed=0).table
    return table.to_pandas().assign(_label=labels_of(entry, table))


@pytest.fixture(scope="session")
def real_frame() -> RealFrame:
    """Family -> its canonical rows with a ``split`` column; skips without the shared records."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real records: {SHARED_DATA} does not exist")
    catalog = load_catalog(CHECKOUT / "config" / "datasets.toml", family_names())
    kept: dict[str, pd.DataFrame] = {}

    def build(family: str) -> pd.DataFrame:
        if family not in kept:
            present = [
                entry
                for entry in catalog.for_family(family)
                if not entry.discover and (SHARED_DATA / entry.slug).is_dir()
            ]
            sources = [(entry, raw_rows(entry)) for entry in present]
            frame = build_dataset(load_family(family), sources, maximum_rows=100_000, screener=record_screener()).frame
            measured = {entry.name for entry in present if family in entry.evaluation_families}
            dated = {source: entry.test_from for entry in present if entry.test_from for source in source_names(entry)}
            frame["split"] = assign_splits(
                frame, train_ratio=0.8, validation_ratio=0.1, evaluation_sources=measured, test_from=dated
            )
            kept[family] = frame
        return kept[family]

    return build
